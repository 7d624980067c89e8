//! What the documents repeat of the program is what the program says. `UPDATE_DOCS=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use driftlock::scenario::project::Project;
use serde_json::Value;

/// The lines that the README may have.
const README_LINES_MAX: usize = 120;
/// A command that `--help` does not list.
const HIDDEN: &str = "beside-pgbench";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the harness lies in the workspace").to_owned()
}

/// The text of a file of the checkout.
fn text_of(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The pages of the book, as paths from the root with slashes.
fn pages() -> BTreeSet<String> {
    let root = root();
    let mut waiting = vec![root.join("docs")];
    let mut found = BTreeSet::new();
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory of the checkout") {
            let path = entry.expect("a directory of the checkout").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let path = path.strip_prefix(&root).expect("it was found there");
                found.insert(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found
}

/// The place between `<!-- name -->` and `<!-- /name -->`, each alone on its line.
fn block(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let start = text.find(&open)? + open.len();
    Some(start..start + text[start..].find(&close)?)
}

/// Compares a page's block with what it should say, or writes that into it.
fn assert_says(page: &str, name: &str, expected: &str) {
    let text = text_of(page);
    let at = block(&text, name).unwrap_or_else(|| panic!("{page} has no <!-- {name} --> … <!-- /{name} -->"));
    if text[at.clone()] == *expected {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "{page} is stale between <!-- {name} --> and <!-- /{name} -->: UPDATE_DOCS=1 cargo test --test readme\n{expected}"
    );
    let (before, after) = (&text[..at.start], &text[at.end..]);
    std::fs::write(root().join(page), format!("{before}{expected}{after}")).expect("the page can be written");
}

/// What the program prints.
fn printed(arguments: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_driftlock"));
    // A terminal's width would wrap the help elsewhere.
    program.args(arguments).env_remove("COLUMNS");
    let output = program.output().expect("the program runs");
    assert!(output.status.success(), "driftlock {}: {}", arguments.join(" "), output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A block of text as a page shows it, without spaces at the ends of lines.
fn fenced(language: &str, text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    format!("```{language}\n{}\n```\n", lines.join("\n"))
}

/// The commands that `driftlock --help` lists.
fn commands(help: &str) -> Vec<&str> {
    let (list, _) = help.split_once("\nExamples:\n").expect("the list ends with examples");
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

/// A generated table's links, which start at the root, as a page two directories below it needs them.
fn from_results(table: &str) -> String {
    table.replace("](scenarios/", "](../../scenarios/")
}

/// The tables of the script format, from its JSON schema.
fn script_format() -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme.schema.json");
    if let Err(error) = std::fs::remove_file(&file) {
        assert!(error.kind() == std::io::ErrorKind::NotFound, "{}: {error}", file.display());
    }
    printed(&["init", "--schema", file.to_str().expect("the target directory's name is UTF-8")]);
    let schema = std::fs::read(&file).expect("the schema was written");
    let schema: Value = serde_json::from_slice(&schema).expect("the schema is JSON");
    let tables = [
        ("The file", &schema),
        ("`[[actor]]`", &schema["$defs"]["actor"]),
        ("A step: a statement", &schema["$defs"]["statement"]),
        ("A step: a branch", &schema["$defs"]["branch"]),
        ("A step: a repetition", &schema["$defs"]["repetition"]),
        ("`[[invariant]]` and `[[serial]]`", &schema["$defs"]["query"]),
        ("`[[overlap]]`", &schema["$defs"]["overlap"]),
        ("`[[case]]`", &schema["$defs"]["case"]),
    ];
    tables.map(|(title, table)| keys(title, table, &schema)).join("\n")
}

/// The keys of one table of the format.
fn keys(title: &str, table: &Value, schema: &Value) -> String {
    let required: BTreeSet<&str> =
        table["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = table["properties"].as_object().expect("a table has keys");
    let sorted: BTreeMap<&String, &Value> = properties.iter().collect();
    let mut text = format!("## {title}\n\n| key | needed | meaning |\n| --- | --- | --- |\n");
    for (key, value) in sorted {
        let needed = if required.contains(key.as_str()) { "yes" } else { "" };
        let meaning = meaning(value, schema).replace('|', "\\|");
        writeln!(text, "| `{key}` | {needed} | {meaning} |").expect("a string takes everything");
    }
    text
}

/// What the schema says of a key: its description, its values, or that of what it refers to.
fn meaning(value: &Value, schema: &Value) -> String {
    if let Some(said) = value["description"].as_str() {
        return said.to_owned();
    }
    if let Some(values) = value["enum"].as_array() {
        let values: Vec<String> = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(" or ");
    }
    let referred = value["$ref"].as_str().and_then(|place| place.strip_prefix("#/$defs/"));
    match referred {
        Some("word") => "A name: letters, digits, `_` and `-`.".to_owned(),
        Some("sql") => "SQL.".to_owned(),
        Some("steps") => "Steps, in order.".to_owned(),
        Some(other) => schema["$defs"][other]["description"].as_str().unwrap_or(other).to_owned(),
        None => value["type"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The relative links of a page, without those into the page itself.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#'))
}

/// The blocks of a page that are fenced as one of these languages.
fn blocks<'a>(text: &'a str, languages: &[&str]) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if languages.contains(&language) {
                found.push(inside);
            }
        }
    }
    found
}

/// The anchor that a heading is given.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// One test, because several parts may rewrite one file.
#[test]
fn the_documents_say_what_the_program_says() {
    assert_says("docs/results/scenarios.md", "scenarios", &from_results(&driftlock::scenario::table()));
    assert_says("docs/results/scripts.md", "scripts", &from_results(&driftlock::scenario::shipped::script_table()));
    assert_says("docs/results/mutants.md", "mutants", &from_results(&driftlock::mutant::table()));
    assert_says("docs/results/loom.md", "loom", &from_results(&driftlock::mutant::recorded::sound_table()));
    assert_says("docs/reference/scenario.md", "scenario-file", &fenced("toml", &text_of("scenarios/same-run.toml")));
    assert_says("docs/reference/script.md", "script-format", &script_format());

    let template = driftlock::scenario::project::TEMPLATE;
    assert_says("docs/commands/run.md", "project-file", &fenced("toml", template));

    let help = printed(&["--help"]);
    assert_says("docs/commands/index.md", "help", &fenced("text", &help));
    let commands = commands(&help);
    assert!(commands.len() > 10, "only {} commands", commands.len());
    let index = text_of("docs/commands/index.md");
    for command in commands.iter().copied().chain([HIDDEN]) {
        let help = printed(&[command, "--help"]);
        assert_says(&format!("docs/commands/{command}.md"), &format!("help-{command}"), &fenced("text", &help));
        assert!(index.contains(&format!("`driftlock {command}")), "docs/commands/index.md does not say {command}");
    }
    let readme = text_of("README.md");
    for command in ["verify", "mutate", "recompute", "doctor", "report"] {
        assert!(commands.contains(&command) && readme.contains(&format!("`driftlock {command}")), "{command}");
    }
}

/// What `.ci/run` runs is what a reader is told to run: one line of sh after the marker.
#[test]
fn the_readme_has_one_test_command() {
    let text = text_of("README.md");
    let (_, after) = text.split_once("<!-- test command -->\n```sh\n").expect("the marker, then a block of sh");
    assert_eq!(text.matches("<!-- test command -->").count(), 1);
    let (command, _) = after.split_once("\n```\n").expect("the block ends");
    assert_eq!(command, "cargo test --workspace");
}

#[test]
fn the_readme_is_short() {
    let lines = text_of("README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines; what is longer belongs into docs/");
}

/// Relative links of the documents lead to files of the checkout, and to headings of pages.
#[test]
fn the_documents_link_to_what_is_there() {
    let root = root();
    let of_the_root = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned);
    for page in of_the_root.into_iter().chain(pages()) {
        let text = text_of(&page);
        let directory = root.join(&page).parent().expect("it lies in a directory").to_owned();
        for target in links(&text) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = directory.join(file);
            assert!(path.exists(), "{page} links to {target}, which is not there");
            if !heading.is_empty() {
                let linked = std::fs::read_to_string(&path).expect("a link to a heading is one to a page");
                let headings = linked.lines().filter(|line| line.starts_with('#'));
                let found = headings.map(|line| anchor(line.trim_start_matches('#'))).any(|anchor| anchor == heading);
                assert!(found, "{page} links to {target}, and there is no such heading");
            }
        }
    }
    let of_the_readme = links(&text_of("README.md")).count();
    assert!(of_the_readme > 10, "only {of_the_readme} links");
}

/// The book's contents are its pages: all of them, each once, and nothing else.
#[test]
fn the_summary_lists_every_page() {
    let text = text_of("docs/SUMMARY.md");
    let listed: Vec<String> = links(&text).map(|target| format!("docs/{target}")).collect();
    let once: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), once.len(), "docs/SUMMARY.md lists a page twice");
    let mut pages = pages();
    assert!(pages.remove("docs/SUMMARY.md"), "docs/SUMMARY.md is there");
    assert_eq!(once, pages, "docs/SUMMARY.md lists what is not there, or not what is");
}

