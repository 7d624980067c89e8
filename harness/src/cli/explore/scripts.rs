//! Explores scripts, specifications as scripts, and the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use drift_engine::lock::Backend;

use super::row::row;
use super::subject::{AppSource, Source, Subject};
use super::{Args, faults};
use crate::cli::common::{print, run_name, told_first, unwritable, verdict_exit};
use crate::cli::output;
use crate::cli::{Context, Failure, hosts, progress};
use crate::exit::Exit;
use crate::explore::application::Looking;
use crate::explore::application::case::{Reproduced, explore_application};
use crate::explore::application::rules::Shown;
use crate::explore::case::{Explored, Options};
use crate::explore::course::{Counterexample, Course, Names};
use crate::explore::engine::case::{self, EngineCase};
use crate::explore::engine::rules::{Confirmed, actor_name, explore_engine};
use crate::explore::engine::state::QUERIES;
use crate::explore::hosts::{HostError, Hosts};
use crate::explore::judge::Found;
use crate::explore::scripted::{Asked, explore_script};
use crate::explore::specification::{ExportError, export, script_of};
use crate::outcome::NotApplicable;
use crate::report::directory::RunDirectory;
use crate::report::explored::{self, ExploreReport};
use crate::report::html;
use crate::scenario::LoadError;
use crate::scenario::application::Application;
use crate::scenario::collect::{Program, Read, collect_programs};
use crate::scenario::script::{FaultKind, Script, ScriptCase};
use crate::scenario::shipped::{SCRIPTS, Shipped};

/// A violation, with the script whose order it is.
pub(super) struct Violation {
    pub script: Arc<Script>,
    pub case: ScriptCase,
    pub found: Found,
    /// The same as it is shown, where that is more.
    pub shown: Option<Found>,
    /// How many of its steps show it.
    pub until: usize,
    /// What the queries are called that are asked at the end.
    pub queries: Vec<String>,
    /// A script's order as a specification, or why it cannot be one.
    pub spec: Option<Result<String, ExportError>>,
    /// What the actors' programs have printed.
    pub outputs: Vec<(String, String)>,
    /// The same actors one after the other, where that does not violate it.
    pub serial: Option<Course>,
}

impl Violation {
    /// As data.
    pub fn counterexample(&self, replay: String) -> Counterexample {
        let mut names = Names::of(&self.script);
        names.queries.clone_from(&self.queries);
        let found = self.shown.as_ref().unwrap_or(&self.found);
        Counterexample {
            serial: self.serial.clone(),
            outputs: self.outputs.iter().cloned().collect(),
            ..Counterexample::new(&names, found, self.until, replay)
        }
    }
}

/// What came of a subject.
pub(super) struct Outcome {
    pub explored: Explored,
    /// What is to be said beside what the search says.
    pub more: String,
    pub violations: Vec<Violation>,
    /// What actors, steps and queries are called.
    pub names: Names,
}

/// Runs the command.
pub(super) async fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (sources, applications) = sources(args)?;
    let of_cases: Vec<(Source, &ScriptCase)> = sources
        .iter()
        .flat_map(|source| source.script.cases.iter().map(move |case| (source.of_case(case), case)))
        .collect();
    let scripts = of_cases.iter().map(|(source, case)| Subject::Script(source, case));
    let engine = if args.built_in { case::all() } else { Vec::new() };
    let cases: Vec<Subject<'_>> = scripts
        .chain(applications.iter().map(Subject::Application))
        .chain(engine.into_iter().map(Subject::Engine))
        .filter(|case| args.backend.is_none_or(|backend| backend == case.backend()))
        .filter(|case| args.filter.as_ref().is_none_or(|text| case.name().contains(text)))
        .collect();
    if cases.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock explore --list shows what there is",
            "no case is left: the filters exclude them all"
        )));
    }
    if !args.overlap.is_empty() && cases.iter().all(|case| case.backend() == Backend::Sqlite) {
        return Err(Failure::usage(miette::miette!(
            "--overlap is for PostgreSQL: on SQLite nothing runs beside a statement that writes"
        )));
    }
    faults::check(args, &cases)?;
    for case in &cases {
        match case {
            Subject::Script(source, _) => drop(args.overlaps(&source.script)?),
            Subject::Application(source) if !args.overlap.is_empty() || args.export_spec => {
                return Err(Failure::usage(miette::miette!(
                    "{}: --overlap and --export-spec are for scripts, and this is an application",
                    source.file
                )));
            }
            Subject::Application(_) | Subject::Engine(_) => {}
        }
    }
    if args.list {
        for case in &cases {
            writeln!(context.out, "{} {}", case.name(), case.backend())?;
        }
        return Ok(Exit::Met);
    }
    let directory = output::directory(args.output.as_ref(), &run_name("explore"), context)?;
    let mut report = ExploreReport::new("explore", Some(args.seed), "none");
    report.planned = cases.len();
    let mut hosts = hosts::hosts(&args.postgres, context);
    let ended = run_cases(args, &cases, &directory, &mut hosts, &mut report, context).await;
    hosts::stop(hosts, context).await?;
    report.conclude();
    if ended.is_err() {
        report.not_verified.push(format!("the run ended after {} of {} cases", report.results.len(), cases.len()));
        report.conclude();
    }
    // Where nothing could be run there is nothing to report.
    if ended.is_ok() || !report.results.is_empty() {
        directory.explored(&report).map_err(unwritable)?;
    }
    let ended = told_first(ended, report.results.len())?;
    args.page.write(directory.path(), context, || html::of_explored(&report))?;
    print(&report, args.format, |report, to| explored::write(report, args.all, to), context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    ended.map(|()| verdict_exit(report.verdict))
}

