use super::*;

const SOUND: &str = r#"name = "sound"
summary = "Nothing is wrong with it."
setup = "CREATE TABLE t (v integer)"

[[actor]]
name = "one"
steps = ["{begin}", { sql = "SELECT v FROM t", name = "read", capture = "v" }, "UPDATE t SET v = {v}", "COMMIT"]

[[actor]]
name = "two"
steps = [
  { sql = "DELETE FROM t", errors = ["23503"] },
]
goes-on = true

[[invariant]]
name = "few"
sql = "SELECT v FROM t WHERE v > 5"

[[serial]]
name = "rows"
sql = "SELECT v FROM t"

[[case]]
backend = "postgres"
violates = "few"
"#;

/// Each problem of a text as one line.
fn listed(text: &str) -> Vec<String> {
    let problems = Script::parse(Path::new("wrong.toml"), text.as_bytes()).expect_err("it is wrong");
    let line = |problem| {
        let (line, column) = problems.line_and_column(problem);
        format!("{line}:{column}: {problem}")
    };
    problems.iter().map(line).collect()
}

/// The one problem of the sound text with a change.
fn wrong(from: &str, to: &str) -> String {
    assert!(SOUND.contains(from), "{from}");
    let mut all = listed(&SOUND.replacen(from, to, 1));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn a_sound_script_is_read_with_its_defaults() {
    let script = Script::parse(Path::new("sound.toml"), SOUND.as_bytes()).unwrap();
    let names: Vec<&str> = script.actors[0].steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["1", "read", "3", "4"]);
    assert!(!script.actors[0].goes_on && script.actors[1].goes_on);
    assert_eq!(script.actors[1].steps[0].errors, ["23503"]);
    assert_eq!((script.cases[0].name.as_str(), script.cases[0].begin.as_str()), ("postgres", "BEGIN"));
    // The tables may be there already.
    for setup in ["", "setup = \" \""] {
        let text = SOUND.replace("setup = \"CREATE TABLE t (v integer)\"", setup);
        let script = Script::parse(Path::new("sound.toml"), text.as_bytes()).unwrap();
        assert_eq!((script.setup.as_str(), script.setup_place), ("", (0, 0)));
    }
    let without = SOUND.split("[[case]]").next().unwrap();
    let script = Script::parse(Path::new("sound.toml"), without.as_bytes()).unwrap();
    let cases: Vec<Backend> = script.cases.iter().map(|case| case.backend).collect();
    assert_eq!(cases, Backend::ALL);
}

#[test]
fn contradictions_point_at_what_they_are_about() {
    let two = "\"two\"";
    assert_eq!(wrong(two, "\"one\""), "10:8: two actors have the same name, one");
    assert_eq!(wrong("name = \"rows\"", "name = \"few\""), "21:8: two invariants have the same name, few");
    let case = "[[case]]\nbackend = \"postgres\"\n\n[[case]]\nbackend";
    assert_eq!(wrong("[[case]]\nbackend", case), "28:11: two cases have the same name, postgres");
    let again = "\"COMMIT\", { sql = \"SELECT 1\", name = \"read\" }]";
    assert_eq!(wrong("\"COMMIT\"]", again), "7:114: two steps of actor one have the same name, read");
    let uses = "7:80: step 3 of actor one uses {w}, which no earlier step captures";
    assert_eq!(wrong("v = {v}", "v = {w}"), uses);
    let many = "\"SELECT 1\", ".repeat(64) + "{ sql = \"DELETE";
    assert_eq!(wrong("{ sql = \"DELETE", &many), "12:771: actor two must have 1 to 64 steps; it has 65");
    let none = wrong("[\n  { sql = \"DELETE FROM t\", errors = [\"23503\"] },\n]", "[]");
    assert_eq!(none, "10:8: actor two must have 1 to 64 steps; it has 0");
    let unknown =
        "26:12: case postgres violates `more`, which is not one of few, serial, errors, stuck, committed, repeated";
    assert_eq!(wrong("violates = \"few\"", "violates = \"more\""), unknown);
    // What it leaves behind outlives the database, the case and the file.
    let alters = wrong("\"COMMIT\"]", "\"COMMIT\", \"alter /* x */ system SET work_mem = '7MB'\"]");
    assert!(alters.starts_with("7:") && alters.contains("ALTER SYSTEM changes the whole server"), "{alters}");
    let alters = wrong("\"CREATE TABLE t (v integer)\"", "\"SELECT 1; ALTER SYSTEM RESET ALL\"");
    assert!(alters.starts_with("3:") && alters.contains("ALTER SYSTEM"), "{alters}");
}

