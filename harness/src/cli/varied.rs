//! What `mutate` on scripts and `repair` share: the scripts, the databases, the rows of the report.

use std::path::PathBuf;
use std::sync::Arc;

use drift_engine::lock::Backend;
use tokio::time::Instant;

use super::common::{Format, print, quoted, run_name, unwritable, verdict_exit};
use super::explore::hosts::{CaseFailure, Hosts};
use super::provisioning::PostgresArgs;
use super::{Context, Failure};
use crate::exit::Exit;
use crate::explore::case::Options;
use crate::explore::judge::Limit;
use crate::explore::search::Strategy;
use crate::outcome::{NotApplicable, VerdictKind};
use crate::report::directory::RunDirectory;
use crate::report::explored::ExpectedRow;
use crate::report::varied::{self, VariedReport, VariedRow};
use crate::scenario::collect::{Program, Read, collect_programs};
use crate::scenario::script::{NamedQuery, Script, ScriptCase};
use crate::variation::catalog::{Catalog, catalog};
use crate::variation::mutate::{Fate, Mutant, Mutated, mutate};
use crate::variation::repair::{Repaired, Tried, Verdict, repair};
use crate::variation::repairs::explain;
use crate::variation::{Explorer, Refused, Seen, Serially, refused, see, serial_runs, with_rows};

/// What is done with each case of a script.
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
    pub postgres: &'a PostgresArgs,
}

/// A case of a script, as it is to be explored.
struct Subject {
    file: String,
    script: Arc<Script>,
    case: ScriptCase,
}

impl Subject {
    fn name(&self) -> String {
        format!("{}/{}", self.script.name, self.case.name)
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

/// What the database says of the script is no failure of ours.
fn by_script<T>(result: Result<T, CaseFailure>) -> Result<Result<T, Refused>, CaseFailure> {
    match result {
        Err(CaseFailure::Lost(lost)) => Ok(refused(Err(lost))?),
        other => other.map(Ok),
    }
}

impl OnHosts<'_> {
    async fn seen(&mut self, script: &Arc<Script>, case: &ScriptCase, options: &Options) -> Result<Seen, CaseFailure> {
        Ok(in_a_world!(self.0, script.clone(), case, |world| see(&mut world, script, case, options).await))
    }

    async fn runs(&mut self, script: &Arc<Script>, case: &ScriptCase) -> Result<Vec<Serially>, CaseFailure> {
        Ok(in_a_world!(self.0, script.clone(), case, |world| serial_runs(&mut world, script, case).await))
    }

    async fn made(&mut self, script: &Arc<Script>, case: &ScriptCase) -> Result<Catalog, CaseFailure> {
        Ok(in_a_world!(self.0, script.clone(), case, |world| catalog(&mut world, case.backend).await))
    }
}

impl Explorer for OnHosts<'_> {
    type Error = CaseFailure;

    async fn explore(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
        options: &Options,
    ) -> Result<Result<Seen, Refused>, CaseFailure> {
        by_script(self.seen(script, case, options).await)
    }

    async fn serially(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
        rows: &[NamedQuery],
    ) -> Result<Result<Vec<Serially>, Refused>, CaseFailure> {
        by_script(self.runs(&with_rows(script, rows), case).await)
    }

    async fn catalog(
        &mut self,
        script: &Arc<Script>,
        case: &ScriptCase,
    ) -> Result<Result<Catalog, Refused>, CaseFailure> {
        by_script(self.made(script, case).await)
    }
}

