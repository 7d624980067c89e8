//! Rules about expectations: each names a check that is run, and decides at least one case alone.

use drift_engine::lock::{Backend, LockStrategy};

use super::super::Expect;
use super::super::draft::Draft;
use super::super::problem::Problem;
use super::Rule;

pub(super) const RULES: [Rule; 3] = [violation_has_a_check, check_is_run, decides_a_case];

fn violation_has_a_check(draft: &Draft, problems: &mut Vec<Problem>) {
    for expect in &draft.expect {
        let (at, expect) = (expect.span(), expect.get_ref());
        match (expect.violation.as_ref().map(|violation| *violation.get_ref()), expect.check.given()) {
            (Some(true), None) if expect.check.is_absent() => {
                let problem = Problem::new(at, "an expected violation needs its `check`");
                problems.push(problem.help("As in check = \"freshness\"."));
            }
            (Some(false), Some(check)) => {
                problems.push(Problem::new(check.span(), "an expected pass is one of every check"));
            }
            _ => {}
        }
    }
}

fn check_is_run(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(checks) = &draft.checks else { return };
    for check in draft.expect.iter().filter_map(|expect| expect.get_ref().check.given()) {
        if !checks.get_ref().iter().any(|run| run.get_ref() == check.get_ref()) {
            let message = format!("`{}` is expected to fail, and is not among the checks", check.get_ref());
            problems.push(Problem::new(check.span(), message).also(checks.span(), "the checks"));
        }
    }
}

fn decides_a_case(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(backends), Some(strategies)) = (draft.chosen_backends(), draft.chosen_strategies()) else { return };
    let cases: Vec<_> = strategies.into_iter().map(|strategy| (strategy.backend(), strategy)).collect();
    let cases: Vec<(Backend, LockStrategy)> =
        cases.into_iter().filter(|case| backends.iter().any(|backend| *backend.get_ref() == case.0)).collect();
    let known = draft.expect.iter().filter_map(|expect| Some((expect.span(), expect.get_ref().build()?)));
    let known: Vec<_> = known.collect();
    // A wrong entry might have decided a case.
    if cases.is_empty() || known.len() < draft.expect.len() {
        return;
    }
    for (n, (at, expect)) in known.iter().enumerate() {
        let meant: Vec<_> = cases.iter().filter(|(backend, strategy)| expect.matches(*backend, *strategy)).collect();
        let rival = |(backend, strategy): &(Backend, LockStrategy), wins: fn(&Expect, &Expect) -> bool| {
            let mut others = known.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, other)| other);
            others.find(|(_, other)| other.matches(*backend, *strategy) && wins(other, expect))
        };
        if meant.is_empty() {
            problems.push(
                Problem::new(at.clone(), "this speaks of no case: nothing of the sort is run").help(listed(&cases)),
            );
        } else if meant.iter().all(|case| rival(case, |other, this| other.specificity() > this.specificity()).is_some())
        {
            let problem = Problem::new(at.clone(), "this decides no case: more specific entries decide all of them");
            problems.push(problem);
        } else if let Some((first, _)) =
            meant.iter().find_map(|case| rival(case, |other, this| other.specificity() == this.specificity()))
            && first.start < at.start
        {
            let problem = Problem::new(at.clone(), "this is ambiguous: another entry speaks of the same case");
            problems.push(problem.also(first.clone(), "the other entry"));
        }
    }
}

fn listed(cases: &[(Backend, LockStrategy)]) -> String {
    let names: Vec<_> = cases.iter().map(|(backend, strategy)| format!("{backend} with {strategy}")).collect();
    format!("The cases: {}.", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Case, sound};

    const VIOLATION: [&str; 2] = ["verdict = \"violation\"", "check = \"no-duplicates\""];

    fn expecting(case: Case, lines: &[&str]) -> Case {
        case.and("[[expect]]", &[&VIOLATION, lines].concat())
    }

    #[test]
    fn violation_has_a_check_ok() {
        sound().and("[[expect]]", &VIOLATION).is_ok();
        sound().and("[[expect]]", &["verdict = \"pass\""]).is_ok();
    }

    #[test]
    fn violation_has_a_check_err() {
        sound().and("[[expect]]", &VIOLATION[..1]).is_err("an expected violation needs its `check`");
        let pass = ["verdict = \"pass\"", "check = \"no-duplicates\""];
        sound().and("[[expect]]", &pass).is_err("an expected pass is one of every check");
    }

    #[test]
    fn check_is_run_ok() {
        expecting(sound(), &["backend = \"sqlite\""]).is_ok();
    }

    #[test]
    fn check_is_run_err() {
        let case = expecting(sound().with("", "checks = [\"accounted\"]"), &[]);
        case.is_err("`no-duplicates` is expected to fail, and is not among the checks");
    }

    #[test]
    fn decides_a_case_ok() {
        let case = expecting(sound(), &["backend = \"sqlite\""]);
        expecting(case, &["strategy = \"row-no-key\""]).is_ok();
        expecting(expecting(sound(), &["strategy = \"immediate\""]), &[]).is_ok();
    }

    #[test]
    fn decides_a_case_err() {
        let nothing = "this speaks of no case: nothing of the sort is run";
        expecting(sound(), &["strategy = \"row\""]).is_err(nothing);
        expecting(sound(), &["backend = \"postgres\"", "strategy = \"immediate\""]).is_err(nothing);
        expecting(sound().with("", "backends = [\"sqlite\"]"), &["backend = \"postgres\""]).is_err(nothing);
        let both = expecting(expecting(sound(), &["backend = \"sqlite\""]), &["strategy = \"immediate\""]);
        both.is_err("this decides no case: more specific entries decide all of them");
        let twice = expecting(expecting(sound(), &["backend = \"sqlite\""]), &["backend = \"sqlite\""]);
        twice.is_err("this is ambiguous: another entry speaks of the same case");
    }
}
