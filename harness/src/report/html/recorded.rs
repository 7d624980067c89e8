//! The page of a run of `record`: sessions over time, and what was sent.

use maud::{Markup, html};

use super::frame::{facts, framed, profile};
use super::timeline::{Bar, Timeline};
use crate::app::record::account::{ErrorRow, LockRow, Recorded, StatementRow, WaitRow};
use crate::app::record::sessions::{Ending, SessionRow, Sessions};

/// The most rows of a table.
const ROWS_MAX: usize = 100;

/// The page.
pub fn page(report: &Recorded) -> String {
    let what = if report.program.is_empty() { "a program".to_owned() } else { report.program.clone() };
    let body = html! {
        h1 { "driftlock record: " (what) }
        (summary(report))
        @match &report.over_time {
            Some(all) if !all.sessions.is_empty() => { section { (lanes(all)) (written_out(all)) } }
            _ => { p class="faint" { "The version that recorded this run kept no sessions; run it again to see them over time." } }
        }
        (statements(&report.statements))
        (errors(&report.errors))
        (waits(&report.waits))
        (locks(&report.locks))
        section {
            h2 { "Configuration and environment" }
            (facts(&[
                ("program", report.program.clone()),
                ("profile", profile(&report.profile)),
                ("took", format!("{:.1} s", report.seconds)),
            ]))
            @for used in &report.backends {
                (facts(&[(used.name.as_str(), format!("{} ({})", used.version, used.provisioned))]))
            }
        }
    };
    framed(&format!("driftlock record: {what}"), &body)
}

fn summary(report: &Recorded) -> Markup {
    let all = &report.transactions;
    let isolation = all.isolation.iter().map(|(level, times)| format!("{times} at {level}")).collect::<Vec<_>>();
    html! {
        @if all.commits_rolled_back > 0 {
            p class="bad" {
                strong { "COMMIT was answered with ROLLBACK " (all.commits_rolled_back) " times: " }
                "nothing remains of what the program may believe to be kept."
            }
        }
        @if all.left_open > 0 {
            p class="bad" { strong { (all.left_open) " transactions were left open: " } "their connections' ends have rolled them back." }
        }
        (facts(&[
            ("sessions", format!("{}, at most {} at once", report.sessions, report.sessions_at_once)),
            ("transactions", format!(
                "{} committed, {} rolled back, {} retried; the longest took {} ms",
                all.committed, all.rolled_back, all.retries, all.longest_ms
            )),
            ("isolation", isolation.join(", ")),
            ("by themselves", format!("{} statements", all.of_one_statement)),
        ]))
    }
}

/// How a transaction's end is drawn, and what it is called.
fn ended(ending: Ending) -> (&'static str, &'static str) {
    match ending {
        Ending::Committed => ("task", "committed"),
        Ending::RolledBack => ("undone", "rolled back"),
        Ending::CommitRolledBack => ("undone", "its COMMIT was answered with ROLLBACK"),
        Ending::LeftOpen => ("undone", "left open"),
    }
}

fn name(session: usize) -> String {
    format!("session {}", session + 1)
}

fn anchor(session: usize, statement: usize) -> String {
    format!("s{}-{}", session + 1, statement + 1)
}

fn awaited(waits_for: &[usize]) -> String {
    match waits_for {
        [] => "somebody who is not shown".to_owned(),
        all => all.iter().map(|session| name(*session)).collect::<Vec<_>>().join(", "),
    }
}

/// What of a session is drawn; what is drawn first lies below.
fn bars(number: usize, session: &SessionRow) -> Vec<Bar> {
    let bar = |class, from, to, said: String| Bar {
        lane: number,
        class,
        from,
        to,
        said: format!("{said}, from {from:.1} to {to:.1} ms"),
        target: None,
        towards: Vec::new(),
    };
    let transactions = session.transactions.iter().map(|of| {
        let (class, said) = ended(of.ending);
        bar(class, of.from_ms, of.to_ms, format!("transaction at {}, {said}", of.isolation))
    });
    let statements = session.statements.iter().enumerate().map(|(nth, of)| {
        let (class, error) = match &of.error {
            Some(error) => ("failed", format!(", refused: {error}")),
            None => ("holds", String::new()),
        };
        let target = Some(anchor(number, nth));
        Bar { target, ..bar(class, of.from_ms, of.to_ms, format!("{}{error}", of.text)) }
    });
    let waits = session.waits.iter().map(|of| {
        let said = format!("waited for {}", awaited(&of.waits_for));
        Bar { towards: of.waits_for.clone(), ..bar("asks", of.from_ms, of.to_ms, said) }
    });
    transactions.chain(statements).chain(waits).collect()
}