/// Runs the command.
pub(super) async fn run(wanted: &Wanted<'_>, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let subjects = subjects(wanted)?;
    if wanted.list {
        for subject in &subjects {
            writeln!(context.out, "{} {}", subject.name(), subject.case.backend)?;
        }
        return Ok(Exit::Met);
    }
    let command = wanted.task.command();
    let path = wanted.output.cloned().unwrap_or_else(|| PathBuf::from("target/driftlock").join(run_name(command)));
    let directory = RunDirectory::create(path).map_err(unwritable)?;
    let mut report = VariedReport::new(command, None, "none");
    let mut hosts = Hosts::default();
    let ended = run_all(wanted, &subjects, &mut hosts, &mut report, context).await;
    hosts.stop(context).await?;
    if let Err(failure) = ended {
        if !report.results.is_empty() {
            report.not_verified.push("the run ended before all cases had been looked at".to_owned());
            report.conclude();
            directory.varied(&report).map_err(unwritable)?;
        }
        return Err(failure);
    }
    report.planned = report.results.len();
    report.conclude();
    directory.varied(&report).map_err(unwritable)?;
    let text = |report: &VariedReport, to: &mut dyn std::io::Write| match wanted.task {
        Task::Mutate => varied::mutants(report, to),
        Task::Repair => varied::repairs(report, wanted.all, to),
    };
    print(&report, wanted.format, text, context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(verdict_exit(report.verdict))
}

/// The cases of the files that are wanted.
fn subjects(wanted: &Wanted<'_>) -> Result<Vec<Subject>, Failure> {
    let command = wanted.task.command();
    let mut subjects = Vec::new();
    for Read { file, program, .. } in collect_programs(wanted.files).map_err(Failure::usage)? {
        let file = file.display().to_string();
        let script = match program {
            Program::Script(script) => script,
            Program::Application(_) => {
                return Err(Failure::usage(miette::miette!(
                    help = "`driftlock explore` takes applications",
                    "{file} is an application, whose actors are programs; `driftlock {command}` takes scripts only"
                )));
            }
        };
        for case in &script.cases {
            subjects.push(Subject { file: file.clone(), script: Arc::new(script.of_case(case)), case: case.clone() });
        }
    }
    subjects.retain(|subject| {
        let name = subject.name();
        (wanted.filter.is_empty() || wanted.filter.iter().any(|text| name.contains(text)))
            && wanted.backend.is_none_or(|backend| backend == subject.case.backend)
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
    let wants = |backend| subjects.iter().any(|subject| subject.case.backend == backend);
    let started = hosts.start_all(wants, wanted.postgres, context).await?;
    report.profile.clone_from(&started.profile);
    report.backends.clone_from(&started.backends);
    report.not_verified.extend(started.not_verified());
    let (strategy, limit) = (Strategy::Exhaustive, Some(wanted.budget));
    let options = Options { strategy, seed: 1, limit, all: false, executions: Arc::default() };
    let cancel = context.cancel.clone();
    for subject in subjects.iter().filter(|subject| !started.lacks(subject.case.backend)) {
        writeln!(context.err, "{} on {} …", subject.name(), subject.case.backend)?;
        let begin = Instant::now();
        let rows = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::interrupted()),
            rows = rows_of(wanted, hosts, subject, &options, &mut report.not_applicable) => rows,
        };
        let rows = rows.map_err(|failure| failure.about(&subject.file, &subject.name(), subject.case.backend))?;
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
) -> Result<Vec<VariedRow>, CaseFailure> {
    let (script, case) = (&subject.script, &subject.case);
    let mut explorer = OnHosts(hosts);
    let rows = Rows { wanted, subject };
    match wanted.task {
        Task::Mutate => match mutate(&mut explorer, script, case, options).await? {
            Ok(Mutated::Mutants { evidence, mutants }) => Ok(rows.of_mutants(evidence, mutants)),
            Ok(Mutated::Unfit { verdict, evidence, found }) => {
                let is_expected = verdict == VerdictKind::Violation && case.violates.is_some();
                if is_expected {
                    let reason =
                        "it is violated as it is, and expected to be: there is nothing to take away".to_owned();
                    left_out.push(NotApplicable { name: subject.name(), backend: case.backend, reason });
                    return Ok(Vec::new());
                }
                let mut row = rows.as_it_is(verdict, evidence);
                row.met = false;
                if let Some(found) = found.first() {
                    row.show(script, found);
                }
                Ok(vec![row])
            }
            Err(Refused(why)) => Err(crate::explore::world::Lost::by_script(why).into()),
        },
        Task::Repair => match repair(&mut explorer, script, case, options).await? {
            Ok(repaired) => Ok(rows.of_repairs(repaired)),
            Err(Refused(why)) => Err(crate::explore::world::Lost::by_script(why).into()),
        },
    }
}

/// Makes the rows of a case.
struct Rows<'a> {
    wanted: &'a Wanted<'a>,
    subject: &'a Subject,
}

impl Rows<'_> {
    fn as_it_is(&self, verdict: VerdictKind, evidence: String) -> VariedRow {
        let Subject { file, case, .. } = self.subject;
        let (name, command) = (self.subject.name(), self.wanted.task.command());
        VariedRow {
            name: name.clone(),
            case: name.clone(),
            backend: case.backend,
            strategy: Strategy::Exhaustive.to_string(),
            fate: "as it is".to_owned(),
            change: String::new(),
            statements: Vec::new(),
            verdict,
            expected: ExpectedRow { verdict: VerdictKind::Pass, check: None },
            met: verdict == VerdictKind::Pass,
            evidence,
            checks: Vec::new(),
            killed_by: Vec::new(),
            executed: 0,
            executions: 0,
            waited: 0,
            refused: 0,
            steps: Vec::new(),
            duration_ms: 0,
            replay: format!("driftlock {command} {} --filter {name} --backend {}", quoted(file), case.backend),
        }
    }

    fn of_mutants(&self, evidence: String, mutants: Vec<Mutant>) -> Vec<VariedRow> {
        let mut rows = vec![self.as_it_is(VerdictKind::Pass, evidence)];
        if mutants.is_empty() {
            rows[0].evidence = format!("no defence was found that could be taken away ({})", rows[0].evidence);
            rows[0].verdict = VerdictKind::Inconclusive;
            rows[0].met = false;
        }
        rows.extend(mutants.into_iter().map(|mutant| self.of_mutant(mutant)));
        rows
    }

    fn of_mutant(&self, mutant: Mutant) -> VariedRow {
        let Mutant { variation, fate, executed, executions } = mutant;
        let mut row = self.as_it_is(VerdictKind::Pass, String::new());
        row.name = format!("{} {}", row.name, variation.name);
        (row.change, row.executed, row.executions) = (variation.name.clone(), executed, executions);
        row.statements.clone_from(&variation.statements);
        row.expected = ExpectedRow { verdict: VerdictKind::Violation, check: None };
        let (word, verdict, met, evidence) = match fate {
            Fate::Killed(found) => {
                row.killed_by = vec![found.check.clone()];
                row.show(&variation.script, &found);
                ("killed", VerdictKind::Violation, true, format!("{}: {}", found.check, found.sentence))
            }
            Fate::Covered { by, found } => {
                row.killed_by = vec![found.check.clone()];
                let why = format!("no check notices, for {by} covers for it; without both, {}", found.sentence);
                ("covered", VerdictKind::Violation, true, why)
            }
            Fate::Harmless => {
                row.expected.verdict = VerdictKind::Pass;
                let why = "it is not needed in this scenario: without it, too, every order comes to what some serial order \
                           comes to, and nobody is refused who was not before";
                ("harmless", VerdictKind::Pass, true, why.to_owned())
            }
            Fate::Survived { why, found } => {
                if let Some(found) = found {
                    row.show(&variation.script, &found);
                    // It is no check of the user's that was violated.
                    row.checks.clear();
                }
                let all =
                    "every check passes without it: either it is not needed, or the scenario cannot see why it is";
                ("survived", VerdictKind::Pass, false, format!("{all}; {why}"))
            }
            Fate::Undecided(why) => ("undecided", VerdictKind::Inconclusive, false, why),
        };
        (row.fate, row.verdict, row.met, row.evidence) = (word.to_owned(), verdict, met, evidence);
        row
    }

    fn of_repairs(&self, repaired: Repaired) -> Vec<VariedRow> {
        let (found, also_serially, tried) = match repaired {
            Repaired::NothingToMend { verdict, evidence } => {
                return vec![self.as_it_is(verdict, format!("nothing to mend: {evidence}"))];
            }
            Repaired::Violated { found, also_serially, tried } => (found, also_serially, tried),
        };
        let holds = tried.iter().filter(|one| matches!(one.verdict, Verdict::Holds)).count();
        let alone = match also_serially {
            true => "; it is violated too when nothing is concurrent, so no lock and no isolation level mends it",
            false => "",
        };
        let evidence = format!("{}: {}; {holds} of {} repairs hold{alone}", found.check, found.sentence, tried.len());
        let mut first = self.as_it_is(VerdictKind::Violation, evidence);
        first.met = holds > 0;
        first.show(&self.subject.script, &found);
        let mut rows = vec![first];
        rows.extend(tried.into_iter().map(|one| self.of_repair(one)));
        rows
    }

    fn of_repair(&self, tried: Tried) -> VariedRow {
        let (waited, refused, executions) = tried.cost();
        let Tried { proposal, verdict, .. } = tried;
        let mut row = self.as_it_is(VerdictKind::Pass, String::new());
        let variation = &proposal.variation;
        row.name = format!("{} with {}", row.name, variation.name);
        row.change.clone_from(&variation.name);
        row.statements.clone_from(&variation.statements);
        (row.waited, row.refused, row.executions, row.executed) = (waited, refused, executions, executions);
        let (word, verdict, evidence) = match verdict {
            Verdict::Holds => {
                ("holds", VerdictKind::Pass, "all orders were visited, and nothing is violated".to_owned())
            }
            Verdict::Violated(found) => {
                row.show(&variation.script, &found);
                let why = explain(&proposal, &found).map(|why| format!("; {why}")).unwrap_or_default();
                ("violated", VerdictKind::Violation, format!("{}: {}{why}", found.check, found.sentence))
            }
            Verdict::NotProven(why) => ("not proven", VerdictKind::Inconclusive, format!("bounded: {why}")),
            Verdict::SaysNothing(why) => ("idle", VerdictKind::Inconclusive, why),
            Verdict::ChangesTheJob(why) => ("changes the job", VerdictKind::Violation, why),
            Verdict::NotSerial(found) => {
                row.show(&variation.script, &found);
                let why = format!("nothing that is checked is violated, but {}", found.sentence);
                ("not serial", VerdictKind::Violation, why)
            }
            Verdict::Inapplicable(why) => ("inapplicable", VerdictKind::Inconclusive, why),
        };
        // Nothing is expected of a proposal.
        row.expected.verdict = verdict;
        (row.fate, row.verdict, row.met, row.evidence) = (word.to_owned(), verdict, true, evidence);
        row
    }
}
