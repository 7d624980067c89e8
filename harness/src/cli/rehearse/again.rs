//! The command line that holds one rehearsal again.

use super::{Args, Fidelity, TrafficChoice};
use crate::cli::common::quoted;
use crate::rehearse::case::Case;
use crate::rehearse::traffic::Cast;

/// The command that holds one rehearsal again.
pub(super) fn replay(args: &Args, case: &Case) -> String {
    let subject = &case.subject;
    let mut words = String::from("driftlock rehearse");
    match args.directories.is_empty() {
        true if args.runner.is_none() => words.push_str(&format!(" --filter {}", subject.name)),
        true => {}
        false => words.push_str(&format!(" {}", quoted(&subject.path))),
    }
    for (name, command) in [("--runner", &args.runner), ("--runner-down", &args.runner_down)] {
        words.extend(command.as_ref().map(|command| format!(" {name} {}", quoted(command))));
    }
    words.extend(args.layout.map(|layout| format!(" --layout {}", layout.name)));
    words.extend(args.backend.map(|backend| format!(" --backend {backend}")));
    words.extend(case.journal.map(|journal| format!(" --journal {}", journal.as_str())));
    // What has changed since a branch is another question tomorrow.
    let (from, to) = match &args.changed {
        Some(_) => (&subject.settings.from, &subject.settings.to),
        None => (&args.from, &args.to),
    };
    for (name, value) in [("--from", from), ("--to", to)] {
        words.extend(value.as_ref().map(|value| format!(" {name} {}", quoted(value.as_str()))));
    }
    if let Some(companion) = case.companion.filter(|_| case.companion != subject.companion()) {
        words.push_str(&format!(" --companion {}", companion.as_str()));
    }
    if case.failures {
        words.push_str(" --failures");
    }
    if args.fidelity == Fidelity::Runner {
        words.push_str(" --fidelity runner");
    }
    words.extend(args.application.map(|application| format!(" --application {}", application.as_str())));
    words.extend(args.data.as_ref().map(|path| format!(" --data {}", quoted(&path.display().to_string()))));
    words.extend(args.events.map(|events| format!(" --events {events}")));
    match &args.traffic {
        TrafficChoice::Engine => {}
        TrafficChoice::None => words.push_str(" --traffic none"),
        TrafficChoice::Script(path) => words.push_str(&format!(" --traffic {}", quoted(&path.display().to_string()))),
    }
    words.extend(args.app.iter().map(|app| format!(" --app {}", quoted(&app.to_string()))));
    let budget = [
        ("--read-block", args.read_block),
        ("--write-block", args.write_block),
        ("--access-exclusive", args.access_exclusive),
    ];
    for (name, value) in budget {
        words.extend(value.map(|value| format!(" {name} {value}")));
    }
    words.extend(args.rows.iter().map(|(table, rows)| format!(" --rows {}", quoted(&format!("{table}={rows}")))));
    words.extend(args.allow_error.iter().map(|code| format!(" --allow-error {}", quoted(code))));
    let cast = Cast::usual(subject.settings.backend(), args.workers);
    words.push_str(&format!(" --workers {} --seed {}", cast.workers, args.seed));
    words + &args.postgres.repeated()
}
