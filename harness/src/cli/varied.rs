//! What `mutate` and `repair` of scripts and applications share: the files, the databases, the rows of the report.

mod rows;

use std::path::PathBuf;
use std::sync::Arc;

use drift_engine::lock::Backend;
use tokio::time::Instant;

use self::rows::Rows;
use super::common::{Format, print, run_name, told_first, unwritable, verdict_exit};
use super::output;
use super::page::PageArgs;
use super::provisioning::PostgresArgs;
use super::{Context, Failure, hosts, progress};
use crate::exit::Exit;
use crate::explore::application::sent::Alteration;
use crate::explore::application::{AppWorld, Looking};
use crate::explore::case::Options;
use crate::explore::hosts::{HostError, Hosts};
use crate::explore::judge::Limit;
use crate::explore::search::Strategy;
use crate::explore::world::Lost;
use crate::outcome::{NotApplicable, VerdictKind};
use crate::report::html;
use crate::report::varied::{self, VariedReport, VariedRow};
use crate::scenario::application::Application;
use crate::scenario::collect::{Program, Read, collect_programs};
use crate::scenario::script::{NamedQuery, Script, ScriptCase};
use crate::variation::applications::{Mending, OfApplication, Worlds};
use crate::variation::catalog::{Catalog, catalog};
use crate::variation::mutate::{Mutated, mutate, mutate_subject};
use crate::variation::repair::{repair, repair_subject};
use crate::variation::{Explorer, Refused, Seen, Serially, see, serial_runs, with_rows};

/// What is done with each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Mutate,
    Repair,
}

impl Task {
    fn command(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Repair => "repair",
        }
    }
}

/// What both commands are asked.
pub(super) struct Wanted<'a> {
    pub task: Task,
    pub files: &'a [PathBuf],
    pub filter: &'a [String],
    pub backend: Option<Backend>,
    pub budget: Limit,
    pub list: bool,
    pub all: bool,
    pub format: Format,
    pub output: Option<&'a PathBuf>,
    pub page: &'a PageArgs,
    pub postgres: &'a PostgresArgs,
}

/// What is to be explored, with things changed.
struct Subject {
    file: String,
    /// SCRIPT/CASE, or the application's.
    name: String,
    backend: Backend,
    /// The check that is expected to be violated as it is.
    violates: Option<String>,
    what: What,
}

enum What {
    /// A script as one of its cases has it.
    Script(Arc<Script>, ScriptCase),
    Application(Arc<Application>),
}

impl Subject {
    fn of_script(file: &str, script: &Script, case: &ScriptCase) -> Self {
        Self {
            file: file.to_owned(),
            name: format!("{}/{}", script.name, case.name),
            backend: case.backend,
            violates: case.violates.clone(),
            what: What::Script(Arc::new(script.of_case(case)), case.clone()),
        }
    }

    fn of_application(file: &str, app: Application) -> Self {
        let (name, violates) = (app.name.clone(), app.violates.clone());
        let what = What::Application(Arc::new(app));
        Self { file: file.to_owned(), name, backend: Backend::Postgres, violates, what }
    }
}

/// The databases, as something that explores scripts.
struct OnHosts<'a>(&'a mut Hosts);

/// Does something in a world that is made for a script, and unmade afterwards.
macro_rules! in_a_world {
    ($hosts:expr, $script:expr, $case:expr, |$world:ident| $body:expr) => {
        match $case.backend {
            Backend::Postgres => {
                let mut $world = $hosts.postgres($script, $case).await?;
                let done = $body;
                $world.close().await?;
                done?
            }
            Backend::Sqlite => {
                let mut $world = $hosts.sqlite($script, $case).await?;
                let done = $body;
                done?
            }
        }
    };
}

/// What the database says of the file is no failure of ours.
///
/// # Errors
/// It says something else.
fn by_file(error: HostError) -> Result<Refused, HostError> {
    match error {
        HostError::Lost(lost) => Ok(Refused::of(lost)?),
        other => Err(other),
    }
}