#[test]
fn a_case_cannot_violate_what_is_not_asked() {
    let (with, without) = ("violates = \"few\"", "violates = \"serial\"");
    assert!(Script::parse(Path::new("x"), SOUND.replacen(with, without, 1).as_bytes()).is_ok());
    let mut text = SOUND.replacen(with, without, 1);
    text.replace_range(text.find("[[serial]]").unwrap()..text.find("[[case]]").unwrap(), "");
    assert_eq!(listed(&text), ["22:12: case postgres violates `serial`, and there is no `[[serial]]`"]);
}

#[test]
fn an_invariant_has_no_name_that_means_something_else() {
    for own in [SERIAL, ERRORS, STUCK, COMMITTED] {
        let text = SOUND.replace("\"few\"", &format!("\"{own}\""));
        assert_eq!(listed(&text), [format!("17:8: an invariant is not named `{own}`: that has a meaning")]);
    }
}

#[test]
fn what_the_whole_file_lacks_is_said_at_its_beginning() {
    let mut text = SOUND.split("[[invariant]]").next().unwrap().to_owned();
    assert_eq!(
        listed(&text),
        ["1:1: nothing is asked of the end: there is neither an `[[invariant]]` nor a `[[serial]]`"]
    );
    text = format!("{}{}", SOUND.split("[[actor]]").next().unwrap(), &SOUND[SOUND.find("[[serial]]").unwrap()..]);
    text = text.replace("\"few\"", "\"serial\"");
    assert_eq!(listed(&text), ["1:1: a script has 1 to 32 actors, each beginning with `[[actor]]`"]);
    let more = |number: u32| format!("[[actor]]\nname = \"a{number}\"\nsteps = [\"SELECT 1\"]\n");
    let text = format!("{SOUND}{}", (3..=34).map(more).collect::<String>());
    assert_eq!(listed(&text), ["118:8: a script has 1 to 32 actors, each beginning with `[[actor]]`"]);
}

#[test]
fn every_wrong_value_says_what_would_be_right() {
    let long = format!("\"{}\"", "x".repeat(SQL_BYTES_MAX + 1));
    let all: Vec<String> = [
        ("\"CREATE TABLE t (v integer)\"", "\"SELECT\\u0000\""),
        ("\"CREATE TABLE t (v integer)\"", &long),
        ("\"CREATE TABLE t (v integer)\"", "5"),
        ("name = \"two\"", "name = \"t w o\""),
        ("name = \"two\"\n", "\n"),
        ("goes-on = true", "goes-on = 1"),
        ("\"COMMIT\"]", "\"COMMIT\\u0000\"]"),
        ("name = \"read\"", "name = \"\""),
        ("capture = \"v\"", "capture = \"begin\""),
        ("capture = \"v\"", "captures = \"v\""),
        ("sql = \"DELETE FROM t\", ", ""),
        ("[\"23503\"]", "\"23503\""),
        ("[\"23503\"]", "[23503]"),
        ("backend = \"postgres\"", "backend = \"mysql\""),
        ("backend = \"postgres\"", "backend = \"postgres\"\nbackends = 1"),
    ]
    .map(|(from, to)| wrong(from, to))
    .into();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn overlaps_name_two_steps_of_two_actors() {
    let with = |steps: &str| format!("{SOUND}\n[[overlap]]\nsteps = {steps}\n");
    let script = Script::parse(Path::new("x"), with("['two.1', 'one.read']").as_bytes()).unwrap();
    assert_eq!(script.overlaps, [Overlap { steps: [(1, 0), (0, 1)], tries: TRIES }]);
    assert_eq!(script.name_of((0, 1)), "one.read");
    let said = |steps: &str| listed(&with(steps)).join("\n");
    assert_eq!(
        said("['one.read', 'one.4']"),
        "29:9: two steps of one cannot overlap: an actor does one after the other"
    );
    let all = "the steps are one.1, one.read, one.3, one.4, two.1";
    for unknown in ["one", "one.5", "three.1", "."] {
        assert_eq!(said(&format!("['two.1', '{unknown}']")), format!("29:9: there is no step `{unknown}`; {all}"));
    }
    assert!(said("['one.1']").ends_with("[\"ACTOR.STEP\", \"ACTOR.STEP\"], and not 1"));
    assert_eq!(said("['one.1', 'two.1']\ntries = 0"), "30:9: `overlap.tries` must be 1 to 1000000");
}

#[test]
fn holes_are_words_in_braces_and_nothing_else() {
    assert_eq!(holes("{begin} {a_1}{b}"), ["begin", "a_1", "b"]);
    assert!(holes("'{\"a\": 1}' '{1,2}' {} {A} {a b} {a").is_empty());
}
