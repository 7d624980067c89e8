//! The rules of the house that no compiler enforces, and the licences of what is built upon.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseItem, ParseMode};

/// The lines of code that a file may have, its tests aside.
const LINES_MAX: usize = 500;
/// Longer files, and why each is one idea all the same.
const LONG: [(&str, &str); 0] = [];
/// The one module with unsafe code.
const UNSAFE: &str = "harness/src/sqlite_busy.rs";
/// The licences under which a program that is given away may be built upon.
const LICENCES: [&str; 8] =
    ["MIT", "MIT-0", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unicode-3.0", "Zlib"];

/// A source file of ours.
struct File {
    /// From the root, with slashes.
    path: String,
    text: String,
}

impl File {
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// What is above the tests that the file itself holds.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
    }

    /// The lines with these words in them, comments aside, as `path:line: text`.
    fn saying<'a>(&'a self, text: &'a str, words: &'a [&str]) -> impl Iterator<Item = String> + 'a {
        text.lines().enumerate().filter_map(move |(index, line)| {
            let code = line.split("//").next().unwrap_or_default();
            let said = words.iter().any(|word| code.contains(word));
            said.then(|| format!("{}:{}: {}", self.path, index + 1, line.trim()))
        })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the harness lies in the workspace").to_owned()
}