fn lanes(all: &Sessions) -> Markup {
    let bars = all.sessions.iter().enumerate().flat_map(|(number, session)| bars(number, session));
    let timeline = Timeline {
        title: "Sessions over time",
        lanes: (0..all.sessions.len()).map(name).collect(),
        bars: bars.collect(),
        key: &[
            ("task", "a transaction"),
            ("undone", "one of which nothing remains"),
            ("holds", "a statement"),
            ("failed", "a statement that was refused"),
            ("asks", "waits for a lock, with an arrow to whom"),
        ],
        caption: html! {
            "The server was asked every 5 ms who waits. A click on a statement leads to its text."
            @if all.left_out > 0 { " " (all.left_out) " statements, transactions and waits after these are not shown." }
            @if all.sessions_left_out > 0 { " " (all.sessions_left_out) " sessions more are not shown." }
        },
    };
    timeline.render()
}

/// The same in words.
fn written_out(all: &Sessions) -> Markup {
    html! {
        h3 { "The sessions, written out" }
        @for (number, session) in all.sessions.iter().enumerate() {
            details {
                summary {
                    (name(number)) ": " (session.transactions.len()) " transactions, " (session.statements.len())
                    " statements, " (session.waits.len()) " waits"
                }
                div class="table" tabindex="0" role="group" aria-label=(name(number)) {
                    table class="cards" {
                        thead {
                            tr {
                                th scope="col" { "statement" } th scope="col" class="number" { "at ms" }
                                th scope="col" class="number" { "took ms" } th scope="col" { "waited, refused" }
                            }
                        }
                        tbody {
                            @for (nth, of) in session.statements.iter().enumerate() {
                                tr id=(anchor(number, nth)) {
                                    th scope="row" { code { (of.text) } }
                                    td data-label="at ms" class="number" { (format!("{:.1}", of.from_ms)) }
                                    td data-label="took ms" class="number" { (format!("{:.1}", of.to_ms - of.from_ms)) }
                                    td data-label="waited, refused" {
                                        @for wait in session.waits.iter().filter(|wait| wait.from_ms >= of.from_ms && wait.to_ms <= of.to_ms) {
                                            div { "waited " (format!("{:.0}", wait.to_ms - wait.from_ms)) " ms for " (awaited(&wait.waits_for)) }
                                        }
                                        @if let Some(error) = &of.error { div class="bad" { (error) } }
                                    }
                                }
                            }
                        }
                    }
                }
                ul class="plain" {
                    @for of in &session.transactions {
                        li {
                            "transaction at " (of.isolation) ", from " (format!("{:.1}", of.from_ms)) " to "
                            (format!("{:.1}", of.to_ms)) " ms: " (ended(of.ending).1)
                        }
                    }
                }
            }
        }
    }
}

/// A table under a heading, unless it has no rows.
fn table(title: &str, heads: &[(&str, bool)], rows: &[Vec<String>]) -> Markup {
    html! {
        @if !rows.is_empty() {
            section {
                h2 { (title) }
                div class="table" tabindex="0" role="group" aria-label=(title) {
                    table class="cards" {
                        thead { tr { @for (head, is_number) in heads { th scope="col" class=[is_number.then_some("number")] { (head) } } } }
                        tbody {
                            @for row in rows.iter().take(ROWS_MAX) {
                                tr {
                                    @for (nth, (value, (head, is_number))) in row.iter().zip(heads).enumerate() {
                                        @if nth == 0 { th scope="row" { code { (value) } } }
                                        @else { td data-label=(head) class=[is_number.then_some("number")] { (value) } }
                                    }
                                }
                            }
                        }
                    }
                }
                @if rows.len() > ROWS_MAX { p class="faint" { (rows.len() - ROWS_MAX) " more are in report.json." } }
            }
        }
    }
}

fn statements(all: &[StatementRow]) -> Markup {
    let row = |of: &StatementRow| {
        let tenths = [of.server_ms, of.open_after_ms, of.waited_ms].map(|ms| format!("{ms:.1}"));
        let counts = [of.times, of.rows, of.errors].map(|count| count.to_string());
        [vec![of.text.clone()], counts.to_vec(), tenths.to_vec()].concat()
    };
    let heads = [
        ("statement", false),
        ("times", true),
        ("rows", true),
        ("errors", true),
        ("server ms", true),
        ("open after ms", true),
        ("waited ms", true),
    ];
    table("Statements", &heads, &all.iter().map(row).collect::<Vec<_>>())
}

fn errors(all: &[ErrorRow]) -> Markup {
    let row = |of: &ErrorRow| vec![of.statement.clone(), of.code.clone(), of.message.clone(), of.times.to_string()];
    let heads = [("statement", false), ("code", false), ("the server said", false), ("times", true)];
    table("Refused", &heads, &all.iter().map(row).collect::<Vec<_>>())
}

fn waits(all: &[WaitRow]) -> Markup {
    let row = |of: &WaitRow| vec![of.statement.clone(), of.waits_for.clone(), format!("{:.0}", of.ms)];
    let heads = [("statement", false), ("waited for whoever had sent", false), ("ms", true)];
    table("Waits", &heads, &all.iter().map(row).collect::<Vec<_>>())
}

fn locks(all: &[LockRow]) -> Markup {
    let row = |of: &LockRow| vec![of.relation.clone(), of.mode.clone(), of.transactions.to_string()];
    let heads = [("relation", false), ("locked at COMMIT in", false), ("transactions", true)];
    table("Locks", &heads, &all.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
