//! What is said of an application under load beside its times.

use std::io::{self, Write};

use crate::capacity::application::answers::AnswerRow;
use crate::capacity::application::measure::{ApplicationRun, Compared, Held, InvariantRow};
use crate::capacity::application::observe::Gauge;
use crate::capacity::phase::Phase;
use crate::capacity::recording::Recording;
use crate::capacity::setting::Way;
use crate::report::record;

/// Whether an invariant is violated that the file does not expect to be.
pub(super) fn is_violated(run: &ApplicationRun) -> bool {
    violated(run).any(|row| run.violates.as_ref() != Some(&row.name))
}

fn violated(run: &ApplicationRun) -> impl Iterator<Item = &InvariantRow> {
    run.invariants.iter().filter(|row| matches!(row.held, Held::Violated { .. }))
}

/// Why what was measured says nothing.
pub(super) fn doubts(run: &ApplicationRun) -> Vec<String> {
    let mut doubts = Vec::new();
    for row in &run.invariants {
        if let Held::Refused { why } = &row.held {
            doubts.push(format!("invariant {} cannot be judged, for the server refuses it: {why}", row.name));
        }
    }
    if run.changed_alone > 0 && run.counts.changed == 0 {
        doubts.push(format!(
            "no job changed a row under load, and those alone before it changed {}: what is measured is jobs that find \
             nothing left to do; let each one make, or put back, what it uses up",
            run.changed_alone
        ));
    }
    doubts
}

/// Writes it.
pub(super) fn write(run: &ApplicationRun, recording: &Recording, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "alone: {}; under load its programs reach the server {}", alone(run), run.way)?;
    let starts: Vec<&str> =
        run.actors.iter().filter(|(_, does)| does == "run").map(|(name, _)| name.as_str()).collect();
    if !starts.is_empty() {
        let names = starts.join(", ");
        writeln!(to, "a process a task: {names}; its start is part of the response (`worker = …` keeps one)")?;
    }
    if let Some(direct) = run.direct {
        cost(&direct, recording, to)?;
    }
    answers(run, to)?;
    let gauges = run.gauges;
    let gauge = |gauge: Gauge| format!("{:.1} (at most {})", gauge.mean, gauge.max);
    writeln!(
        to,
        "server, in {} looks: {} sessions, {} active, {} idle in a transaction, {} waiting for a lock",
        gauges.looks,
        gauge(gauges.sessions),
        gauge(gauges.active),
        gauge(gauges.idle_in_transaction),
        gauge(gauges.waiting)
    )?;
    let counts = run.counts;
    writeln!(
        to,
        "server, warm-up included: {} transactions committed, {} rolled back, {} deadlocks, {} rows \
         changed",
        counts.committed, counts.rolled_back, counts.deadlocks, counts.changed
    )?;
    if let Some(recorded) = &run.recorded {
        writeln!(to)?;
        record::write(recorded, to)?;
        writeln!(to)?;
    }
    if run.way == Way::Direct {
        writeln!(to, "nothing is recorded by statement: leave out --direct for that")?;
    }
    run.invariants.iter().try_for_each(|row| invariant(run, row, to))
}

/// What a job takes alone, as far as jobs ended as the file expects.
fn alone(run: &ApplicationRun) -> String {
    match (run.alone, run.alone_failed) {
        (Some(alone), 0) => format!("a job {:.3} ms", alone / 1e6),
        (Some(alone), failed) => format!("a job {:.3} ms, without {failed} that ended as not expected", alone / 1e6),
        (None, failed) => format!("not known, for all {failed} timed jobs ended as not expected"),
    }
}

/// What the jobs came to, by actor.
fn answers(run: &ApplicationRun, to: &mut dyn Write) -> io::Result<()> {
    for (number, (name, _)) in run.actors.iter().enumerate() {
        let of = |row: &&AnswerRow| row.actor == number;
        let shown =
            |row: &AnswerRow| format!("{} × {}{}", row.kind, row.times, if row.met { "" } else { " (not expected)" });
        let shown: Vec<String> = run.answers.iter().filter(of).map(shown).collect();
        if !shown.is_empty() {
            writeln!(to, "{name}: {}", shown.join(", "))?;
        }
    }
    let examples = run.answers.iter().filter_map(|row| row.example.as_ref().map(|example| (&row.kind, example)));
    examples.take(EXAMPLES_MAX).try_for_each(|(kind, example)| writeln!(to, "the first {kind}: {example}"))
}

/// How many answers that are not expected are shown in words.
const EXAMPLES_MAX: usize = 5;

/// What the proxy costs: the same load without it.
fn cost(direct: &Compared, recording: &Recording, to: &mut dyn Write) -> io::Result<()> {
    let at = |quantile| recording.quantile(Phase::Response, quantile).unwrap_or(0) as f64 / 1e6;
    let (p50, p99) = (direct.p50 as f64 / 1e6, direct.p99 as f64 / 1e6);
    let share = recording.throughput() / direct.throughput.max(f64::MIN_POSITIVE);
    writeln!(
        to,
        "proxy: {:.1}/s through it and {:.1}/s directly ({share:.2}), p50 {:.3} and {p50:.3} ms ({:+.3}), p99 {:.3} and \
         {p99:.3} ms ({:+.3}); one run each, so less than the noise of the machine says nothing",
        recording.throughput(),
        direct.throughput,
        at(0.5),
        at(0.5) - p50,
        at(0.99),
        at(0.99) - p99
    )
}

fn invariant(run: &ApplicationRun, row: &InvariantRow, to: &mut dyn Write) -> io::Result<()> {
    let name = &row.name;
    match &row.held {
        Held::Kept => writeln!(to, "invariant {name}: met at the end"),
        Held::Violated { count, rows } => {
            let shown: Vec<String> = rows.iter().map(|row| format!("({})", row.join(", "))).collect();
            let expected = if run.violates.as_ref() == Some(name) { ", as the file expects" } else { "" };
            let more = if *count > rows.len() { ", …" } else { "" };
            writeln!(
                to,
                "VIOLATION OF {}{expected}: at the end {name} returns {count} rows, {}{more}; before the load it \
                 returned none",
                name.to_uppercase(),
                shown.join(", ")
            )
        }
        Held::NotJudged => writeln!(
            to,
            "invariant {name}: not judged, for jobs that went one after the other violate it too: it is about one round"
        ),
        Held::Refused { why } => writeln!(to, "invariant {name}: the server refuses it: {why}"),
    }
}
