//! The scenarios that the program carries, so that it works outside the checkout.

use std::fmt::Write as _;
use std::path::Path;

use drift_engine::lock::{Backend, LockStrategy};

use super::problem::Problems;
use super::script::{Script, ScriptCase};
use super::{Expected, Scenario};

/// A scenario file of the program's own.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Where it is in the checkout.
    pub path: &'static str,
    /// What it says.
    pub text: &'static str,
}

macro_rules! shipped {
    ($directory:literal: $($name:literal),+ $(,)?) => {
        [$(Shipped {
            path: concat!($directory, $name, ".toml"),
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $directory, $name, ".toml")),
        }),+]
    };
}

/// Every scenario file of the program's own, in the order in which they are run and listed.
pub const SHIPPED: [Shipped; 12] = shipped!["scenarios/":
    "same-run",
    "same-window",
    "many-customers",
    "arrivals",
    "waiting-room",
    "failed-run",
    "failing-task",
    "failure-recorded",
    "terminated-task",
    "lock-timeouts",
    "deadlocks",
    "every-strategy",
];

/// Every script of the program's own, in the order in which they are run.
pub const SCRIPTS: [Shipped; 11] = shipped!["scenarios/explore/":
    "dirty-write",
    "lost-update",
    "read-skew",
    "write-skew",
    "phantom",
    "lock-protocol",
    "deadlock",
    "no-lock",
    "early-snapshot",
    "insert-where-not-exists",
    "insert-on-conflict",
];

/// The script that explains itself: what `driftlock init` writes.
pub const TEMPLATE: Shipped = SCRIPTS[5];

impl Shipped {
    /// The scenario.
    ///
    /// # Panics
    /// Never in a program whose tests have passed.
    pub fn scenario(&self) -> Scenario {
        sound(Scenario::parse(Path::new(self.path), self.text.as_bytes()))
    }

    /// The script.
    ///
    /// # Panics
    /// Never in a program whose tests have passed.
    pub fn script(&self) -> Script {
        sound(Script::parse(Path::new(self.path), self.text.as_bytes()))
    }
}

fn sound<T>(parsed: Result<T, Box<Problems>>) -> T {
    parsed.unwrap_or_else(|problems| panic!("a shipped file is sound: {:?}", miette::Report::from(*problems)))
}

/// The shipped scenarios as a Markdown table: what each shows, the strategies of each backend, and
/// what is expected where it is not a pass.
pub fn table() -> String {
    let mut table = "| scenario | what it shows | PostgreSQL | SQLite |\n| --- | --- | --- | --- |\n".to_owned();
    for shipped in SHIPPED {
        let scenario = shipped.scenario();
        let [postgres, sqlite] = Backend::ALL.map(|backend| cell(&scenario, backend));
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| [`{}`]({}) | {} | {postgres} | {sqlite} |",
            scenario.name, shipped.path, scenario.summary
        );
    }
    table
}

/// The scripts as a Markdown table: what is expected of each at the isolation levels of PostgreSQL and on SQLite.
pub fn script_table() -> String {
    let mut table = "| script | what it shows | READ COMMITTED | REPEATABLE READ | SERIALIZABLE | SQLite |\n\
                     | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for shipped in SCRIPTS {
        let script = shipped.script();
        let on = |backend: Backend| script.cases.iter().filter(move |case| case.backend == backend);
        let [committed, repeatable, serializable] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
            .map(|level| expectations(on(Backend::Postgres).filter(|case| is_at(case, level))));
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| [`{}`]({}) | {} | {committed} | {repeatable} | {serializable} | {} |",
            script.name,
            shipped.path,
            script.summary,
            expectations(on(Backend::Sqlite))
        );
    }
    table
}

/// Whether a case's transactions, which its beginning or its name tells of, have this isolation level.
fn is_at(case: &ScriptCase, level: &str) -> bool {
    case.begin.to_ascii_uppercase().contains(level) || case.name.to_ascii_uppercase().replace('-', " ") == level
}

/// What is expected of these cases: once, where it is the same of all.
fn expectations<'c>(cases: impl Iterator<Item = &'c ScriptCase>) -> String {
    let cases: Vec<(&str, String)> = cases
        .map(|case| {
            (case.begin.as_str(), case.violates.as_ref().map_or("pass".into(), |of| format!("violates `{of}`")))
        })
        .collect();
    match &cases[..] {
        [] => "–".to_owned(),
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => first.clone(),
        all => all.iter().map(|(begin, of)| format!("`{begin}`: {of}")).collect::<Vec<_>>().join(", "),
    }
}