/// Reads the files, or takes the built-in scripts. What is wrong with several files is reported at once.
fn sources(args: &Args) -> Result<(Vec<Source>, Vec<AppSource>), Failure> {
    if args.built_in {
        return Ok((SCRIPTS.iter().map(shipped).collect(), Vec::new()));
    }
    if args.files.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock explore FILE.toml, or a directory; driftlock explore --built-in for what is built in",
            "there is nothing to explore: no file is given"
        )));
    }
    let is_spec = |file: &&PathBuf| is_specification(file);
    let (specs, scripts): (Vec<&PathBuf>, Vec<&PathBuf>) = args.files.iter().partition(is_spec);
    let (known, scripts): (Vec<&PathBuf>, Vec<&PathBuf>) =
        scripts.into_iter().partition(|file| shipped_at(file).is_some());
    let (mut sources, mut applications) = (Vec::new(), Vec::new());
    for file in known {
        sources.push(load(file)?);
    }
    let scripts: Vec<PathBuf> = scripts.into_iter().cloned().collect();
    for Read { file, text, program } in collect_programs(&scripts).map_err(Failure::usage)? {
        let (file, text) = (file.display().to_string(), text.into());
        match program {
            Program::Script(script) => sources.push(Source { file, text, script: Arc::new(script) }),
            Program::Application(app) => applications.push(AppSource { file, text, app: Arc::new(app) }),
        }
    }
    let specs: Vec<PathBuf> = specs.into_iter().cloned().collect();
    for (file, read) in specs.iter().zip(super::isolationtester::read_all(&specs)?) {
        sources.push(specification(file, read));
    }
    Ok((sources, applications))
}

/// Reads one file; a built-in script may be named by its path in the checkout, wherever that is.
pub(crate) fn load(file: &Path) -> Result<Source, Failure> {
    if let Some(known) = shipped_at(file) {
        return Ok(shipped(known));
    }
    if is_specification(file) {
        return Ok(specification(file, super::isolationtester::read_all(&[file.to_owned()])?.remove(0)));
    }
    let text = Script::text_of(file).map_err(Failure::usage)?;
    read_as(file, text)
}

/// What the text of a script's or a specification's file means.
pub(crate) fn read_as(file: &Path, text: String) -> Result<Source, Failure> {
    if is_specification(file) {
        return Ok(specification(file, super::isolationtester::read(file, text)?));
    }
    let script = Script::parse(file, text.as_bytes()).map_err(|problems| Failure::usage(LoadError::Wrong(problems)))?;
    Ok(Source { file: file.display().to_string(), text: text.into(), script: Arc::new(script) })
}

/// The built-in script that a path in the checkout means, where there is no such file.
pub(crate) fn shipped_at(file: &Path) -> Option<&'static Shipped> {
    SCRIPTS.iter().find(|shipped| Path::new(shipped.path) == file && !file.exists())
}

fn shipped(shipped: &Shipped) -> Source {
    Source { file: shipped.path.to_owned(), text: shipped.text.into(), script: Arc::new(shipped.script()) }
}

pub(crate) fn is_specification(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "spec")
}

fn specification(file: &Path, read: super::isolationtester::Read) -> Source {
    let script = Arc::new(script_of(&read.name, &read.spec));
    Source { file: file.display().to_string(), text: read.text.into(), script }
}

