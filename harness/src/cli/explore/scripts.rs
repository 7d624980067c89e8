//! Explores scripts, specifications as scripts, and the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use drift_engine::lock::Backend;

use tokio::time::Instant;

use super::Args;
use super::hosts::{CaseFailure, Hosts};
use crate::cli::common::{Format, print, quoted, run_name, unwritable, verdict_exit};
use crate::cli::{Context, Failure};
use crate::exit::Exit;
use crate::explore::case::{Explored, Options, explore};
use crate::explore::engine::case::{self, EngineCase};
use crate::explore::engine::rules::{Confirmed, explore_engine};
use crate::explore::judge::Found;
use crate::explore::overlap::{FoundTogether, overlap};
use crate::explore::rules::ScriptRules;
use crate::explore::schedule::{ENGINE, Schedule};
use crate::explore::search::{Coverage, Strategy};
use crate::explore::specification::{ExportError, export, script_of};
use crate::outcome::{NotApplicable, VerdictKind};
use crate::report::directory::RunDirectory;
use crate::report::explored::{self, ExpectedRow, ExploreReport, ExploreRow, OverlapRow, TogetherRow, ViolatedRow};
use crate::scenario::collect::collect_scripts;
use crate::scenario::script::{Overlap, Script, ScriptCase};
use crate::scenario::shipped::SCRIPTS;

/// A script, and the name of its file.
pub(crate) struct Source {
    pub file: String,
    pub script: Arc<Script>,
}

impl Source {
    /// As one of its cases has it.
    pub fn of_case(&self, case: &ScriptCase) -> Self {
        Self { file: self.file.clone(), script: Arc::new(self.script.of_case(case)) }
    }
}

/// What is explored.
enum Subject<'a> {
    Script(&'a Source, &'a ScriptCase),
    Engine(EngineCase),
}

impl Subject<'_> {
    fn name(&self) -> String {
        match self {
            Self::Script(source, case) => format!("{}/{}", source.script.name, case.name),
            Self::Engine(case) => case.name.clone(),
        }
    }

    fn file(&self) -> &str {
        match self {
            Self::Script(source, _) => &source.file,
            Self::Engine(_) => ENGINE,
        }
    }

    fn backend(&self) -> Backend {
        match self {
            Self::Script(_, case) => case.backend,
            Self::Engine(case) => case.backend,
        }
    }

    /// The check that is expected to be violated.
    fn violates(&self) -> Option<String> {
        match self {
            Self::Script(_, case) => case.violates.clone(),
            Self::Engine(case) => case.violates.map(|check| check.to_string()),
        }
    }

    /// The rows of what was violated when two steps ran at the same time.
    fn together(&self, found: &[FoundTogether]) -> Vec<TogetherRow> {
        match self {
            Self::Script(source, case) => found.iter().map(|of| TogetherRow::new(&source.script, case, of)).collect(),
            Self::Engine(_) => Vec::new(),
        }
    }

    fn actors(&self) -> usize {
        match self {
            Self::Script(source, _) => source.script.actors.len(),
            Self::Engine(case) => case.settings[0].roles().len(),
        }
    }
}

/// A violation, with the script whose order it is.
struct Violation {
    script: Arc<Script>,
    case: ScriptCase,
    found: Found,
    /// How many of its steps show it.
    until: usize,
    /// A script's order as a specification, or why it cannot be one.
    spec: Option<Result<String, ExportError>>,
}

/// After how long it is said how far a search has come, again and again.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What came of a subject.
struct Outcome {
    explored: Explored,
    /// What is to be said beside what the search says.
    more: String,
    violations: Vec<Violation>,
}

