//! Rules about backends, strategies, and what is done to those who wait for a lock.

use drift_engine::lock::{Backend, LockStrategy};
use toml::Spanned;

use super::super::Until;
use super::super::draft::{Choice, Draft};
use super::super::problem::Problem;
use super::Rule;
use driftlock_history::history::Fault;

pub(super) const RULES: [Rule; 11] = [
    each_once,
    strategies_exist,
    backends_are_used,
    settings_are_used,
    antagonist_deadlocks,
    antagonist_opens,
    termination_has_a_server,
    opening_has_others,
    until_of_a_hold,
    others_can_wait,
    others_can_time_out,
];

fn each_once(draft: &Draft, problems: &mut Vec<Problem>) {
    fn twice<T: PartialEq>(list: &[Spanned<T>], problems: &mut Vec<Problem>) {
        for (n, item) in list.iter().enumerate() {
            if let Some(first) = list[..n].iter().find(|other| other.get_ref() == item.get_ref()) {
                problems.push(Problem::new(item.span(), "this is said twice").also(first.span(), "the first time"));
            }
        }
    }
    if let Some(backends) = &draft.backends {
        twice(backends.get_ref(), problems);
        if backends.get_ref().is_empty() {
            problems.push(Problem::new(backends.span(), "a scenario runs on at least one backend"));
        }
    }
    if let Some(Choice::These(strategies)) = draft.strategies.as_ref().map(Spanned::get_ref) {
        twice(strategies, problems);
    }
    if let Some(checks) = &draft.checks {
        twice(checks.get_ref(), problems);
        if checks.get_ref().is_empty() {
            problems.push(Problem::new(checks.span(), "a scenario has at least one check"));
        }
    }
}

fn strategies_exist(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(backends), Some(choice)) = (&draft.backends, &draft.strategies) else { return };
    let Choice::These(strategies) = choice.get_ref() else { return };
    for strategy in strategies {
        let (strategy, at) = (strategy.get_ref(), strategy.span());
        if !chosen(backends.get_ref(), strategy.backend()) {
            let message =
                format!("`{strategy}` exists on {} only, where the scenario does not run", strategy.backend());
            problems.push(Problem::new(at, message).also(backends.span(), "where it runs"));
        }
    }
}

fn backends_are_used(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(backends), Some(choice)) = (&draft.backends, &draft.strategies) else { return };
    let Choice::These(strategies) = choice.get_ref() else { return };
    for backend in backends.get_ref() {
        if !strategies.iter().any(|strategy| strategy.get_ref().backend() == *backend.get_ref()) {
            let message = format!("none of the strategies exists on {}", backend.get_ref());
            let there = LockStrategy::ALL.into_iter().filter(|strategy| strategy.backend() == *backend.get_ref());
            let there: Vec<_> = there.map(LockStrategy::as_str).collect();
            let problem = Problem::new(choice.span(), message).help(format!(
                "On {} there are: {}. Or leave it out of `backends`.",
                backend.get_ref(),
                there.join(", ")
            ));
            problems.push(problem);
        }
    }
}

fn settings_are_used(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(backends) = &draft.backends else { return };
    let session = &draft.session;
    let settings = [
        ("lock-timeout-ms", Backend::Postgres, session.lock_timeout.given().map(Spanned::span)),
        ("busy-timeout-ms", Backend::Sqlite, session.busy_timeout.given().map(Spanned::span)),
        ("journal", Backend::Sqlite, session.journal.given().map(Spanned::span)),
    ];
    for (name, backend, at) in settings {
        if let Some(at) = at
            && !chosen(backends.get_ref(), backend)
        {
            let message = format!("`{name}` is a setting of {backend}, where the scenario does not run");
            problems.push(Problem::new(at, message).also(backends.span(), "where it runs"));
        }
    }
}

fn antagonist_deadlocks(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(antagonist), Some(strategies)) = (&draft.antagonist, draft.chosen_strategies()) else { return };
    let suits = |strategy: &LockStrategy| matches!(strategy, LockStrategy::RowNoKey | LockStrategy::Advisory);
    let unsuited: Vec<_> = strategies.iter().filter(|strategy| !suits(strategy)).map(|s| s.as_str()).collect();
    if *antagonist.get_ref() && !unsuited.is_empty() {
        let message = format!("an antagonist cannot force a deadlock with {}", unsuited.join(", "));
        let help = "Run on postgres only, with strategies = [\"row-no-key\", \"advisory\"] or one of them.";
        problems.push(Problem::new(antagonist.span(), message).help(help));
    }
}

