//! What every page has: its head, its style, its verdict, the setting of the run, and the script that is not needed.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::paint;
use crate::capacity::setting::{Setting, Surroundings};
use crate::outcome::{NotApplicable, Report, Row, VerdictKind};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A whole page.
pub fn framed(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Whatever a run has recorded, nothing is fetched, and nothing but this script runs.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) (paint::style()) }
            }
            body {
                main { (body) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// A page of charts. `text` is what is printed on a terminal: every number that the charts show.
pub fn of_charts(title: &str, verdict: &str, charts: &[Markup], text: &[u8], setting: &Markup) -> String {
    let text = String::from_utf8_lossy(text);
    let body = html! {
        h1 { (title) }
        p class="verdict" { (verdict) }
        div class="charts" { @for chart in charts { (chart) } }
        h2 { "The numbers" }
        pre tabindex="0" { @for line in text.lines() { @if is_prose(line) { span class="prose" { (line) } } @else { (line) } "\n" } }
        (setting)
    };
    framed(title, &body)
}

/// Whether a line is of words, which may be broken, and not of columns.
fn is_prose(line: &str) -> bool {
    !line.trim().contains("  ") && !line.contains(['─', '═'])
}

/// What was measured, and where.
pub fn measured(setting: &Setting, surroundings: &Surroundings, replay: &str) -> Markup {
    let load = &setting.load;
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let added = load.round_trip_added;
    html! {
        section {
            h2 { "Configuration and environment" }
            (again(replay))
            (facts(&[
                ("what", format!("{} of {}", setting.work, setting.scenario)),
                ("data", setting.data.clone()),
                ("lock", setting.strategy.to_string()),
                ("load", format!("{}, {} workers, keys {} of {}", load.arrivals, load.workers, load.keys, load.key_count)),
                ("connections", load.pool.map(|pool| format!("{pool}, shared")).unwrap_or_default()),
                ("round trips", if added.is_zero() { String::new() } else { format!("{:.3} ms longer", added.as_secs_f64() * 1e3) }),
                ("warm-up", seconds(load.warm_up)),
                ("measured", seconds(load.duration)),
                ("seed", load.seed.to_string()),
                ("database", format!("{} {} ({})", setting.backend, surroundings.version, surroundings.provisioned)),
                ("profile", profile(&surroundings.profile)),
                ("machine", surroundings.machine.clone()),
                ("driftlock", surroundings.program.clone()),
            ]))
        }
    }
}

/// A verdict as a coloured word.
pub fn chip(verdict: VerdictKind, said: &str) -> Markup {
    html! { span class=(format!("chip {}", verdict.as_str())) { (said) } }
}

/// The verdict in relation to what was expected, in these words: what was expected is no bad news.
pub fn verdict<R: Row>(row: &R, said: &str) -> Markup {
    let kind = match (row.met(), row.verdict()) {
        (true, VerdictKind::Violation) => VerdictKind::Pass,
        (false, VerdictKind::Pass) => VerdictKind::Violation,
        (_, kind) => kind,
    };
    chip(kind, &said.to_lowercase())
}

/// A command that runs something again, with a button that copies it.
pub fn again(command: &str) -> Markup {
    html! {
        p class="again" {
            span class="faint small" { "replay" }
            code { (command) }
            button class="script" type="button" data-copy=(command) { "Copy" }
        }
    }
}

/// Names with their values, those without a value left out.
pub fn facts(facts: &[(&str, String)]) -> Markup {
    html! {
        dl class="facts" {
            @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) { dt { (name) } dd { (value) } }
        }
    }
}

/// The head of a report's page: what was run, and what came of it.
pub fn head<R: Row>(report: &Report<R>, what: &str) -> Markup {
    let met = report.results.iter().filter(|row| row.met()).count();
    let of = report.planned.max(report.results.len());
    html! {
        h1 { "driftlock " (report.command) ": " (what) }
        p { (chip(report.verdict, report.verdict.as_str())) " " (met) " of " (of) " as expected" }
        @for why in &report.not_verified { p { strong { "Not verified: " } (why) } }
    }
}

/// The run's setting and its databases.
pub fn environment<R>(report: &Report<R>, more: &[(&str, String)]) -> Markup {
    let mut all: Vec<(&str, String)> = report
        .backends
        .iter()
        .map(|used| (used.name.as_str(), format!("{} ({})", used.version, used.provisioned)))
        .collect();
    all.push(("profile", profile(&report.profile)));
    all.push(("seed", report.seed.map(|seed| seed.to_string()).unwrap_or_default()));
    all.push(("rounds", report.rounds.map(|rounds| rounds.to_string()).unwrap_or_default()));
    all.extend(more.iter().cloned());
    html! {
        section {
            h2 { "Configuration and environment" }
            (facts(&all))
            (not_applicable(&report.not_applicable))
        }
    }
}

/// What a profile means.
pub fn profile(name: &str) -> String {
    match name {
        "fast" => "fast: the server does not wait for the disk".to_owned(),
        "durable" => "durable: the server waits for the disk".to_owned(),
        _ => name.to_owned(),
    }
}

fn not_applicable(all: &[NotApplicable]) -> Markup {
    html! {
        @if !all.is_empty() {
            details {
                summary { (all.len()) " not applicable" }
                ul class="plain" {
                    @for one in all { li { (one.name) " on " (one.backend.as_str()) ": " (one.reason) } }
                }
            }
        }
    }
}