fn by_script<T>(result: Result<T, HostError>) -> Result<Result<T, Refused>, HostError> {
    result.map(Ok).or_else(|error| by_file(error).map(Err))
}

impl OnHosts<'_> {
    async fn seen(&mut self, script: &Arc<Script>, case: &ScriptCase, options: &Options) -> Result<Seen, HostError> {
        Ok(in_a_world!(self.0, script.clone(), case, |world| see(&mut world, script, case, options).await))
    }

    async fn runs(&mut self, script: &Arc<Script>, case: &ScriptCase) -> Result<Vec<Serially>, HostError> {
        Ok(in_a_world!(self.0, script.clone(), case, |world| serial_runs(&mut world, script, case).await))
    }

    async fn made(&mut self, script: &Arc<Script>, case: &ScriptCase) -> Result<Catalog, HostError> {
        Ok(in_a_world!(self.0, script.clone(), case, |world| catalog(&mut world, case.backend).await))
    }
}

impl Explorer for OnHosts<'_> {
    type Error = HostError;

    async fn explore(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
        options: &Options,
    ) -> Result<Result<Seen, Refused>, HostError> {
        by_script(self.seen(script, case, options).await)
    }

    async fn serially(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
        rows: &[NamedQuery],
    ) -> Result<Result<Vec<Serially>, Refused>, HostError> {
        by_script(self.runs(&with_rows(script, rows), case).await)
    }

    async fn catalog(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
    ) -> Result<Result<Catalog, Refused>, HostError> {
        by_script(self.made(script, case).await)
    }
}

impl Worlds for OnHosts<'_> {
    type Error = HostError;

    async fn make(&mut self, app: &Arc<Application>, alteration: &Alteration) -> Result<AppWorld, HostError> {
        self.0.application_with(app.clone(), Looking::Footprints, alteration).await
    }

    fn lost(&self, lost: Lost) -> HostError {
        lost.into()
    }

    fn by_application(&self, error: HostError) -> Result<Refused, HostError> {
        by_file(error)
    }
}

/// Runs the command.
pub(super) async fn run(wanted: &Wanted<'_>, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let subjects = subjects(wanted)?;
    if wanted.list {
        for subject in &subjects {
            writeln!(context.out, "{} {}", subject.name, subject.backend)?;
        }
        return Ok(Exit::Met);
    }
    let command = wanted.task.command();
    let directory = output::directory(wanted.output, &run_name(command), context)?;
    let mut report = VariedReport::new(command, None, "none");
    let mut hosts = hosts::hosts(wanted.postgres, context);
    let ended = run_all(wanted, &subjects, &mut hosts, &mut report, context).await;
    hosts::stop(hosts, context).await?;
    match &ended {
        Ok(()) => report.planned = report.results.len(),
        Err(_) => report.not_verified.push("the run ended before all cases had been looked at".to_owned()),
    }
    report.conclude();
    if ended.is_ok() || !report.results.is_empty() {
        directory.varied(&report).map_err(unwritable)?;
    }
    let ended = told_first(ended, report.results.len())?;
    wanted.page.write(directory.path(), context, || html::of_varied(&report))?;
    let text = |report: &VariedReport, to: &mut dyn std::io::Write| match wanted.task {
        Task::Mutate => varied::mutants(report, to),
        Task::Repair => varied::repairs(report, wanted.all, to),
    };
    print(&report, wanted.format, text, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    ended.map(|()| verdict_exit(report.verdict))
}

/// The cases of the files that are wanted.
fn subjects(wanted: &Wanted<'_>) -> Result<Vec<Subject>, Failure> {
    let command = wanted.task.command();
    let mut subjects = Vec::new();
    for Read { file, program, .. } in collect_programs(wanted.files).map_err(Failure::usage)? {
        let file = file.display().to_string();
        match program {
            Program::Script(script) => {
                subjects.extend(script.cases.iter().map(|case| Subject::of_script(&file, &script, case)));
            }
            Program::Application(app) => subjects.push(Subject::of_application(&file, app)),
        }
    }
    subjects.retain(|subject| {
        (wanted.filter.is_empty() || wanted.filter.iter().any(|text| subject.name.contains(text)))
            && wanted.backend.is_none_or(|backend| backend == subject.backend)
    });
    if subjects.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = format!("driftlock {command} FILE --list shows what there is"),
            "no case is left: the filters exclude them all"
        )));
    }
    Ok(subjects)
}

