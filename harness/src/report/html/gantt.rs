//! One try of a migration's file over time: its statements, the locks that they took, and whom they blocked.

use maud::{Markup, html};

use crate::report::rehearsed::row::{BlockedRow, FileRow, StatementRow};

/// The most locks of one statement that are drawn.
const LOCKS_MAX: usize = 6;

/// A stretch of a file's time, as shares of the whole, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Where it begins.
    pub from: f64,
    /// How long it is.
    pub length: f64,
}

/// How long all of a file took that is drawn, in milliseconds: what blocks may outlast the last answer.
pub fn whole_ms(file: &FileRow) -> f64 {
    let ends = starts(file).zip(&file.statements).map(|(from, statement)| {
        let blocked = statement.reads.longest_ms.max(statement.writes.longest_ms);
        from + statement.duration_ms.max(blocked)
    });
    ends.fold(file.duration_ms, f64::max).max(0.001)
}

/// When each statement began, in milliseconds; one after the other where that was not recorded.
pub fn starts(file: &FileRow) -> impl Iterator<Item = f64> + '_ {
    file.statements.iter().scan(0.0, |next, statement| {
        let from = statement.from_ms.unwrap_or(*next);
        *next = from + statement.duration_ms;
        Some(from)
    })
}

/// A stretch within the whole; what reaches beyond it is cut off.
pub fn place(from_ms: f64, length_ms: f64, whole_ms: f64) -> Place {
    let share = |ms: f64| (ms / whole_ms).clamp(0.0, 1.0);
    let from = share(from_ms);
    Place { from, length: share(length_ms).min(1.0 - from) }
}

/// The chart of one try; `finding` says where on the page what was found at a line stands.
pub fn gantt(file: &FileRow, finding: &dyn Fn(u32) -> Option<String>) -> Markup {
    let whole = whole_ms(file);
    let again = if file.attempt > 1 { format!(", try {}", file.attempt) } else { String::new() };
    html! {
        figure class="gantt" {
            h4 { (file.file) span class="faint" { " " (file.pass) (again) } }
            ol {
                @for (statement, from) in file.statements.iter().zip(starts(file)) {
                    (row(statement, from, whole, finding(statement.line)))
                }
            }
            div class="gantt-axis faint small" aria-hidden="true" { span { "0" } span { (shown(whole)) } }
            figcaption class="small" {
                (shown(file.duration_ms)) " in all; " (file.overlapped) " operations of the traffic were under way, at most "
                (file.queue_peak) " sessions waited at once"
                @if file.recovery_ms >= 1.0 { "; the traffic got over it after " (shown(file.recovery_ms)) }
            }
        }
    }
}

fn row(statement: &StatementRow, from: f64, whole: f64, finding: Option<String>) -> Markup {
    let granted = from + statement.waited_ms;
    html! {
        li {
            div class="gantt-name" {
                span class="faint" { (statement.line) ":" } " "
                @match &finding {
                    Some(id) => { a href=(format!("#{id}")) { code { (statement.statement) } } }
                    None => { code { (statement.statement) } }
                }
            }
            div class="gantt-track" {
                (bar("ran", place(from, statement.duration_ms, whole), &format!("ran {}", shown(statement.duration_ms))))
                @if statement.waited_ms >= 1.0 {
                    (bar("waited", place(from, statement.waited_ms, whole),
                        &format!("waited for a lock, {}", shown(statement.waited_ms))))
                }
                @for lock in statement.locks.iter().take(LOCKS_MAX) {
                    (bar(strength(&lock.mode), place(granted, lock.held_ms, whole),
                        &format!("{} on {}, held {}", lock.mode, lock.on, shown(lock.held_ms))))
                }
                @if statement.locks.len() > LOCKS_MAX {
                    div class="small faint" { (statement.locks.len() - LOCKS_MAX) " locks more" }
                }
                (blocked("reads", statement.reads, granted, whole))
                (blocked("writes", statement.writes, granted, whole))
                @if let Some(refused) = &statement.refused { div class="small bad" { "refused: " (refused) } }
            }
        }
    }
}

fn blocked(what: &str, blocked: BlockedRow, from: f64, whole: f64) -> Markup {
    html! {
        @if blocked.count > 0 {
            (bar("blocked", place(from, blocked.longest_ms, whole),
                &format!("{} {what} blocked, the longest {}", blocked.count, shown(blocked.longest_ms))))
        }
    }
}

fn bar(class: &str, place: Place, said: &str) -> Markup {
    let style = format!("margin-left:{:.2}%;width:{:.2}%", place.from * 100.0, place.length * 100.0);
    html! {
        div class="gantt-bar" {
            div class=(format!("stretch-{class}")) style=(style) {}
            span class="small" { (said) }
        }
    }
}

/// Locks that exclude readers stand out.
fn strength(mode: &str) -> &'static str {
    if mode.to_ascii_uppercase().replace(' ', "").contains("ACCESSEXCLUSIVE") { "exclusive" } else { "lock" }
}

/// A time with the digits that matter.
pub fn shown(ms: f64) -> String {
    match ms {
        ms if ms >= 10_000.0 => format!("{:.1} s", ms / 1e3),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(from_ms: Option<f64>, duration_ms: f64, longest_ms: f64) -> StatementRow {
        StatementRow {
            line: 1,
            column: 1,
            statement: "SELECT 1".to_owned(),
            from_ms,
            duration_ms,
            locks: Vec::new(),
            waited_ms: 0.0,
            reads: BlockedRow { count: 1, longest_ms },
            writes: BlockedRow::default(),
            refused: None,
        }
    }

    fn file(statements: Vec<StatementRow>) -> FileRow {
        FileRow {
            pass: "up".to_owned(),
            version: crate::rehearse::migrations::Version::parse("1").unwrap(),
            file: "1.sql".to_owned(),
            attempt: 1,
            duration_ms: 100.0,
            overlapped: 0,
            queue_peak: 0,
            recovery_ms: 0.0,
            statements,
        }
    }

    #[test]
    fn statements_begin_where_they_were_seen_to_and_else_after_each_other() {
        let file = file(vec![statement(None, 10.0, 0.0), statement(Some(30.0), 5.0, 0.0), statement(None, 1.0, 0.0)]);
        assert_eq!(starts(&file).collect::<Vec<_>>(), [0.0, 30.0, 35.0]);
    }

    #[test]
    fn the_whole_holds_what_was_blocked_beyond_the_last_answer_and_nothing_is_drawn_outside() {
        let long = file(vec![statement(Some(50.0), 40.0, 150.0)]);
        assert_eq!((whole_ms(&long), whole_ms(&file(Vec::new()))), (200.0, 100.0));
        assert_eq!(place(150.0, 100.0, 200.0), Place { from: 0.75, length: 0.25 });
        assert_eq!(place(500.0, 1.0, 200.0), Place { from: 1.0, length: 0.0 });
    }
}
