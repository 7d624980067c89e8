//! What is explored of the engine: the protocol as it ships, with each lock strategy, and its mutants.

use drift_engine::lock::{Backend, LockStrategy};

use crate::check::CheckName;
use crate::mutant::{self, Mutant};
use crate::setting::Setting;
use crate::setting::provoking::{Plan, plan};

/// One case.
#[derive(Clone, Debug)]
pub struct EngineCase {
    /// `engine/SETTING-STRATEGY`, or `mutant/NAME-BACKEND`.
    pub name: String,
    /// The database.
    pub backend: Backend,
    /// What is explored, in this order, until a violation: one at least.
    pub settings: Vec<Setting>,
    /// The check that must be violated, of a mutant.
    pub violates: Option<CheckName>,
}

impl EngineCase {
    /// What the case is called with one of its settings.
    pub fn name_with(&self, setting: &Setting) -> String {
        format!("{}/{}", self.name, slug(setting.name))
    }

    /// The case and the setting that are called this.
    pub fn named(name: &str) -> Option<(Self, Setting)> {
        let with_settings = |case: Self| {
            let settings = case.settings.clone();
            settings.into_iter().map(move |setting| (case.clone(), setting))
        };
        all().into_iter().flat_map(with_settings).find(|(case, setting)| case.name_with(setting) == name)
    }
}

/// Every case: the protocol as it ships, then its mutants.
pub fn all() -> Vec<EngineCase> {
    Backend::ALL.into_iter().flat_map(|backend| sound(backend).chain(broken(backend))).collect()
}

/// Two tasks with every strategy; the rest with the one that is the default.
fn sound(backend: Backend) -> impl Iterator<Item = EngineCase> {
    let default = backend.default_strategy();
    let pairs = LockStrategy::ALL.into_iter().filter(move |strategy| strategy.backend() == backend);
    let mut settings: Vec<Setting> = pairs.map(|strategy| Setting::same_run(strategy, 2)).collect();
    settings.extend([
        Setting::same_run(default, 3),
        Setting::arrivals(default),
        Setting::failing_task(default),
        Setting::failed_run(default),
    ]);
    if backend == Backend::Postgres {
        settings.push(Setting::deadlocks(default, 1));
    }
    settings.into_iter().map(move |setting| EngineCase {
        name: format!("engine/{}-{}", slug(setting.name), setting.strategy),
        backend,
        settings: vec![setting],
        violates: None,
    })
}

fn broken(backend: Backend) -> impl Iterator<Item = EngineCase> {
    let case = move |mutant: &Mutant| match plan(mutant, backend) {
        Some(Plan::Explore { settings, by }) => Some(EngineCase {
            name: format!("mutant/{}-{backend}", mutant.name),
            backend,
            settings,
            violates: Some(by),
        }),
        Some(Plan::LeaveOut { .. }) | None => None,
    };
    mutant::ALL.iter().filter_map(case)
}

/// Words and digits, joined by single hyphens.
fn slug(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_mutant_of_the_interleavings_has_its_case() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for case in &all {
            for setting in &case.settings {
                let (named, its) = EngineCase::named(&case.name_with(setting)).unwrap();
                assert_eq!((named.name, its.name), (case.name.clone(), setting.name));
            }
        }
        assert!(EngineCase::named("engine/none/2-tasks").is_none());
        assert_eq!(slug("2 tasks, one fails"), "2-tasks-one-fails");
        for mutant in mutant::ALL {
            for backend in Backend::ALL {
                let there = names.contains(format!("mutant/{}-{backend}", mutant.name).as_str());
                assert_eq!(there, matches!(plan(mutant, backend), Some(Plan::Explore { .. })), "{}", mutant.name);
            }
        }
    }
}
