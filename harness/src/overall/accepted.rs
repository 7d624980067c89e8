//! Which violations are known and accepted, and for how long.

use jiff::civil::Date;

use super::{AcceptedRow, CaseRow, ViolatedRow};
use crate::outcome::VerdictKind;
use crate::scenario::project::Accepted;

/// What is accepted today.
#[derive(Clone, Copy, Debug)]
pub struct Acceptance<'a> {
    /// The entries of the file.
    pub entries: &'a [Accepted],
    /// The day, in UTC.
    pub today: Date,
}

impl Acceptance<'_> {
    /// Has the cases be met of which everything that is violated is accepted.
    pub fn apply(&self, rows: &mut [CaseRow]) {
        for row in rows.iter_mut().filter(|row| !row.met && row.verdict == VerdictKind::Violation) {
            let of_violated = |violated: &ViolatedRow| {
                let mut all = self.entries.iter().filter(|entry| entry.until >= self.today);
                all.find(|entry| means(entry, row) && is_of(entry, violated))
            };
            let found: Option<Vec<&Accepted>> = row.violated.iter().map(of_violated).collect();
            let Some(until) = found.iter().flatten().map(|entry| entry.until).min() else { continue };
            let mut reasons: Vec<&str> = found.iter().flatten().map(|entry| entry.reason.as_str()).collect();
            reasons.dedup();
            if let Some(why) = &row.incomplete {
                // Another violation may hide behind the one that is known.
                row.verdict = VerdictKind::Inconclusive;
                row.evidence = format!("{} (accepted; but {why})", row.evidence);
                continue;
            }
            (row.met, row.accepted) = (true, Some(AcceptedRow { reason: reasons.join(" "), until }));
        }
    }

    /// What is to be said of the entries, after all runs; `is_whole` where every run of the file was one of them.
    pub fn notes(&self, rows: &[CaseRow], is_whole: bool) -> Vec<String> {
        let mut notes = Vec::new();
        for entry in self.entries {
            let what = match &entry.check {
                Some(check) => format!("{check} of {}", entry.name),
                None => entry.name.clone(),
            };
            let mut of_entry = rows.iter().filter(|row| means(entry, row)).peekable();
            if of_entry.peek().is_none() {
                if is_whole {
                    notes.push(format!("{what} is accepted, and no case of that name was run"));
                }
                continue;
            }
            let rows: Vec<&CaseRow> = of_entry.collect();
            let is_still =
                rows.iter().any(|row| !row.met && row.violated.iter().any(|violated| is_of(entry, violated)));
            if is_still && entry.until < self.today {
                let (until, reason) = (entry.until, &entry.reason);
                notes.push(format!("{what} was accepted until {until}, which is over ({reason})"));
            }
            // Without an answer nobody knows.
            if rows.iter().all(|row| row.verdict == VerdictKind::Pass) {
                notes.push(format!("{what} is accepted, and no longer violated: remove it from [[accepted]]"));
            }
        }
        notes
    }
}

/// Whether an entry speaks of a case.
fn means(entry: &Accepted, row: &CaseRow) -> bool {
    entry.name == row.name && entry.backend.is_none_or(|backend| backend == row.backend)
}