/// Runs the command.
pub(super) async fn run(args: &Args, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let sources = sources(args)?;
    let of_cases: Vec<(Source, &ScriptCase)> = sources
        .iter()
        .flat_map(|source| source.script.cases.iter().map(move |case| (source.of_case(case), case)))
        .collect();
    let scripts = of_cases.iter().map(|(source, case)| Subject::Script(source, case));
    let engine = if args.built_in { case::all() } else { Vec::new() };
    let cases: Vec<Subject<'_>> = scripts
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
    for case in &cases {
        if let Subject::Script(source, _) = case {
            args.overlaps(&source.script)?;
        }
    }
    if args.list {
        for case in &cases {
            writeln!(context.out, "{} {}", case.name(), case.backend())?;
        }
        return Ok(Exit::Met);
    }
    let directory = args.output.clone().unwrap_or_else(|| PathBuf::from("target/driftlock").join(run_name("explore")));
    let directory = RunDirectory::create(directory).map_err(unwritable)?;
    let mut report = ExploreReport::new("explore", Some(args.seed), "none");
    report.planned = cases.len();
    let mut hosts = Hosts::default();
    let ended = run_cases(args, &cases, &directory, &mut hosts, &mut report, context).await;
    hosts.stop(context).await?;
    report.conclude();
    if ended.is_err() {
        report.not_verified.push(format!("the run ended after {} of {} cases", report.results.len(), cases.len()));
        report.conclude();
    }
    // Where nothing could be run there is nothing to report.
    if ended.is_ok() || !report.results.is_empty() {
        directory.explored(&report).map_err(unwritable)?;
    }
    ended?;
    print(&report, args.format, |report, to| explored::write(report, args.all, to), context)?;
    writeln!(context.err, "written to {}", directory.path().display())?;
    Ok(verdict_exit(report.verdict))
}

/// Reads the files, or takes the built-in scripts. What is wrong with several files is reported at once.
fn sources(args: &Args) -> Result<Vec<Source>, Failure> {
    if args.built_in {
        let sources =
            SCRIPTS.map(|shipped| Source { file: shipped.path.to_owned(), script: Arc::new(shipped.script()) });
        return Ok(sources.into());
    }
    if args.files.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "driftlock explore FILE.toml, or a directory; driftlock explore --built-in for what is built in",
            "there is nothing to explore: no file is given"
        )));
    }
    let is_spec = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "spec");
    let (specs, scripts): (Vec<&PathBuf>, Vec<&PathBuf>) = args.files.iter().partition(is_spec);
    let shipped = |file: &PathBuf| SCRIPTS.iter().find(|shipped| Path::new(shipped.path) == file && !file.exists());
    let (known, scripts): (Vec<&PathBuf>, Vec<&PathBuf>) =
        scripts.into_iter().partition(|file| shipped(file).is_some());
    let mut sources = Vec::new();
    for file in known {
        sources.push(load(file)?);
    }
    let scripts: Vec<PathBuf> = scripts.into_iter().cloned().collect();
    for (file, script) in collect_scripts(&scripts).map_err(Failure::usage)? {
        sources.push(Source { file: file.display().to_string(), script: Arc::new(script) });
    }
    let specs: Vec<PathBuf> = specs.into_iter().cloned().collect();
    for (file, read) in specs.iter().zip(super::isolationtester::read_all(&specs)?) {
        sources.push(Source { file: file.display().to_string(), script: Arc::new(script_of(&read.name, &read.spec)) });
    }
    Ok(sources)
}

