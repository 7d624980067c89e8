//! The row of a case in the report, and its violations as people see them.

use std::time::Duration;

use super::Args;
use super::scripts::{Outcome, Violation};
use super::subject::Subject;
use crate::cli::common::{Format, quoted, unwritable};
use crate::cli::{Context, Failure};
use crate::explore::case::Explored;
use crate::explore::course::Counterexample;
use crate::explore::schedule::Schedule;
use crate::explore::search::{Coverage, Strategy};
use crate::outcome::VerdictKind;
use crate::report::directory::RunDirectory;
use crate::report::explored::{self, ExpectedRow, ExploreRow, FaultsRow, OverlapRow, ViolatedRow};

/// The row of a case; its violations are shown, and written as schedules.
pub(super) fn row(
    args: &Args,
    subject: &Subject<'_>,
    outcome: Outcome,
    directory: &RunDirectory,
    context: &mut Context<'_>,
) -> Result<ExploreRow, Failure> {
    let Outcome { explored, more, violations, names } = outcome;
    let mut counterexamples = Vec::new();
    let (name, backend, violates) = (subject.name(), subject.backend(), subject.violates());
    let (verdict, mut evidence) = explored.verdict(violates.as_deref(), subject.actors(), args.strategy);
    if !more.is_empty() {
        evidence.push_str(&format!("; {more}"));
    }
    let met = explored.is_met(violates.as_deref(), subject.actors(), args.strategy);
    let files = if args.built_in { " --built-in".to_owned() } else { format!(" {}", quoted(subject.file())) };
    let mut first = None;
    let replay = format!("driftlock explore{files} --filter {name} --backend {backend}{}", repeated(args));
    for violation in &violations {
        let Violation { script, case, found, shown, until, spec, outputs, .. } = violation;
        let slug = format!("{}-{}", name.replace('/', "-"), found.check);
        let schedule = Schedule::new(subject.file(), subject.text(), script, case, found).text();
        let path = directory.schedule(&slug, "json", &schedule).map_err(unwritable)?;
        for (actor, text) in outputs {
            directory.schedule(&format!("{slug}-{actor}"), "log", text).map_err(unwritable)?;
        }
        match spec {
            Some(Ok(text)) if args.export_spec => {
                directory.schedule(&slug, "spec", text).map_err(unwritable)?;
            }
            Some(Err(why)) if args.export_spec => {
                writeln!(context.err, "{name}: {} cannot be exported: {why}", found.check)?;
            }
            _ => {}
        }
        let own = format!("driftlock replay {}{}", quoted(&path.display().to_string()), args.postgres.version());
        counterexamples.push(violation.counterexample(own.clone()));
        if violates.as_ref().is_none_or(|check| *check == found.check) {
            // The first one is whose sentence the evidence is.
            first.get_or_insert_with(|| own.clone());
        }
        if args.format == Format::Text && (!met || args.filter.is_some() || args.all || !args.built_in) {
            writeln!(context.out, "{name} on {backend}: violation of {}", found.check)?;
            explored::counterexample(script, shown.as_ref().unwrap_or(found), *until, context.out)?;
            for (actor, text) in outputs {
                printed(actor, text, context.out)?;
            }
            writeln!(context.out, "  replay: {own}\n")?;
        }
    }
    let replay = first.unwrap_or(replay);
    for together in explored.overlaps.iter().flat_map(|of| &of.found) {
        let all = together.found.execution.taken.len();
        let of_pair = Counterexample::new(&names, &together.found, all, replay.clone());
        counterexamples.push(Counterexample { together: Some(together.at), ..of_pair });
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
    let (searched, faulted) = (&explored.searched, explored.faulted.as_ref());
    let executions = searched.executions + faulted.map_or(0, |of| of.executions);
    let abandoned = searched.abandoned + faulted.map_or(0, |of| of.abandoned);
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
        executions,
        abandoned,
        orders: explored.orders,
        executions_per_second: (executions + abandoned) as f64 / seconds,
        outcomes: explored.outcomes.iter().map(|outcome| outcome.row(&names)).collect(),
        counterexamples,
        summary: subject.summary(),
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
        faults: faulted.map(|of| FaultsRow::new(of, word_of(&of.coverage))),
        replay,
    })
}

/// How far the search came, with all that was let fail, in one word.
fn coverage(explored: &Explored) -> String {
    let of_faults = explored.faulted.as_ref().map(|of| &of.coverage);
    let word = match (word_of(&explored.searched.coverage), of_faults.map(word_of)) {
        // What only chance brings about is never exhausted.
        ("exhausted", None) if !explored.overlaps.is_empty() => "bounded",
        ("exhausted", Some(word)) | ("bounded", Some(word @ ("stopped" | "diverged"))) => word,
        (word, _) => word,
    };
    word.to_owned()
}

fn word_of(coverage: &Coverage) -> &'static str {
    match coverage {
        Coverage::Exhausted => "exhausted",
        Coverage::Bounded(_) => "bounded",
        Coverage::Stopped(_) => "stopped",
        Coverage::Diverged(_) => "diverged",
    }
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
    if let Some(faults) = &args.faults {
        text.push_str(&format!(" --faults {}", faults.text()));
    }
    if let Some(limit) = args.budget {
        text.push_str(&format!(" --budget {limit}"));
    }
    text + &args.postgres.version()
}

/// Shows the last lines of what a program printed.
fn printed(actor: &str, text: &str, to: &mut dyn std::io::Write) -> std::io::Result<()> {
    const LINES: usize = 5;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        writeln!(to, "  {actor} printed: {}", line.chars().take(200).collect::<String>())?;
    }
    Ok(())
}