fn antagonist_opens(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(antagonist), Some(opening)) = (&draft.antagonist, &draft.opening) else { return };
    if *antagonist.get_ref() {
        let problem = Problem::new(opening.span(), "an antagonist brings its own opening");
        let problem = problem.also(antagonist.span(), "the antagonist");
        problems.push(problem.help("The first task is held as soon as it has its lock. Leave `[opening]` out."));
    }
}

fn termination_has_a_server(draft: &Draft, problems: &mut Vec<Problem>) {
    let action = draft.fault.as_ref().and_then(|fault| fault.get_ref().action.as_ref());
    let (Some(action), Some(backends)) = (action, &draft.backends) else { return };
    if *action.get_ref() == Fault::Terminate && chosen(backends.get_ref(), Backend::Sqlite) {
        let problem = Problem::new(action.span(), "sqlite has no server that could end a session");
        problems.push(problem.also(backends.span(), "where it runs").help("Say backends = [\"postgres\"]."));
    }
}

fn opening_has_others(draft: &Draft, problems: &mut Vec<Problem>) {
    let (Some(opening), Some(workers)) = (&draft.opening, &draft.tasks.workers) else { return };
    if let Some(Some(_)) = draft.opening()
        && *workers.get_ref() < 2
    {
        let problem = Problem::new(opening.span(), "a task is held until others wait, and there are no others");
        problems.push(problem.also(workers.span(), "the workers"));
    }
}

fn until_of_a_hold(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(opening) = draft.opening.as_ref().map(Spanned::get_ref) else { return };
    if let (Some(hold), Some(until)) = (&opening.hold, opening.until.given())
        && hold.get_ref().is_none()
    {
        let problem = Problem::new(until.span(), "nothing is held, so nothing is let go");
        problems.push(problem.also(hold.span(), "nothing is held"));
    }
}

fn others_can_wait(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(Some(opening)) = draft.opening() else { return };
    let Some(timeout) = draft.session.busy_timeout.given() else { return };
    if opening.until == Until::OthersWait && timeout.get_ref().is_zero() {
        let problem = Problem::new(timeout.span(), "the opening holds a task until others wait, and they never do");
        problems.push(problem.help("Say until = \"others-timed-out\" in `[opening]`, or let them wait."));
    }
}

fn others_can_time_out(draft: &Draft, problems: &mut Vec<Problem>) {
    let until = draft.opening.as_ref().and_then(|opening| opening.get_ref().until.given());
    let Some(until) = until.filter(|until| *until.get_ref() == Until::OthersTimedOut) else { return };
    let Some(backends) = draft.chosen_backends() else { return };
    let timeouts = [
        ("lock-timeout-ms", Backend::Postgres, draft.session.lock_timeout.is_absent()),
        ("busy-timeout-ms", Backend::Sqlite, draft.session.busy_timeout.is_absent()),
    ];
    for (name, backend, absent) in timeouts {
        if absent && chosen(backends, backend) {
            let message = format!("on {backend} the others time out only with `session.{name}`");
            problems.push(Problem::new(until.span(), message).help(format!("Say {name} = 100 in `[session]`.")));
        }
    }
    for strategy in draft.chosen_strategies().unwrap_or_default() {
        if !strategy.promises().exclusion {
            let message = format!("with `{strategy}` nobody waits for a lock, so nobody times out");
            problems.push(Problem::new(until.span(), message));
        }
    }
}

fn chosen(backends: &[Spanned<Backend>], backend: Backend) -> bool {
    backends.iter().any(|chosen| *chosen.get_ref() == backend)
}

#[cfg(test)]
mod tests {
    use super::super::cases::sound;

    #[test]
    fn each_once_ok() {
        sound().with("", "backends = [\"sqlite\", \"postgres\"]").is_ok();
    }

    #[test]
    fn each_once_err() {
        sound().with("", "backends = [\"sqlite\", \"sqlite\"]").is_err("this is said twice");
        sound().with("", "strategies = [\"immediate\", \"row\", \"row\"]").is_err("this is said twice");
        sound().with("", "checks = [\"accounted\", \"accounted\"]").is_err("this is said twice");
        sound().with("", "backends = []").is_err("a scenario runs on at least one backend");
        sound().with("", "checks = []").is_err("a scenario has at least one check");
    }

    #[test]
    fn strategies_exist_ok() {
        sound().with("", "backends = [\"postgres\"]").with("", "strategies = [\"row\"]").is_ok();
    }