/// Every Rust file of the workspace.
fn files() -> Vec<File> {
    let root = root();
    let mut waiting: Vec<PathBuf> = ["engine", "harness", "benches"].map(|name| root.join(name)).into();
    let mut found = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory of the checkout") {
            let path = entry.expect("a directory of the checkout").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file is UTF-8 text");
                let path = path.strip_prefix(&root).expect("it was found there");
                found.push(File { path: path.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    assert!(found.len() > 100, "only {} files were found: the rules would hold for nothing", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn assert_none(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn nothing_is_left_to_do_in_a_comment() {
    // Written so that this file keeps the rule too.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let says = |line: &&str| words.iter().any(|word| line.contains(word));
    let broken = files()
        .iter()
        .flat_map(|file| file.text.lines().filter(says).map(|line| format!("{}: {}", file.path, line.trim())))
        .collect();
    assert_none(broken, "what is left to do belongs into an issue");
}

#[test]
fn nothing_is_unfinished_and_no_lint_is_silenced_without_being_expected() {
    let words =
        [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[al", "low("), concat!("#![al", "low(")];
    let broken = files().iter().flat_map(|file| file.saying(&file.text, &words).collect::<Vec<_>>()).collect();
    assert_none(broken, "finish it, or expect the lint, with a reason");
}

#[test]
fn only_tests_print_past_the_report() {
    let words = ["println!(", "eprintln!(", "print!(", "eprint!(", "dbg!("];
    let files = files();
    // An example is a program of its own.
    let shipped = files.iter().filter(|file| !file.is_test() && !file.path.contains("/examples/"));
    let broken = shipped.flat_map(|file| file.saying(file.code(), &words).collect::<Vec<_>>()).collect();
    assert_none(broken, "the library writes into the writers that it is given");
}

#[test]
fn unsafe_code_is_in_one_module_alone() {
    let words = ["{", "fn", "impl", "extern", "trait"].map(|what| format!("{} {what}", concat!("uns", "afe")));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let files = files();
    let (at_home, elsewhere): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.path == UNSAFE);
    assert!(at_home.iter().any(|file| file.saying(&file.text, &words).count() > 0), "{UNSAFE} has none: forbid it");
    let broken = elsewhere.iter().flat_map(|file| file.saying(&file.text, &words).collect::<Vec<_>>()).collect();
    assert_none(broken, "unsafe code outside its module");
}

#[test]
fn a_file_is_one_idea_and_a_module_is_named_after_it() {
    let files = files();
    let long = |file: &File| file.code().lines().count() > LINES_MAX;
    let excused = |file: &File| LONG.iter().any(|(path, _)| *path == file.path);
    let broken = files.iter().filter(|file| !file.is_test() && long(file) && !excused(file));
    assert_none(broken.map(|file| file.path.clone()).collect(), "longer than 500 lines");
    for (path, why) in LONG {
        let excused = files.iter().find(|file| file.path == path);
        assert!(excused.is_some_and(long), "{path} needs no excuse ({why})");
    }
    let nameless = files.iter().filter(|file| file.path.ends_with("/mod.rs"));
    assert_none(nameless.map(|file| file.path.clone()).collect(), "a module's file has its name");
}

/// The crates, the lowest first: each may depend on what stands before it, and nothing after it.
const CRATES: [&str; 10] = [
    "drift-engine",
    "driftlock-sql",
    "driftlock-history",
    "driftlock-model",
    "driftlock-provision",
    "driftlock-isolation",
    "driftlock-scenario",
    "driftlock-wire",
    "driftlock",
    "driftlock-benches",
];

/// The crates below as modules of driftlock's: every module of its own may use them.
const BELOW: [&str; 11] =
    ["check", "clock", "history", "isolation", "model", "oracle", "provision", "scenario", "sql", "syntax", "verdict"];

/// The modules of driftlock itself, the lowest first: each may use what stands before it, and nothing after it.
const LAYERS: [&str; 22] = [
    "exit",
    "sqlite_busy",
    "outcome",
    "lens",
    "schedule",
    "database",
    "load",
    "fixture",
    "mutant",
    "setting",
    "recheck",
    "app",
    "explore",
    "variation",
    "actor",
    "verify",
    "capacity",
    "rehearse",
    "overall",
    "report",
    "race",
    "cli",
];

/// Where a file of the harness uses a module that stands above its own, or one that has no place.
fn upward(path: &str, code: &str) -> Vec<String> {
    let Some(inside) = path.strip_prefix("harness/src/") else { return Vec::new() };
    let own = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    if ["lib", "main"].contains(&own) {
        return Vec::new();
    }
    let place = |module: &str| LAYERS.iter().position(|layer| *layer == module);
    let mut broken = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        for (at, _) in line.match_indices("crate::") {
            // What a macro of this crate expands to is not used here, and `drift_crate::` is another one.
            let rest = &line[at + "crate::".len()..];
            let used: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let is_of_macro = line[..at].ends_with('$');
            let is_below = BELOW.contains(&used.as_str());
            if used.is_empty() || used == own || is_below || is_of_macro && place(&used).is_some() {
                continue;
            }
            match (place(own), place(&used)) {
                (Some(own), Some(used)) if used < own => {}
                _ => broken.push(format!("{path}:{}: {own} uses {used}", index + 1)),
            }
        }
    }
    broken
}

#[test]
fn no_module_uses_one_that_stands_above_it() {
    let files = files();
    let code = files.iter().filter(|file| !file.is_test());
    let broken = code.flat_map(|file| upward(&file.path, file.code())).collect();
    assert_none(broken, "an arrow of the harness goes upward, or to a module without a place in LAYERS");
    // Every place is somebody's, and the rule sees what it is about.
    let nobodys = LAYERS.iter().filter(|layer| {
        let file = format!("harness/src/{layer}.rs");
        !files.iter().any(|one| one.path == file)
    });
    assert_none(nobodys.map(|layer| (*layer).to_owned()).collect(), "LAYERS names modules that are gone");
    assert_eq!(upward("harness/src/lens/gate.rs", "use crate::capacity::phase::Times;").len(), 1);
    assert_eq!(upward("harness/src/explore.rs", "use crate::newcomer::Thing; // crate::cli").len(), 1);
    assert_eq!(upward("harness/src/cli/verify.rs", "use crate::exit::Exit;\nuse crate::cli::Context;").len(), 0);
}

/// What cargo says about every package that is built here.
fn packages() -> Vec<Value> {
    let host = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let host = String::from_utf8(host.stdout).expect("UTF-8");
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Whoever runs this has built it: nothing needs to be fetched.
    command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host]);
    let output = command.current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list").clone();
    assert!(packages.len() > 100, "only {} packages", packages.len());
    packages
}

#[test]
fn every_dependency_comes_from_the_registry_under_a_licence_that_allows_it() {
    let licences = LICENCES.map(|name| spdx::license_id(name).expect("an SPDX licence"));
    let allowed = |item: &LicenseItem| matches!(item, LicenseItem::Spdx { id, .. } if licences.contains(id));
    let (mut broken, mut ours) = (Vec::new(), BTreeSet::new());
    for package in packages() {
        let name = format!("{} {}", package["name"], package["version"]);
        match package["source"].as_str() {
            None => {
                ours.insert(package["name"].as_str().expect("a name").to_owned());
            }
            Some(source) if !source.starts_with("registry+") => broken.push(format!("{name} comes from {source}")),
            Some(_) => {}
        }
        let licence = package["license"].as_str().unwrap_or_default();
        match Expression::parse_mode(licence, ParseMode::LAX) {
            Ok(expression) if expression.evaluate(|one| allowed(&one.license)) => {}
            _ => broken.push(format!("{name} is under {licence:?}")),
        }
    }
    assert_none(broken, "not to be built upon");
    assert_eq!(ours, CRATES.map(str::to_owned).into());
}

#[test]
fn no_crate_depends_on_one_that_stands_above_it() {
    let place = |name: &str| CRATES.iter().position(|one| *one == name);
    let (mut broken, mut arrows) = (Vec::new(), 0);
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        let Some(own) = place(name).filter(|_| package["source"].is_null()) else { continue };
        for dependency in package["dependencies"].as_array().expect("a list") {
            let used = dependency["name"].as_str().expect("a name");
            let Some(used) = place(used) else { continue };
            arrows += 1;
            if used >= own {
                broken.push(format!("{name} depends on {}", CRATES[used]));
            }
        }
    }
    assert_none(broken, "an arrow between crates goes upward");
    assert!(arrows >= CRATES.len(), "only {arrows} arrows were seen");
}