/// Whether an entry for a case speaks of this violation of it.
fn is_of(entry: &Accepted, violated: &ViolatedRow) -> bool {
    let is_in = |file: &String| {
        // FILE:LINE:COLUMN
        let at = violated.at.as_deref().and_then(|at| at.rsplitn(3, ':').last()).unwrap_or_default();
        at.strip_suffix(file.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    entry.check.as_ref().is_none_or(|check| *check == violated.check) && entry.file.as_ref().is_none_or(is_in)
}

#[cfg(test)]
mod tests {
    use drift_engine::lock::Backend;
    use jiff::civil::date;

    use super::*;

    fn row(verdict: VerdictKind, violated: &[&str]) -> CaseRow {
        let one = |check: &&str| ViolatedRow {
            check: (*check).to_owned(),
            why: "x".into(),
            at: Some("m/7_a.sql:3:1".into()),
        };
        CaseRow {
            run: "r".into(),
            name: "a/b".into(),
            title: "a/b [postgres]".into(),
            class: "postgres".into(),
            backend: Backend::Postgres,
            version: None,
            verdict,
            met: verdict == VerdictKind::Pass,
            evidence: "x".into(),
            violated: violated.iter().map(one).collect(),
            incomplete: None,
            accepted: None,
            replay: "x".into(),
            keep: None,
            duration_ms: 1,
        }
    }

    fn entry(name: &str, check: Option<&str>, backend: Option<Backend>) -> Accepted {
        let (name, check) = (name.to_owned(), check.map(str::to_owned));
        Accepted { name, check, backend, file: None, reason: "Known.".into(), until: date(2026, 6, 30) }
    }

    fn accepts(entries: &[Accepted], today: Date, row: &CaseRow) -> bool {
        let mut rows = [row.clone()];
        Acceptance { entries, today }.apply(&mut rows);
        rows[0].met && rows[0].accepted.is_some()
    }

    #[test]
    fn what_is_accepted_is_so_until_its_last_day_and_nothing_else_is() {
        let (last, over) = (date(2026, 6, 30), date(2026, 7, 1));
        let found = row(VerdictKind::Violation, &["c"]);
        for (entry, expected) in [
            (entry("a/b", Some("c"), None), true),
            (entry("a/b", None, Some(Backend::Postgres)), true),
            (entry("a/b", Some("d"), None), false),
            (entry("a/b", None, Some(Backend::Sqlite)), false),
            (entry("a", None, None), false),
            (Accepted { file: Some("7_a.sql".into()), ..entry("a/b", None, None) }, true),
            (Accepted { file: Some("m/7_a.sql".into()), ..entry("a/b", None, None) }, true),
            (Accepted { file: Some("_a.sql".into()), ..entry("a/b", None, None) }, false),
            (Accepted { file: Some("8_a.sql".into()), ..entry("a/b", Some("c"), None) }, false),
        ] {
            let entries = [entry];
            assert_eq!(accepts(&entries, last, &found), expected, "{entries:?}");
            assert!(!accepts(&entries, over, &found), "{entries:?}");
        }
        let entries = [entry("a/b", Some("c"), None)];
        // Of two violations, one that nobody accepts is enough; and what has no answer has none.
        assert!(!accepts(&entries, last, &row(VerdictKind::Violation, &["c", "d"])));
        assert!(!accepts(&entries, last, &row(VerdictKind::Inconclusive, &[])));
        assert!(!accepts(&entries, last, &row(VerdictKind::Violation, &[])));
        assert!(!accepts(&entries, last, &row(VerdictKind::Pass, &[])));
    }

    #[test]
    fn what_is_over_what_no_longer_occurs_and_what_nobody_ran_is_told() {
        let entries = [entry("a/b", Some("c"), None), entry("x/y", None, None)];
        let notes = |today, rows: &[CaseRow], is_whole| Acceptance { entries: &entries, today }.notes(rows, is_whole);
        let (last, over) = (date(2026, 6, 30), date(2026, 7, 1));
        let found = [row(VerdictKind::Violation, &["c"])];
        assert_eq!(notes(last, &found, false), Vec::<String>::new());
        assert_eq!(notes(last, &found, true), ["x/y is accepted, and no case of that name was run"]);
        assert_eq!(notes(over, &found, false), ["c of a/b was accepted until 2026-06-30, which is over (Known.)"]);
        let pass = [row(VerdictKind::Pass, &[])];
        let gone = "c of a/b is accepted, and no longer violated: remove it from [[accepted]]";
        assert_eq!(notes(over, &pass, false), [gone]);
        assert_eq!(notes(last, &[row(VerdictKind::Inconclusive, &[])], false), Vec::<String>::new());
    }

    #[test]
    fn an_accepted_violation_answers_for_nothing_that_was_not_looked_at() {
        let stopped = CaseRow { incomplete: Some("x".into()), ..row(VerdictKind::Violation, &["known"]) };
        let mut rows = [stopped];
        let entries = [entry("a/b", Some("known"), None)];
        Acceptance { entries: &entries, today: date(2026, 6, 1) }.apply(&mut rows);
        assert!(!rows[0].met && rows[0].verdict == VerdictKind::Inconclusive, "{:?}", rows[0]);
    }
}