async fn run_cases(
    args: &Args,
    cases: &[Subject<'_>],
    directory: &RunDirectory,
    hosts: &mut Hosts,
    report: &mut ExploreReport,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let (strategy, seed) = (args.strategy, args.seed);
    let options = Options { strategy, seed, limit: args.budget, all: args.all, executions: Arc::default() };
    let wants = |backend| cases.iter().any(|case| case.backend() == backend);
    let started = hosts.start_all(wants).await?;
    report.profile.clone_from(&started.profile);
    report.backends.clone_from(&started.backends);
    report.not_verified.extend(started.not_verified());
    let can_restart = hosts.server().is_none_or(|server| server.can_restart());
    faults::check_restart(args, can_restart)?;
    for case in cases.iter().filter(|case| !started.lacks(case.backend())) {
        let kinds = faults::of(args, case, can_restart);
        let pairs = match case {
            Subject::Script(source, _) if kinds.is_empty() => args.overlaps(&source.script)?,
            _ => Vec::new(),
        };
        let asked = Asked { pairs: &pairs, faults: &kinds };
        let exploring = explored(hosts, case, &asked, &options);
        let outcome = progress::search(&case.name(), &options.executions, exploring, context).await?;
        let outcome = outcome.map_err(|failure| hosts::about(failure, case.file(), &case.name(), case.backend()))?;
        for (kind, reason) in faults::left_out(args, case, can_restart) {
            let name = format!("{} ({kind})", case.name());
            if kind == FaultKind::Restarted {
                // Another server could be restarted: that is a matter of where this runs, and not of the case.
                report.not_verified.push(format!("{name} on {}: {reason}", case.backend()));
            } else {
                let reason = reason.to_owned();
                report.not_applicable.push(NotApplicable { name, backend: case.backend(), reason });
            }
        }
        if args.faults.as_ref().is_some_and(|asked| !asked.0.is_empty()) && kinds.is_empty() {
            report.not_applicable.push(NotApplicable {
                name: format!("{} (faults)", case.name()),
                backend: case.backend(),
                reason: format!("of these faults none exists on {}", case.backend()),
            });
        }
        if case.backend() == Backend::Sqlite && !pairs.is_empty() {
            report.not_applicable.push(NotApplicable {
                name: format!("{} (overlap)", case.name()),
                backend: case.backend(),
                reason: "nothing runs beside a statement that writes".to_owned(),
            });
        }
        report.results.push(row(args, case, outcome, directory, context)?);
    }
    Ok(())
}

async fn explored(
    hosts: &mut Hosts,
    subject: &Subject<'_>,
    asked: &Asked<'_>,
    options: &Options,
) -> Result<Outcome, HostError> {
    let (source, case) = match subject {
        Subject::Script(source, case) => (source, case),
        Subject::Application(source) => return explored_application(hosts, &source.app, asked.faults, options).await,
        Subject::Engine(case) => return explored_engine(hosts, case, options).await,
    };
    let script = source.script.clone();
    let explored = explore_script(hosts, &script, case, asked, options).await?;
    let names = Names::of(&script);
    let violation = |found: &Found| Violation {
        script: script.clone(),
        case: (*case).clone(),
        found: found.clone(),
        shown: None,
        until: found.execution.taken.len(),
        queries: names.queries.clone(),
        spec: Some(export(&script, case, &found.execution)),
        outputs: Vec::new(),
        serial: found.serial.as_ref().map(|serial| Course::new(&names, serial)),
    };
    let violations = explored.found.iter().map(violation).collect();
    Ok(Outcome { explored, more: String::new(), violations, names })
}

async fn explored_engine(hosts: &mut Hosts, case: &EngineCase, options: &Options) -> Result<Outcome, HostError> {
    let mut last = None;
    for setting in &case.settings {
        let mut world = hosts.engine(setting.clone()).await?;
        let (explored, rules, confirmed) =
            explore_engine(&mut world, &case.name_with(setting), case.violates, options).await?;
        let found = !confirmed.is_empty();
        last = Some((explored, rules, confirmed, world.altered));
        if found {
            break;
        }
    }
    let (explored, rules, confirmed, altered) = last.expect("a case has a setting");
    let mut more = rules.told();
    if case.violates.is_some() {
        more = format!("the mutant altered {altered} operations; {more}");
    }
    let asked = || QUERIES.map(str::to_owned).into();
    let violation = |Confirmed { script, case, found, until, serial }| {
        let (shown, spec, outputs, queries) = (None, None, Vec::new(), asked());
        Violation { script: script.into(), case, found, shown, until, queries, spec, outputs, serial }
    };
    let actors = case.settings[0].roles().into_iter().map(|(id, role)| actor_name(id, role));
    let names = Names { actors: actors.collect(), queries: asked(), ..Names::default() };
    Ok(Outcome { explored, more, violations: confirmed.into_iter().map(violation).collect(), names })
}

async fn explored_application(
    hosts: &mut Hosts,
    app: &Arc<Application>,
    kinds: &[FaultKind],
    options: &Options,
) -> Result<Outcome, HostError> {
    let mut world = hosts.application(app.clone(), Looking::Footprints).await?;
    let (explored, rules, reproduced) = explore_application(&mut world, app, kinds, options).await?;
    world.close().await?;
    let names = rules.names();
    let violation = |of: Reproduced| {
        let (shown, until) = (Some(of.with_rows()), of.shown.found.execution.taken.len());
        let Reproduced { shown: Shown { script, case, found, outputs, .. }, serial } = of;
        let (script, queries) = (script.into(), names.queries.clone());
        Violation { script, case, found, shown, until, queries, spec: None, outputs, serial }
    };
    let violations = reproduced.into_iter().map(violation).collect();
    Ok(Outcome { explored, more: String::new(), violations, names: rules.names() })
}
