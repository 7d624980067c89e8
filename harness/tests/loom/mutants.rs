//! Every mutant that the model can express is killed under loom, by the check that must notice it.
//!
//! What comes of it is recorded in `loom-kills.json`, which `driftlock mutate` shows beside what the
//! real databases say.

use std::io::{self, Write};

use drift_engine::lock::Backend;
use driftlock::check::CheckName;
use driftlock::mutant::recorded::{Damage, Entry, Fate, KILLS, Killed, Record, SCHEMA_VERSION};
use driftlock::mutant::{self, Mutant};
use driftlock::report::counterexample::render_steps;

use super::explore::{Least, least};
use super::record::keep;
use driftlock::setting::Setting;
use driftlock::setting::provoking::{Plan, plan};

/// The checks that say that the data are wrong, or that somebody waited for nothing.
const DAMAGES: [CheckName; 5] =
    [CheckName::NoDuplicates, CheckName::SerialOracle, CheckName::Settled, CheckName::Freshness, CheckName::Accounted];

fn fate(plan: Plan) -> Fate {
    let (settings, by) = match plan {
        Plan::LeaveOut { reason } => return Fate::NotExpressible { reason: reason.to_owned() },
        Plan::Explore { settings, by } => (settings, by),
    };
    let found = match least(&settings, only(by)) {
        Ok(found) => found,
        Err(executions) => return Fate::Survived { executions },
    };
    let asks_for_more = matches!(by, CheckName::LockHeld | CheckName::Exclusion);
    let damage = asks_for_more.then(|| least(&worse(&settings), &DAMAGES)).and_then(Result::ok).map(
        |Least { preemptions, executions, violations, .. }| {
            let shown = violations.into_iter().next().expect("it was found");
            Damage { executions, preemptions, shown }
        },
    );
    let Least { setting, preemptions, executions, violations, altered } = found;
    assert!(altered > 0, "the operations of {:?} never ran", setting.rewrite);
    let killed_by = violations.iter().map(|shown| shown.check).collect();
    let shown = violations.into_iter().next().expect("it was found");
    let (strategy, setting) = (setting.strategy, setting.name.to_owned());
    Fate::Killed(Box::new(Killed { setting, strategy, killed_by, executions, preemptions, shown, damage }))
}

/// These settings, and after the first, one in which a claim arrives: it makes stale reads show.
fn worse(settings: &[Setting]) -> Vec<Setting> {
    let mut worse = settings.to_vec();
    if settings.iter().all(|setting| setting.claims == 0) {
        let first = &settings[0];
        worse.insert(1, Setting { rewrite: first.rewrite, ..Setting::arrivals(first.strategy) });
    }
    worse
}

/// The list of one check.
fn only(check: CheckName) -> &'static [CheckName] {
    let at = CheckName::ALL.iter().position(|one| *one == check).expect("all are there");
    static ALL: [CheckName; 12] = CheckName::ALL;
    &ALL[at..=at]
}

/// What loom is, by the lock file.
fn loom_version() -> String {
    let mut lines = include_str!("../../../Cargo.lock").lines().skip_while(|line| *line != "name = \"loom\"");
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = ")).expect("loom is in the lock file");
    version.trim_matches('"').to_owned()
}

fn describe(mutant: &Mutant, backend: Backend, fate: &Fate, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "\n{} on {backend}: ", mutant.name)?;
    let killed = match fate {
        Fate::NotExpressible { reason } => return writeln!(out, "not expressible: {reason}"),
        Fate::Survived { executions } => return writeln!(out, "SURVIVED {executions} executions"),
        Fate::Killed(killed) => killed,
    };
    let after = |executions, preemptions| format!("execution {executions}, with up to {preemptions} preemptions");
    writeln!(out, "killed in {}; {}", killed.setting, after(killed.executions, killed.preemptions))?;
    render_steps(&killed.shown, 150, out)?;
    if let Some(damage) = &killed.damage {
        writeln!(out, "  and the damage: {}", after(damage.executions, damage.preemptions))?;
        render_steps(&damage.shown, 150, out)?;
    }
    Ok(())
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without optimisation; run with --release")]
fn every_mutant_that_the_model_can_express_is_killed_as_recorded() {
    let mut found = Record { schema_version: SCHEMA_VERSION, loom: loom_version(), mutants: Vec::new() };
    let mut survivors = Vec::new();
    for mutant in mutant::ALL {
        for backend in Backend::ALL {
            let Some(plan) = plan(mutant, backend) else { continue };
            let fate = fate(plan);
            describe(mutant, backend, &fate, &mut io::stdout()).expect("standard output is there");
            if matches!(fate, Fate::Survived { .. }) {
                survivors.push(format!("{} on {backend}", mutant.name));
            }
            found.mutants.push(Entry { mutant: mutant.name.to_owned(), backend, fate });
        }
    }
    assert!(survivors.is_empty(), "these survive: {survivors:?}");
    keep("loom-kills.json", KILLS, &found);
}
