//! What `recompute` prints: JSON for programs, unrounded; tables for people, rounded.

use std::io::{self, Write};
use std::sync::Arc;

use comfy_table::{CellAlignment, Table, presets};
use drift_engine::drift::{DriftType, Signal};
use drift_engine::policy::{Policy, Windows};
use drift_engine::run::{RunId, Status};
use jiff::ToSpan;
use jiff::civil::Date;
use serde::Serialize;

/// The version of the JSON format.
const SCHEMA_VERSION: u32 = 1;

/// One customer's run and the events that are in it, as read back from the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The run.
    pub run: RunId,
    /// Whose.
    pub customer: Arc<str>,
    /// Where the run is in its life.
    pub status: Status,
    /// Its events, ordered by business key.
    pub events: Arc<[Signal]>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    runs: Vec<Run<'a>>,
}

#[derive(Serialize)]
struct Run<'a> {
    run_id: &'a RunId,
    customer: &'a str,
    status: Status,
    events: Vec<Event<'a>>,
}

#[derive(Serialize)]
struct Event<'a> {
    payer: &'a str,
    cpt_group: &'a str,
    drift_type: DriftType,
    baseline_value: f64,
    current_value: f64,
    delta: f64,
    severity: f64,
    confidence: f64,
    baseline_start: Date,
    baseline_end: Date,
    current_start: Date,
    current_end: Date,
}

/// Writes the runs as one JSON document; the ends of windows are exclusive.
///
/// # Errors
/// The writer's.
pub fn json(mut to: &mut dyn Write, outcomes: &[Outcome], windows: &Windows) -> io::Result<()> {
    let runs = outcomes.iter().map(|outcome| Run {
        run_id: &outcome.run,
        customer: &outcome.customer,
        status: outcome.status,
        events: outcome.events.iter().map(|signal| event(signal, windows)).collect(),
    });
    serde_json::to_writer_pretty(&mut to, &Document { schema_version: SCHEMA_VERSION, runs: runs.collect() })?;
    to.write_all(b"\n")
}

fn event<'a>(signal: &'a Signal, windows: &Windows) -> Event<'a> {
    Event {
        payer: &signal.payer,
        cpt_group: &signal.cpt_group,
        drift_type: signal.drift_type,
        baseline_value: signal.baseline_value,
        current_value: signal.current_value,
        delta: signal.delta,
        severity: signal.severity,
        confidence: signal.confidence,
        baseline_start: windows.baseline_start,
        baseline_end: windows.current_start,
        current_start: windows.current_start,
        current_end: windows.current_end,
    }
}

/// Writes a table for each customer.
///
/// # Errors
/// The writer's.
pub fn text(to: &mut dyn Write, outcomes: &[Outcome], windows: &Windows, policy: &Policy) -> io::Result<()> {
    let Windows { baseline_start, current_start, current_end } = *windows;
    let last = |end: Date| end - 1.day();
    writeln!(
        to,
        "baseline {baseline_start} to {}, current {current_start} to {}, minimum volume {}",
        last(current_start),
        last(current_end),
        policy.min_volume()
    )?;
    if outcomes.is_empty() {
        writeln!(to, "\nno customers: the file holds no claims")?;
    }
    for Outcome { run, customer, status, events } in outcomes {
        let found = match events.len() {
            0 => "no drift".to_owned(),
            1 => "1 drift".to_owned(),
            many => format!("{many} drifts"),
        };
        writeln!(to, "\n{}: {found} (run {}, {})", shown(customer), shown(run.as_str()), status.as_str())?;
        if !events.is_empty() {
            writeln!(to, "{}", table(events))?;
        }
    }
    Ok(())
}

fn table(events: &[Signal]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["payer", "CPT group", "drift", "baseline", "current", "change", "severity", "confidence"]);
    for signal in events {
        let Signal { baseline_value, current_value, delta, .. } = *signal;
        let rate = |value: f64| format!("{:.1} %", 100.0 * value);
        let days = |value: f64| format!("{value:.1} days");
        let [what, baseline, current, change] = match signal.drift_type {
            DriftType::DenialRate => {
                let points = format!("{:+.1} points", 100.0 * delta);
                ["denial rate".to_owned(), rate(baseline_value), rate(current_value), points]
            }
            DriftType::DecisionTime => {
                let change = format!("{delta:+.1} days");
                ["decision time".to_owned(), days(baseline_value), days(current_value), change]
            }
        };
        table.add_row([
            shown(&signal.payer),
            shown(&signal.cpt_group),
            what,
            baseline,
            current,
            change,
            format!("{:.2}", signal.severity),
            format!("{:.2}", signal.confidence),
        ]);
    }
    table.column_iter_mut().skip(3).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// A name as it may be sent to a terminal: control characters escaped.
pub fn shown(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn outcomes() -> Vec<Outcome> {
        let signal = |drift_type, baseline_value, current_value, severity| Signal {
            payer: "Aetna".into(),
            cpt_group: "mri".into(),
            drift_type,
            baseline_value,
            current_value,
            delta: current_value - baseline_value,
            severity,
            confidence: 0.75,
        };
        let run = |id: &str| RunId::new(id).unwrap();
        let events = [signal(DriftType::DenialRate, 0.1, 0.3, 0.4), signal(DriftType::DecisionTime, 10.0, 13.5, 0.35)];
        vec![
            Outcome { run: run("r1"), customer: "acme".into(), status: Status::Succeeded, events: events.into() },
            Outcome { run: run("r2"), customer: "evil\x1b[2J".into(), status: Status::Succeeded, events: [].into() },
        ]
    }

    fn printed(write: impl FnOnce(&mut dyn Write, &Windows, &Policy) -> io::Result<()>) -> String {
        let policy = Policy::default();
        let windows = policy.windows(date(2026, 4, 15)).unwrap();
        let mut out = Vec::new();
        write(&mut out, &windows, &policy).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_unrounded_and_its_windows_end_exclusively() {
        insta::assert_snapshot!(printed(|out, windows, _| json(out, &outcomes(), windows)));
    }

    #[test]
    fn text_is_a_table_a_customer_and_sends_no_control_characters() {
        insta::assert_snapshot!(printed(|out, windows, policy| text(out, &outcomes(), windows, policy)));
    }
}