/// Every command and option that the documents show is one that the program has.
#[test]
fn the_documents_show_commands_that_there_are() {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut shown = 0;
    for page in pages().into_iter().chain(["README.md".to_owned()]) {
        let text = text_of(&page);
        for line in blocks(&text, &["sh", "console"]).into_iter().flatten() {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            let Some(line) = line.strip_prefix("driftlock ") else { continue };
            let mut words = line.split_whitespace().take_while(|word| *word != "#");
            let command = words.next().expect("driftlock is shown with a command");
            let help = helps.entry(command.to_owned()).or_insert_with(|| printed(&[command, "--help"]));
            for option in words.filter(|word| word.starts_with("--")) {
                assert!(
                    help.split_whitespace().any(|word| word.split('[').next() == Some(option)),
                    "{page}: {command} has no {option}"
                );
            }
            shown += 1;
        }
    }
    assert!(shown > 20, "only {shown} commands are shown");
}

/// The projects that the documents show are projects: their runs, and what else they have, in one file.
#[test]
fn the_projects_of_the_documents_are_projects() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme-project");
    for directory in ["driftlock", "migrations"] {
        std::fs::create_dir_all(place.join(directory)).expect("a directory can be made");
    }
    std::fs::write(place.join("driftlock/a.toml"), "").expect("a file can be written");
    let text = text_of("docs/tutorial/ci.md");
    let shown: Vec<String> = blocks(&text, &["toml"]).into_iter().map(|lines| lines.join("\n")).collect();
    assert!(shown.len() >= 2, "only {} files", shown.len());
    let read = Project::parse(&place.join("driftlock.toml"), shown.join("\n").as_bytes(), &|_, _, _| Ok(()));
    let project = read.unwrap_or_else(|problems| {
        let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        panic!("{messages:?}")
    });
    assert_eq!((project.runs.len(), project.accepted.len()), (2, 1));
}

/// The scripts that the tutorial has a reader write are scripts.
#[test]
fn the_tutorials_scripts_are_scripts() {
    let mut shown = 0;
    for page in pages().into_iter().filter(|page| page.starts_with("docs/tutorial/")) {
        let text = text_of(&page);
        for script in blocks(&text, &["toml"]).into_iter().filter(|lines| lines.contains(&"[[actor]]")) {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readme-script-{shown}.toml"));
            std::fs::write(&file, script.join("\n")).expect("the script can be written");
            printed(&["explore", "--list", file.to_str().expect("the target directory's name is UTF-8")]);
            shown += 1;
        }
    }
    assert!(shown >= 2, "only {shown} scripts");
}