    #[test]
    fn strategies_exist_err() {
        let case = sound().with("", "backends = [\"postgres\"]").with("", "strategies = [\"row\", \"immediate\"]");
        case.is_err("`immediate` exists on sqlite only, where the scenario does not run");
    }

    #[test]
    fn backends_are_used_ok() {
        sound().with("", "strategies = [\"row\", \"immediate\"]").is_ok();
    }

    #[test]
    fn backends_are_used_err() {
        sound().with("", "strategies = [\"row\"]").is_err("none of the strategies exists on sqlite");
    }

    #[test]
    fn settings_are_used_ok() {
        sound().with("[session]", "lock-timeout-ms = 100").with("[session]", "journal = \"delete\"").is_ok();
    }

    #[test]
    fn settings_are_used_err() {
        let case = sound().with("", "backends = [\"sqlite\"]").with("[session]", "lock-timeout-ms = 100");
        case.is_err("`lock-timeout-ms` is a setting of postgres, where the scenario does not run");
    }

    #[test]
    fn antagonist_deadlocks_ok() {
        sound().with("", "backends = [\"postgres\"]").with("", "antagonist = true").is_ok();
    }

    #[test]
    fn antagonist_deadlocks_err() {
        sound().with("", "antagonist = true").is_err("an antagonist cannot force a deadlock with immediate");
        let case = sound().with("", "backends = [\"postgres\"]").with("", "strategies = \"all\"");
        let message = "an antagonist cannot force a deadlock with row, serializable, constraint";
        case.with("", "antagonist = true").is_err(message);
    }

    #[test]
    fn antagonist_opens_ok() {
        sound().with("", "antagonist = false").with("[opening]", "hold = \"write\"").is_ok();
    }

    #[test]
    fn antagonist_opens_err() {
        let case = sound().with("", "backends = [\"postgres\"]").with("", "antagonist = true");
        case.with("[opening]", "hold = \"write\"").is_err("an antagonist brings its own opening");
    }

    #[test]
    fn termination_has_a_server_ok() {
        let case = sound().with("", "backends = [\"postgres\"]").with("[fault]", "task = 1");
        case.with("[fault]", "action = \"terminate\"").is_ok();
    }

    #[test]
    fn termination_has_a_server_err() {
        let case = sound().with("[fault]", "task = 1").with("[fault]", "action = \"terminate\"");
        case.is_err("sqlite has no server that could end a session");
    }

    #[test]
    fn opening_has_others_ok() {
        sound().with("[opening]", "hold = \"none\"").with("[tasks]", "workers = 1").is_ok();
        sound().with("[tasks]", "workers = 1").is_ok();
    }

    #[test]
    fn opening_has_others_err() {
        let case = sound().with("[opening]", "hold = \"write\"").with("[tasks]", "workers = 1");
        case.is_err("a task is held until others wait, and there are no others");
    }

    #[test]
    fn until_of_a_hold_ok() {
        sound().with("[opening]", "hold = \"write\"").with("[opening]", "until = \"others-wait\"").is_ok();
    }

    #[test]
    fn until_of_a_hold_err() {
        let case = sound().with("[opening]", "hold = \"none\"").with("[opening]", "until = \"others-wait\"");
        case.is_err("nothing is held, so nothing is let go");
    }

    #[test]
    fn others_can_wait_ok() {
        sound().with("[session]", "busy-timeout-ms = 0").with("[opening]", "hold = \"none\"").is_ok();
    }

    #[test]
    fn others_can_wait_err() {
        let case = sound().with("[session]", "busy-timeout-ms = 0");
        case.is_err("the opening holds a task until others wait, and they never do");
    }

    #[test]
    fn others_can_time_out_ok() {
        let case = sound().with("[opening]", "until = \"others-timed-out\"");
        case.with("[session]", "lock-timeout-ms = 50").with("[session]", "busy-timeout-ms = 50").is_ok();
    }

    #[test]
    fn others_can_time_out_err() {
        let case = sound().with("[opening]", "until = \"others-timed-out\"").with("[session]", "busy-timeout-ms = 50");
        case.is_err("on postgres the others time out only with `session.lock-timeout-ms`");
        let case = sound().with("[opening]", "until = \"others-timed-out\"").with("[session]", "lock-timeout-ms = 50");
        case.is_err("on sqlite the others time out only with `session.busy-timeout-ms`");
        let case = sound().with("", "backends = [\"postgres\"]").with("", "strategies = [\"constraint\"]");
        let case = case.with("[opening]", "until = \"others-timed-out\"").with("[session]", "lock-timeout-ms = 50");
        case.is_err("with `constraint` nobody waits for a lock, so nobody times out");
    }
}
