use jiff::civil::date;

use super::*;

/// Takes everything but a budget that is no number, and a runner's way down without a runner.
fn check(_: CommandName, options: &Options, extent: Extent) -> Result<(), String> {
    let words = options.words().join(" ");
    match words.contains("--budget=x") || (extent == Extent::All && words.contains("--runner-down")) {
        true => Err("a budget is a number".to_owned()),
        false => Ok(()),
    }
}

fn parse(text: &str, files: &[&str]) -> Result<Project, String> {
    let place = tempfile::tempdir().unwrap();
    for file in files {
        let file = place.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "x").unwrap();
    }
    let parsed = Project::parse(&place.path().join(FILE), text.as_bytes(), &check);
    let shown = |problems: &Problems| {
        let one = |problem: &Problem| {
            let (line, column) = problems.line_and_column(problem);
            format!("{line}:{column}: {} {:?} {:?}", problem.message, problem.label, problem.help)
        };
        problems.iter().map(one).collect::<Vec<_>>().join("\n")
    };
    parsed
        .map(|mut project| {
            let strip = |path: &PathBuf| path.strip_prefix(place.path()).unwrap().to_owned();
            for run in &mut project.runs {
                run.files = run.files.iter().map(strip).collect();
            }
            project
        })
        .map_err(|problems| shown(&problems))
}

const SOUND: &str = r#"
postgres = "local"

[[run]]
name = "scripts"
command = "explore"
files = ["races/*.toml", "more/**/*.toml", "races/a.toml"]
budget = "1m"
all = true

[[run]]
name = "built-in"
command = "verify"
built-in = true
time-limit = 60
seed = 7

[profile.ci]
only = ["scripts"]
explore = { budget = 100 }

[profile.nightly]
postgres = "docker"

[[accepted]]
name = "a/b"
check = "c"
reason = "Known."
until = 2026-12-31
"#;

#[test]
fn a_profile_selects_runs_and_its_options_win() {
    let project = parse(SOUND, &["races/b.toml", "races/a.toml", "races/.hidden.toml", "more/x/y/c.toml"]).unwrap();
    let files = ["races/a.toml", "races/b.toml", "more/x/y/c.toml"].map(PathBuf::from);
    assert_eq!(project.runs[0].files, files);
    let words = |profile| {
        let runs = project.runs_of(profile).unwrap();
        runs.iter().map(|run| (run.name.clone(), run.options.words().join(" "))).collect::<Vec<_>>()
    };
    let scripts = |words: &str| ("scripts".to_owned(), words.to_owned());
    let built_in = |words: &str| ("built-in".to_owned(), words.to_owned());
    assert_eq!(
        words("default"),
        [scripts("--all --budget=1m --postgres=local"), built_in("--postgres=local --seed=7 --time-limit=60")]
    );
    assert_eq!(words("ci"), [scripts("--all --budget=100 --postgres=local")]);
    assert_eq!(words("nightly")[1], built_in("--postgres=docker --seed=7 --time-limit=60"));
    assert_eq!(project.runs_of("cii").unwrap_err(), "there is no profile cii; there are ci, default, nightly");
    assert_eq!(project.accepted[0].until, date(2026, 12, 31));
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = r#"
postgres = "postgres://me:secret@h/d"
regresions = "x"
[[run]]
name = "scripts"
command = "explore"
files = ["races/*.toml", "none/*.toml", "gone.toml"]
budget = "x"
bugdet = 1
[[run]]
name = "nothing"
command = "verify"
[[run]]
name = "way-down"
command = "rehearse"
files = ["races"]
runner-down = "true"
rounds = 3
[profile.ci]
only = ["script"]
[[accepted]]
name = "a/b"
until = "soon"
"#;
    let said = parse(text, &["races/a.toml"]).unwrap_err();
    for expected in [
        "2:12: `postgres` must not be a URL",
        "3:1: unknown key `regresions` Some(\"did you mean `regressions`?\")",
        "7:26: `run.files` means no file: nothing is called none/*.toml",
        "7:41: `run.files` names gone.toml, which is not there",
        "8:10: `run.budget` is not taken by `explore`: a budget is a number",
        "9:1: unknown key `bugdet` in `run`",
        "10:1: `run` has no `files`",
        "13:1: `run` is not taken by `rehearse`",
        "18:1: unknown key `rounds` in `run`",
        "20:9: `profile.ci.only` names the run script, which there is not Some(\"did you mean \\\"scripts\\\"?\")",
        "21:1: `accepted.reason` is missing",
        "23:9: `accepted.until` must be a day",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert_eq!(said.lines().count(), 12, "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn an_empty_file_two_of_a_name_and_a_script_are_refused() {
    assert!(parse("", &[]).unwrap_err().contains("the file has 0 runs"));
    let twice = "[[run]]\nname = 'a'\ncommand = 'mutate'\n".repeat(2);
    assert!(parse(&twice, &[]).unwrap_err().contains("two runs of one name"));
    let named = "[[run]]\nname = 'regressions'\ncommand = 'mutate'\n";
    assert!(parse(named, &[]).unwrap_err().contains("must not be regressions"));
    let script = "name = 'x'\n[[actor]]\nname = 'a'\nsteps = ['SELECT 1']";
    assert!(parse(script, &[]).unwrap_err().contains("1:1: this is a script"));
    let mistyped = parse("run = 'x'", &[]).unwrap_err();
    assert!(mistyped.contains("must be a list of tables") && !mistyped.contains("0 runs"), "{mistyped}");
    let empty = "[[run]]\nname = 'a'\ncommand = 'explore'\nfiles = []\n";
    assert!(parse(empty, &[]).unwrap_err().contains("has no `files`"));
}

#[test]
fn the_template_is_sound_and_so_is_what_it_has_in_comments() {
    let files = ["driftlock/a.toml", "migrations/1_a.sql"];
    let plain = parse(TEMPLATE, &files).unwrap();
    assert_eq!((plain.runs.len(), plain.accepted.len()), (1, 0));
    let lines = TEMPLATE.lines().map(|line| match line.strip_prefix("# ") {
        Some(code) if code.starts_with("[[") || code.contains(" = ") => code,
        _ => line,
    });
    let whole = parse(&lines.collect::<Vec<_>>().join("\n"), &files).unwrap();
    assert_eq!((whole.runs.len(), whole.accepted.len()), (2, 2));
}
