//! What came of a case, as rows of the report.

use super::{Subject, Wanted, What};
use crate::cli::common::quoted;
use crate::explore::judge::Found;
use crate::explore::search::Strategy;
use crate::outcome::VerdictKind;
use crate::report::explored::ExpectedRow;
use crate::report::varied::{HOLDS, VariedRow};
use crate::scenario::script::Script;
use crate::variation::mutate::{Fate, Mutant};
use crate::variation::repair::{Repaired, Tried, Verdict};
use crate::variation::repairs::{explain, reserve};

/// Makes the rows of a case.
pub(super) struct Rows<'a> {
    pub wanted: &'a Wanted<'a>,
    pub subject: &'a Subject,
}

impl Rows<'_> {
    pub fn as_it_is(&self, verdict: VerdictKind, evidence: String) -> VariedRow {
        let Subject { file, name, backend, .. } = self.subject;
        let command = self.wanted.task.command();
        VariedRow {
            name: name.clone(),
            case: name.clone(),
            backend: *backend,
            strategy: Strategy::Exhaustive.to_string(),
            fate: "as it is".to_owned(),
            change: String::new(),
            statements: Vec::new(),
            verdict,
            expected: ExpectedRow { verdict: VerdictKind::Pass, check: None },
            met: verdict == VerdictKind::Pass,
            evidence,
            checks: Vec::new(),
            killed_by: Vec::new(),
            executed: 0,
            executions: 0,
            waited: 0,
            refused: 0,
            steps: Vec::new(),
            counterexamples: Vec::new(),
            duration_ms: 0,
            replay: format!("driftlock {command} {} --filter {name} --backend {}", quoted(file), backend),
        }
    }

    /// Adds the order that shows a violation.
    pub fn show(&self, row: &mut VariedRow, script: &Script, found: &Found) {
        row.show(script, found);
        let What::Application(app) = &self.subject.what else { return };
        for shown in &mut row.counterexamples {
            // What another order sends is not part of what was seen of this one.
            shown.serial = None;
            shown.course.end.truncate(app.invariants.len());
            for (end, query) in shown.course.end.iter_mut().zip(&app.invariants) {
                end.query.clone_from(&query.name);
            }
        }
    }

    pub fn of_mutants(&self, evidence: &str, mutants: Vec<Mutant>) -> Vec<VariedRow> {
        let mut rows = vec![self.as_it_is(VerdictKind::Pass, evidence.to_owned())];
        if mutants.is_empty() {
            rows[0].evidence = format!("no defence was found that could be taken away ({})", rows[0].evidence);
            rows[0].verdict = VerdictKind::Inconclusive;
            rows[0].met = false;
        }
        rows.extend(mutants.into_iter().map(|mutant| self.of_mutant(mutant)));
        rows
    }

    fn of_mutant(&self, mutant: Mutant) -> VariedRow {
        let Mutant { variation, fate, executed, executions } = mutant;
        let mut row = self.as_it_is(VerdictKind::Pass, String::new());
        row.name = format!("{} {}", row.name, variation.name);
        (row.change, row.executed, row.executions) = (variation.name.clone(), executed, executions);
        row.statements.clone_from(&variation.statements);
        row.expected = ExpectedRow { verdict: VerdictKind::Violation, check: None };
        let (word, verdict, met, evidence) = match fate {
            Fate::Killed(found) => {
                row.killed_by = vec![found.check.clone()];
                self.show(&mut row, &variation.script, &found);
                ("killed", VerdictKind::Violation, true, format!("{}: {}", found.check, found.sentence))
            }
            Fate::Covered { by, found } => {
                row.killed_by = vec![found.check.clone()];
                let why = format!("no check notices, for {by} covers for it; without both, {}", found.sentence);
                ("covered", VerdictKind::Violation, true, why)
            }
            Fate::Harmless => {
                row.expected.verdict = VerdictKind::Pass;
                let why = "it is not needed in this scenario: without it, too, every order comes to what some serial order \
                           comes to, and nobody is refused who was not before";
                ("harmless", VerdictKind::Pass, true, why.to_owned())
            }
            Fate::Survived { why, found } => {
                if let Some(found) = found {
                    self.show(&mut row, &variation.script, &found);
                    // It is no check of the user's that was violated.
                    row.checks.clear();
                }
                let all =
                    "every check passes without it: either it is not needed, or the scenario cannot see why it is";
                ("survived", VerdictKind::Pass, false, format!("{all}; {why}"))
            }
            Fate::Undecided(why) => ("undecided", VerdictKind::Inconclusive, false, why),
        };
        (row.fate, row.verdict, row.met, row.evidence) = (word.to_owned(), verdict, met, evidence);
        row
    }

    pub fn of_repairs(&self, repaired: Repaired) -> Vec<VariedRow> {
        let (found, script, also_serially, tried) = match repaired {
            Repaired::NothingToMend { verdict, evidence } => {
                let evidence = match verdict {
                    VerdictKind::Pass => format!("nothing to mend: {evidence}"),
                    _ => evidence,
                };
                return vec![self.as_it_is(verdict, evidence)];
            }
            Repaired::Violated { found, script, also_serially, tried } => (found, script, also_serially, tried),
        };
        let holds = tried.iter().filter(|one| matches!(one.verdict, Verdict::Holds)).count();
        let alone = match also_serially {
            true => "; it is violated too when nothing is concurrent, so no lock and no isolation level mends it",
            false => "",
        };
        let evidence = format!("{}: {}; {holds} of {} repairs hold{alone}", found.check, found.sentence, tried.len());
        let mut first = self.as_it_is(VerdictKind::Violation, evidence);
        first.met = holds > 0;
        self.show(&mut first, &script, &found);
        let mut rows = vec![first];
        rows.extend(tried.into_iter().map(|one| self.of_repair(one)));
        rows
    }

    fn of_repair(&self, tried: Tried) -> VariedRow {
        let (waited, refused, executions) = tried.cost();
        let Tried { proposal, verdict, .. } = tried;
        let mut row = self.as_it_is(VerdictKind::Pass, String::new());
        let variation = &proposal.variation;
        row.name = format!("{} with {}", row.name, variation.name);
        row.change.clone_from(&variation.name);
        row.statements.clone_from(&variation.statements);
        (row.waited, row.refused, row.executions, row.executed) = (waited, refused, executions, executions);
        let (word, verdict, evidence) = match verdict {
            Verdict::Holds => {
                let reserve = reserve(&proposal, refused).map(|reserve| format!("; {reserve}")).unwrap_or_default();
                ("holds", VerdictKind::Pass, format!("{HOLDS}{reserve}"))
            }
            Verdict::Violated(found) => {
                self.show(&mut row, &variation.script, &found);
                let why = explain(&proposal, &found).map(|why| format!("; {why}")).unwrap_or_default();
                ("violated", VerdictKind::Violation, format!("{}: {}{why}", found.check, found.sentence))
            }
            Verdict::NotProven(why) => ("not proven", VerdictKind::Inconclusive, format!("bounded: {why}")),
            Verdict::SaysNothing(why) => ("idle", VerdictKind::Inconclusive, why),
            Verdict::ChangesTheJob(why) => ("changes the job", VerdictKind::Violation, why),
            Verdict::NotSerial(found) => {
                self.show(&mut row, &variation.script, &found);
                let why = format!("nothing that is checked is violated, but {}", found.sentence);
                ("not serial", VerdictKind::Violation, why)
            }
            Verdict::Inapplicable(why) => ("inapplicable", VerdictKind::Inconclusive, why),
        };
        // Nothing is expected of a proposal.
        row.expected.verdict = verdict;
        (row.fate, row.verdict, row.met, row.evidence) = (word.to_owned(), verdict, true, evidence);
        row
    }
}
