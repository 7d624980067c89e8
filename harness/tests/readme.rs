//! What the README repeats of the program is what the program says. `UPDATE_DOCS=1` writes it anew.

use std::path::PathBuf;
use std::process::Command;

fn readme() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "README.md"].iter().collect()
}

/// The place between `<!-- name -->` and `<!-- /name -->`, each alone on its line.
fn block(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let start = text.find(&open)? + open.len();
    Some(start..start + text[start..].find(&close)?)
}

/// Compares the README's block with what it should say, or writes that into it.
fn assert_says(name: &str, expected: &str) {
    let text = std::fs::read_to_string(readme()).expect("the README is there");
    let at = block(&text, name).unwrap_or_else(|| panic!("README.md has no <!-- {name} --> … <!-- /{name} -->"));
    if text[at.clone()] == *expected {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "README.md is stale between <!-- {name} --> and <!-- /{name} -->: UPDATE_DOCS=1 cargo test --test readme\n{expected}"
    );
    let (before, after) = (&text[..at.start], &text[at.end..]);
    std::fs::write(readme(), format!("{before}{expected}{after}")).expect("the README can be written");
}

/// One test, because each part may rewrite the one file.
#[test]
fn the_readme_says_what_the_program_says() {
    assert_says("scenarios", &driftlock::scenario::table());
    assert_says("scripts", &driftlock::scenario::shipped::script_table());
    assert_says("mutants", &driftlock::mutant::table());
    assert_says("loom", &driftlock::mutant::recorded::sound_table());
    let help = Command::new(env!("CARGO_BIN_EXE_driftlock")).arg("--help").output().expect("the program runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let text = std::fs::read_to_string(readme()).expect("the README is there");
    if text.contains("<!-- help -->") {
        assert_says("help", &format!("```text\n{}\n```\n", help.trim_end()));
    }
    for command in ["verify", "mutate", "recompute", "doctor", "report"] {
        assert!(
            help.contains(&format!("\n  {command} ")) && text.contains(&format!("`driftlock {command}")),
            "{command}"
        );
    }
}

/// What `.ci/run` runs is what a reader is told to run: one line of sh after the marker.
#[test]
fn the_readme_has_one_test_command() {
    let text = std::fs::read_to_string(readme()).expect("the README is there");
    let (_, after) = text.split_once("<!-- test command -->\n```sh\n").expect("the marker, then a block of sh");
    assert_eq!(text.matches("<!-- test command -->").count(), 1);
    let (command, _) = after.split_once("\n```\n").expect("the block ends");
    assert_eq!(command, "cargo test --workspace");
}

/// Relative links of the README lead to files of the checkout.
#[test]
fn the_readme_links_to_what_is_there() {
    let text = std::fs::read_to_string(readme()).expect("the README is there");
    let root = readme().parent().expect("it lies in a directory").to_owned();
    let mut links = 0;
    for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if target.contains("://") || target.starts_with('#') {
            continue;
        }
        let file = target.split('#').next().unwrap_or_default();
        assert!(root.join(file).exists(), "README.md links to {target}, which is not there");
        links += 1;
    }
    assert!(links > 10, "only {links} links");
}