async fn run_all(
    wanted: &Wanted<'_>,
    subjects: &[Subject],
    hosts: &mut Hosts,
    report: &mut VariedReport,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let wants = |backend| subjects.iter().any(|subject| subject.backend == backend);
    let started = hosts.start_all(wants).await?;
    report.profile.clone_from(&started.profile);
    report.backends.clone_from(&started.backends);
    report.not_verified.extend(started.not_verified());
    let (strategy, limit) = (Strategy::Exhaustive, Some(wanted.budget));
    let options = Options { strategy, seed: 1, limit, all: false, executions: Arc::default() };
    for subject in subjects.iter().filter(|subject| !started.lacks(subject.backend)) {
        writeln!(context.err, "{} on {} …", subject.name, subject.backend)?;
        let begin = Instant::now();
        let rows = rows_of(wanted, hosts, subject, &options, &mut report.not_applicable);
        let rows = progress::search(&subject.name, &options.executions, rows, context).await?;
        let rows = rows.map_err(|failure| hosts::about(failure, &subject.file, &subject.name, subject.backend))?;
        let took = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let first = report.results.len();
        report.results.extend(rows);
        if let Some(row) = report.results.get_mut(first) {
            row.duration_ms = took;
        }
    }
    Ok(())
}

/// What came of a case: the script as it is first.
async fn rows_of(
    wanted: &Wanted<'_>,
    hosts: &mut Hosts,
    subject: &Subject,
    options: &Options,
    left_out: &mut Vec<NotApplicable>,
) -> Result<Vec<VariedRow>, HostError> {
    let rows = Rows { wanted, subject };
    let mut hosts = OnHosts(hosts);
    let (mutated, script, notes) = match (&subject.what, wanted.task) {
        (What::Script(script, case), Task::Repair) => {
            let repaired = repair(&mut hosts, script, case, options).await?.map_err(by_its_fault)?;
            return Ok(rows.of_repairs(repaired));
        }
        (What::Application(app), Task::Repair) => {
            let repaired = repair_subject(&mut Mending::new(&mut hosts, app), options).await?;
            return Ok(rows.of_repairs(repaired.map_err(by_its_fault)?));
        }
        (What::Script(script, case), Task::Mutate) => {
            (mutate(&mut hosts, script, case, options).await?, script.clone(), Vec::new())
        }
        (What::Application(app), Task::Mutate) => {
            let mut of = OfApplication::new(&mut hosts, app);
            let mutated = mutate_subject(&mut of, options).await?;
            (mutated, Arc::default(), of.not_rewritten())
        }
    };
    match mutated.map_err(by_its_fault)? {
        Mutated::Mutants { evidence, mutants } => Ok(rows.of_mutants(&told(evidence, &notes), mutants)),
        Mutated::Unfit { verdict: VerdictKind::Violation, .. } if subject.violates.is_some() => {
            let reason = "it is violated as it is, and expected to be: there is nothing to take away".to_owned();
            left_out.push(NotApplicable { name: subject.name.clone(), backend: subject.backend, reason });
            Ok(Vec::new())
        }
        Mutated::Unfit { verdict, evidence, found, script: sent } => {
            let mut row = rows.as_it_is(verdict, evidence);
            row.met = false;
            if let Some(found) = found.first() {
                rows.show(&mut row, &sent.unwrap_or(script), found);
            }
            Ok(vec![row])
        }
    }
}

/// What the database says of the script, or of the program.
fn by_its_fault(Refused(why): Refused) -> HostError {
    Lost::by_script(why).into()
}

/// The evidence, and what could not be taken away.
fn told(evidence: String, not_rewritten: &[String]) -> String {
    match not_rewritten {
        [] => evidence,
        all => format!("{evidence}; not rewritten: {}", all.join("; ")),
    }
}
