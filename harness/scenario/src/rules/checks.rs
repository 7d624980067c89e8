//! Rules about what a check needs in order to say anything: without it, it would be inconclusive.

use drift_engine::session::Kind;
use toml::Spanned;

use super::super::draft::Draft;
use super::super::problem::Problem;
use super::super::promised::unpromised;
use super::super::{Expected, Keys, RunPlan};
use super::Rule;
use driftlock_history::check::CheckName;

pub(super) const RULES: [Rule; 6] =
    [needs_arrivals, needs_others, needs_hold, needs_several_keys, needs_shared_runs, is_judged_somewhere];

/// The checks that the file lists and that are among these.
fn listed<'d>(draft: &'d Draft, checks: &'static [CheckName]) -> impl Iterator<Item = &'d Spanned<CheckName>> {
    let list = draft.checks.as_ref().map(|list| list.get_ref().as_slice()).unwrap_or_default();
    list.iter().filter(move |check| checks.contains(check.get_ref()))
}

fn needs_arrivals(draft: &Draft, problems: &mut Vec<Problem>) {
    if draft.arrivals.is_some() {
        return;
    }
    for check in listed(draft, &[CheckName::Freshness, CheckName::BystandersFree]) {
        let problem = Problem::new(check.span(), format!("`{}` needs claims that arrive", check.get_ref()));
        problems.push(problem.help("Add `[arrivals]` with `writers` and `claims-per-writer`."));
    }
}

fn needs_others(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(workers) = draft.tasks.workers.as_ref().filter(|workers| *workers.get_ref() < 2) else { return };
    let checks = &[
        CheckName::Exclusion,
        CheckName::LockHeld,
        CheckName::WaitersWait,
        CheckName::KeysIndependent,
        CheckName::NoStarvation,
    ];
    for check in listed(draft, checks) {
        let problem = Problem::new(check.span(), format!("`{}` needs at least two workers", check.get_ref()));
        problems.push(problem.also(workers.span(), "the workers"));
    }
}

fn needs_hold(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(opening), Some(workers)) = (draft.opening(), &draft.tasks.workers) else { return };
    // With a single worker nothing is held either, and that has been said.
    if *workers.get_ref() < 2 {
        return;
    }
    let place = draft.opening.as_ref().map(Spanned::span);
    let mut refuse = |check: &Spanned<CheckName>, what: &str| {
        let problem = Problem::new(check.span(), format!("`{}` needs a task that is held {what}", check.get_ref()));
        problems.push(match &place {
            Some(at) => problem.also(at.clone(), "the opening"),
            None => problem,
        });
    };
    for check in listed(draft, &[CheckName::LockHeld, CheckName::WaitersWait]) {
        match (check.get_ref(), opening) {
            (CheckName::LockHeld, Some(opening)) if opening.before == Kind::Commit => {}
            (CheckName::LockHeld, _) => refuse(check, "before its COMMIT"),
            (_, Some(_)) => {}
            (_, None) => refuse(check, "while others come"),
        }
    }
}

fn needs_several_keys(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(keys) = draft.tasks.keys.as_ref().filter(|keys| *keys.get_ref() == Keys::One) else { return };
    for check in listed(draft, &[CheckName::KeysIndependent]) {
        let problem = Problem::new(check.span(), "`keys-independent` needs tasks of several customers");
        let problem = problem.also(keys.span(), "the customers of the tasks");
        problems.push(problem.help("Say keys = \"uniform\" or keys = { zipf = 1.0 } in `[tasks]`."));
    }
}

fn needs_shared_runs(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(run) = draft.tasks.run.as_ref().filter(|run| *run.get_ref() == RunPlan::Fresh) else { return };
    for check in listed(draft, &[CheckName::Settled]) {
        let message = "`settled` recomputes the shared run, and every task has a run of its own";
        problems.push(Problem::new(check.span(), message).also(run.span(), "the run"));
    }
}