/// Reads one file; a built-in script may be named by its path in the checkout, wherever that is.
pub(crate) fn load(file: &Path) -> Result<Source, Failure> {
    let shipped = SCRIPTS.iter().find(|shipped| Path::new(shipped.path) == file && !file.exists());
    let script = match shipped {
        Some(shipped) => shipped.script(),
        None if file.extension().is_some_and(|extension| extension == "spec") => {
            let read = super::isolationtester::read_all(&[file.to_owned()])?.remove(0);
            script_of(&read.name, &read.spec)
        }
        None => Script::load(file).map_err(Failure::usage)?,
    };
    Ok(Source { file: file.display().to_string(), script: Arc::new(script) })
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
    let started = hosts.start_all(wants, &args.postgres, context).await?;
    report.profile.clone_from(&started.profile);
    report.backends.clone_from(&started.backends);
    report.not_verified.extend(started.not_verified());
    let cancel = context.cancel.clone();
    for case in cases.iter().filter(|case| !started.lacks(case.backend())) {
        let pairs = match case {
            Subject::Script(source, _) => args.overlaps(&source.script)?,
            Subject::Engine(_) => Vec::new(),
        };
        options.executions.store(0, Ordering::Relaxed);
        let (begin, mut ticks) = (Instant::now(), tokio::time::interval(TOLD_EVERY));
        ticks.reset();
        let outcome = {
            let mut exploring = std::pin::pin!(explored(hosts, case, &pairs, &options));
            loop {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Err(Failure::interrupted()),
                    outcome = &mut exploring => break outcome,
                    _ = ticks.tick() => {
                        let (executions, seconds) = (options.executions.load(Ordering::Relaxed), begin.elapsed().as_secs());
                        writeln!(context.err, "{}: {executions} executions in {seconds} s", case.name())?;
                    }
                }
            }
        };
        let outcome = outcome.map_err(|failure| failure.about(case.file(), &case.name(), case.backend()))?;
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
    pairs: &[Overlap],
    options: &Options,
) -> Result<Outcome, CaseFailure> {
    let (source, case) = match subject {
        Subject::Script(source, case) => (source, case),
        Subject::Engine(case) => return explored_engine(hosts, case, options).await,
    };
    let (script, violates) = (source.script.clone(), case.violates.as_deref());
    let rules = ScriptRules::new(&script, case);
    let explored = match case.backend {
        Backend::Postgres => {
            let mut world = hosts.postgres(script.clone(), case).await?;
            let (mut explored, rules) = explore(&mut world, rules, violates, options).await?;
            explored.tell(&script, &rules);
            if options.all || !explored.has_found(violates) {
                explored.overlaps = overlap(&mut world, rules, &script, violates, pairs, options).await?;
            }
            world.close().await?;
            explored
        }
        // Nothing runs beside a writer there.
        Backend::Sqlite => {
            let mut world = hosts.sqlite(script.clone(), case).await?;
            let (mut explored, rules) = explore(&mut world, rules, violates, options).await?;
            explored.tell(&script, &rules);
            explored
        }
    };
    let violation = |found: &Found| Violation {
        script: script.clone(),
        case: (*case).clone(),
        found: found.clone(),
        until: found.execution.taken.len(),
        spec: Some(export(&script, case, &found.execution)),
    };
    let violations = explored.found.iter().map(violation).collect();
    Ok(Outcome { explored, more: String::new(), violations })
}

async fn explored_engine(hosts: &mut Hosts, case: &EngineCase, options: &Options) -> Result<Outcome, CaseFailure> {
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
    let violation =
        |Confirmed { script, case, found, until }| Violation { script: script.into(), case, found, until, spec: None };
    Ok(Outcome { explored, more, violations: confirmed.into_iter().map(violation).collect() })
}