/// The strategies of one backend, each with the check that it is expected to violate.
fn cell(scenario: &Scenario, backend: Backend) -> String {
    let case = |strategy: LockStrategy| match scenario.expectation(backend, strategy) {
        Expected::Pass => format!("`{strategy}`"),
        Expected::Violation { check } => format!("`{strategy}` (violates `{check}`)"),
    };
    let cases: Vec<_> = scenario.cases().filter(|(on, _)| *on == backend).map(|(_, strategy)| case(strategy)).collect();
    if cases.is_empty() { "–".to_owned() } else { cases.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use driftlock_history::check::CheckName;

    #[test]
    fn the_program_carries_the_directory_and_nothing_else() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let on_disk: BTreeSet<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
            .collect();
        let carried: BTreeSet<_> =
            SHIPPED.iter().map(|shipped| (shipped.scenario().name, shipped.text.to_owned())).collect();
        assert_eq!(carried, on_disk);
    }

    #[test]
    fn the_program_carries_every_script_under_its_name() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/explore");
        let on_disk: BTreeSet<String> =
            fs::read_dir(directory).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        let carried: BTreeSet<String> = SCRIPTS.iter().map(|shipped| shipped.text.to_owned()).collect();
        assert_eq!(carried, on_disk);
        for shipped in SCRIPTS {
            let name = shipped.script().name;
            assert_eq!(shipped.path, format!("scenarios/explore/{name}.toml"));
        }
        assert_eq!(TEMPLATE.script().name, "lock-protocol");
    }

    #[test]
    fn every_check_and_every_strategy_is_used_by_a_shipped_scenario() {
        let scenarios = SHIPPED.map(|shipped| shipped.scenario());
        for check in CheckName::ALL {
            assert!(scenarios.iter().any(|scenario| scenario.checks.contains(&check)), "{check}");
        }
        for strategy in LockStrategy::ALL {
            assert!(scenarios.iter().any(|scenario| scenario.strategies.contains(&strategy)), "{strategy}");
        }
    }

    #[test]
    fn the_first_file_says_everything_and_means_the_defaults() {
        let keys = |text: &str| -> BTreeSet<String> {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, _)| key.trim_matches(['#', ' ']).to_owned())
                .collect()
        };
        let said = keys(SHIPPED[0].text);
        for shipped in &SHIPPED[1..] {
            let unsaid: Vec<_> = keys(shipped.text).difference(&said).cloned().collect();
            let elsewhere = ["writers", "claims-per-writer", "task", "before", "action"];
            let elsewhere = [&elsewhere[..], &["strategy", "backend", "verdict", "check"]].concat();
            assert!(unsaid.iter().all(|key| elsewhere.contains(&key.as_str())), "{}: {unsaid:?}", shipped.path);
        }
        let terse = "name = 'same-run'\nsummary = 'x'\nchecks = ['accounted']\n[tasks]\ncount = 24\nworkers = 8";
        let terse = Scenario::parse(Path::new("terse.toml"), terse.as_bytes()).unwrap();
        let mut full = SHIPPED[0].scenario();
        full.tasks.run = terse.tasks.run.clone();
        (full.summary, full.checks) = (terse.summary.clone(), terse.checks.clone());
        assert_eq!(full, terse);
    }

    #[test]
    fn the_table_of_scripts_has_every_case_at_its_level() {
        let table = script_table();
        assert_eq!(table.lines().count(), 2 + SCRIPTS.len());
        assert!(table.lines().all(|line| line.matches('|').count() == 7), "{table}");
        let update = table.lines().find(|line| line.contains("lost-update.toml")).unwrap();
        assert!(update.ends_with("| violates `serial` | pass | pass | pass |"), "{update}");
        // Each case of PostgreSQL is in one column.
        for case in SCRIPTS.iter().flat_map(|shipped| shipped.script().cases) {
            let at = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"].iter().filter(|level| is_at(&case, level));
            assert_eq!(at.count(), usize::from(case.backend == Backend::Postgres), "{case:?}");
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_scenario() {
        let table = table();
        assert_eq!(table.lines().count(), 2 + SHIPPED.len());
        assert!(table.contains("`row` (violates `bystanders-free`)"), "{table}");
        assert!(table.lines().all(|line| line.matches('|').count() == 5), "{table}");
    }
}