/// A check that no strategy's promise covers, and that no expectation names, would never be judged.
fn is_judged_somewhere(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(strategies), Some(checks)) = (draft.chosen_strategies(), &draft.checks) else { return };
    let Some(expected) = draft.expect.iter().map(|expect| expect.get_ref().build()).collect::<Option<Vec<_>>>() else {
        return;
    };
    for check in checks.get_ref() {
        let name = *check.get_ref();
        let mut reasons = strategies.iter().map(|s| unpromised(name, s.promises(), draft.arrivals.is_some()));
        let is_named = expected.iter().any(|expect| expect.verdict == Expected::Violation { check: name });
        if !is_named && !strategies.is_empty() && reasons.all(|reason| reason.is_some()) {
            let names: Vec<_> = strategies.iter().map(|strategy| strategy.as_str()).collect();
            let message = format!("`{name}` applies to none of the strategies: {}", names.join(", "));
            problems.push(Problem::new(check.span(), message).help("Leave it out, or expect its violation."));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, sound};

    fn checking(check: &str) -> Case {
        let line = format!("checks = [\"{check}\"]");
        sound().with("", &line)
    }

    #[test]
    fn needs_arrivals_ok() {
        for check in ["freshness", "bystanders-free"] {
            checking(check).with("[arrivals]", "writers = 2").with("[arrivals]", "claims-per-writer = 5").is_ok();
        }
    }

    #[test]
    fn needs_arrivals_err() {
        checking("freshness").is_err("`freshness` needs claims that arrive");
        checking("bystanders-free").is_err("`bystanders-free` needs claims that arrive");
    }

    #[test]
    fn needs_others_ok() {
        checking("exclusion").with("[tasks]", "workers = 2").is_ok();
        checking("accounted").with("[tasks]", "workers = 1").is_ok();
    }

    #[test]
    fn needs_others_err() {
        for check in ["exclusion", "waiters-wait", "lock-held", "no-starvation"] {
            let message = format!("`{check}` needs at least two workers");
            checking(check).with("[tasks]", "workers = 1").is_err(&message);
        }
    }

    #[test]
    fn needs_hold_ok() {
        checking("lock-held").is_ok();
        checking("waiters-wait").with("[opening]", "hold = \"write\"").is_ok();
    }

    #[test]
    fn needs_hold_err() {
        let case = checking("lock-held").with("[opening]", "hold = \"write\"");
        case.is_err("`lock-held` needs a task that is held before its COMMIT");
        let case = checking("waiters-wait").with("[opening]", "hold = \"none\"");
        case.is_err("`waiters-wait` needs a task that is held while others come");
    }

    #[test]
    fn needs_several_keys_ok() {
        checking("keys-independent").with("[tasks]", "keys = \"uniform\"").with("[data]", "customers = 4").is_ok();
    }

    #[test]
    fn needs_several_keys_err() {
        checking("keys-independent").is_err("`keys-independent` needs tasks of several customers");
    }

    #[test]
    fn needs_shared_runs_ok() {
        checking("accounted").with("[tasks]", "run = \"fresh\"").is_ok();
        checking("settled").with("[tasks]", "run = \"by-window\"").is_ok();
    }

    #[test]
    fn needs_shared_runs_err() {
        let case = checking("settled").with("[tasks]", "run = \"fresh\"");
        case.is_err("`settled` recomputes the shared run, and every task has a run of its own");
    }

    #[test]
    fn is_judged_somewhere_ok() {
        checking("exclusion").with("", "strategies = \"all\"").is_ok();
        let case =
            checking("exclusion").with("", "backends = [\"postgres\"]").with("", "strategies = [\"constraint\"]");
        case.and("[[expect]]", &["verdict = \"violation\"", "check = \"exclusion\""]).is_ok();
    }

    #[test]
    fn is_judged_somewhere_err() {
        let case =
            checking("exclusion").with("", "backends = [\"postgres\"]").with("", "strategies = [\"constraint\"]");
        case.is_err("`exclusion` applies to none of the strategies: constraint");
    }
}