/// The row of a case; its violations are shown, and written as schedules.
fn row(
    args: &Args,
    subject: &Subject<'_>,
    outcome: Outcome,
    directory: &RunDirectory,
    context: &mut Context<'_>,
) -> Result<ExploreRow, Failure> {
    let Outcome { explored, more, violations } = outcome;
    let (name, backend, violates) = (subject.name(), subject.backend(), subject.violates());
    let (verdict, mut evidence) = explored.verdict(violates.as_deref(), subject.actors(), args.strategy);
    if !more.is_empty() {
        evidence.push_str(&format!("; {more}"));
    }
    let met = explored.is_met(violates.as_deref(), subject.actors(), args.strategy);
    let files = if args.built_in { " --built-in".to_owned() } else { format!(" {}", quoted(subject.file())) };
    let mut first = None;
    let replay = format!("driftlock explore{files} --filter {name} --backend {backend}{}", repeated(args));
    for Violation { script, case, found, until, spec } in &violations {
        let slug = format!("{}-{}", name.replace('/', "-"), found.check);
        let schedule = Schedule::new(subject.file(), script, case, found).text();
        let path = directory.schedule(&slug, "json", &schedule).map_err(unwritable)?;
        match spec {
            Some(Ok(text)) if args.export_spec => {
                directory.schedule(&slug, "spec", text).map_err(unwritable)?;
            }
            Some(Err(why)) if args.export_spec => {
                writeln!(context.err, "{name}: {} cannot be exported: {why}", found.check)?;
            }
            _ => {}
        }
        let own = format!("driftlock replay {}", quoted(&path.display().to_string()));
        if violates.as_ref().is_none_or(|check| *check == found.check) {
            // The first one is whose sentence the evidence is.
            first.get_or_insert_with(|| own.clone());
        }
        if args.format == Format::Text && (!met || args.filter.is_some() || args.all || !args.built_in) {
            writeln!(context.out, "{name} on {backend}: violation of {}", found.check)?;
            explored::counterexample(script, found, *until, context.out)?;
            writeln!(context.out, "  replay: {own}\n")?;
        }
    }
    let replay = first.unwrap_or(replay);
    for together in explored.overlaps.iter().flat_map(|of| &of.found) {
        if args.format == Format::Text && (!met || args.filter.is_some() || args.all || !args.built_in) {
            writeln!(context.out, "{name} on {backend}: violation of {}", together.found.check)?;
            if let Subject::Script(source, case) = subject {
                explored::together(&source.script, case, together, context.out)?;
            }
            writeln!(context.out, "  once more, by chance: {replay}\n")?;
        }
    }
    let own = violations.iter().map(|violation| &violation.found);
    let found = own.chain(explored.overlaps.iter().flat_map(|of| &of.found).map(|of| &of.found));
    let seconds = explored.took.max(Duration::from_micros(1)).as_secs_f64();
    let searched = &explored.searched;
    Ok(ExploreRow {
        name,
        backend,
        strategy: args.strategy.to_string(),
        verdict,
        expected: ExpectedRow {
            verdict: if violates.is_some() { VerdictKind::Violation } else { VerdictKind::Pass },
            check: violates,
        },
        met,
        evidence,
        checks: found
            .map(|found| ViolatedRow {
                name: found.check.clone(),
                verdict: VerdictKind::Violation,
                why: found.sentence.clone(),
            })
            .collect(),
        coverage: coverage(&explored),
        refused: explored.refused.clone(),
        not_compared: explored.not_compared.clone(),
        executions: searched.executions,
        abandoned: searched.abandoned,
        orders: explored.orders,
        executions_per_second: (searched.executions + searched.abandoned) as f64 / seconds,
        outcomes: explored.outcomes.clone(),
        duration_ms: u64::try_from(explored.took.as_millis()).unwrap_or(u64::MAX),
        overlaps: explored
            .overlaps
            .iter()
            .map(|of| OverlapRow {
                steps: of.names.clone(),
                tries: of.tries,
                together: of.together,
                in_flight: of.in_flight,
                violations: subject.together(&of.found),
            })
            .collect(),
        replay,
    })
}

/// How far the search came, in one word.
fn coverage(explored: &Explored) -> String {
    let word = match explored.searched.coverage {
        // What only chance brings about is never exhausted.
        Coverage::Exhausted if explored.overlaps.is_empty() => "exhausted",
        Coverage::Exhausted | Coverage::Bounded(_) => "bounded",
        Coverage::Stopped(_) => "stopped",
        Coverage::Diverged(_) => "diverged",
    };
    word.to_owned()
}

/// The arguments that matter to a case.
fn repeated(args: &Args) -> String {
    let mut text = String::new();
    if args.strategy != Strategy::Exhaustive {
        text.push_str(&format!(" --strategy {} --seed {}", args.strategy, args.seed));
    }
    for pair in &args.overlap {
        text.push_str(&format!(" --overlap {}", quoted(pair)));
    }
    if let Some(tries) = args.overlap_tries {
        text.push_str(&format!(" --overlap-tries {tries}"));
    }
    if let Some(limit) = args.budget {
        text.push_str(&format!(" --budget {limit}"));
    }
    text
}
