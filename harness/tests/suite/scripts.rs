//! `verify` on scripts: their actors run freely.

use crate::{SMALL, call, holding, json_in, names_in, rows};

/// Two that add to a counter from what they read; what they begin with and how they read is to be put in.
const COUNTER: &str = r#"
name = "counter"
summary = "Two add to one counter, each from what it read."
setup = "CREATE TABLE counters (id integer PRIMARY KEY, value integer NOT NULL); INSERT INTO counters VALUES (1, 10)"
[[actor]]
name = "first"
steps = [STEPS]
[[actor]]
name = "second"
steps = [STEPS]
[[serial]]
name = "counter"
sql = "SELECT value FROM counters"
"#;

const LOCKED: &str = r#""BEGIN", { sql = "SELECT value FROM counters WHERE id = 1 FOR UPDATE", capture = "value" },
"UPDATE counters SET value = {value} + 1 WHERE id = 1", "COMMIT""#;

/// A script whose actors have these steps, on PostgreSQL.
fn on_postgres(steps: &str, expected: &str) -> String {
    format!("{}\n[[case]]\nbackend = \"postgres\"\n{expected}\n", COUNTER.replace("STEPS", steps))
}

#[tokio::test]
async fn a_sound_script_passes_with_rounds_in_which_its_actors_met() {
    let immediate = LOCKED.replace("BEGIN", "BEGIN IMMEDIATE").replace(" FOR UPDATE", "");
    let on_sqlite = format!("{}\n[[case]]\nbackend = \"sqlite\"\n", COUNTER.replace("STEPS", &immediate));
    let on_sqlite = on_sqlite.replace("name = \"counter\"\nsummary", "name = \"file\"\nsummary");
    let at = holding(&[("a.toml", &on_postgres(LOCKED, "")), ("b.toml", &on_sqlite)]);
    // A directory of scripts, too.
    let said = call(at.path(), &["verify", ".", "--rounds", "60", "--output", "run"]).await.ends_with(0);
    assert!(said.out.ends_with("pass: 2 of 2 as expected\n"), "{}", said.out);
    let report = json_in(at.path().join("run/report.json"));
    for row in rows(&report) {
        assert_eq!(row["rounds"], 60, "{row}");
        assert!(row["overlapped"].as_u64() > Some(0) && row["waited"].as_u64() > Some(0), "{row}");
        assert_eq!(row["verdict"], "pass", "{row}");
    }
    assert_eq!(call(at.path(), &["report", "run"]).await.ends_with(0).out, said.out);
    let junit = std::fs::read_to_string(at.path().join("run/junit.xml")).unwrap();
    assert!(junit.contains(r#"tests="2""#) && junit.contains(r#"failures="0""#), "{junit}");
}

#[tokio::test]
async fn a_violation_shows_its_round_and_its_seed() {
    let unlocked = LOCKED.replace(" FOR UPDATE", "");
    let at = holding(&[("lost.toml", &on_postgres(&unlocked, ""))]);
    let said = call(at.path(), &["verify", "lost.toml", "--seed", "7", "--output", "run"]).await.ends_with(1);
    for part in ["VIOLATION OF SERIAL", "serial: the final state is counter = [(11)]", "first", "→ (10)", "replay: "]
    {
        assert!(said.out.contains(part), "{part}\n{}", said.out);
    }
    let report = json_in(at.path().join("run/report.json"));
    let shown = &rows(&report)[0]["counterexamples"][0];
    let seed = shown["seed"].as_u64().unwrap();
    assert_eq!(seed, 7 + shown["round"].as_u64().unwrap() - 1);
    assert!(said.out.contains(&format!("--seed {seed} ")), "{}", said.out);
    assert_eq!(shown["steps"].as_array().unwrap().len(), 8, "{shown}");
    assert!(names_in(at.path().join("run")).contains("counterexample-counter-postgres.json"));
    // It is what was expected, where it was.
    let expected = holding(&[("lost.toml", &on_postgres(&unlocked, "violates = \"serial\""))]);
    call(expected.path(), &["verify", "lost.toml", "--output", "run"]).await.ends_with(0);
}

#[tokio::test]
async fn what_never_met_and_what_chance_did_not_bring_has_no_answer() {
    let at = holding(&[("safe.toml", &on_postgres(LOCKED, "violates = \"serial\""))]);
    let said = call(at.path(), &["verify", "safe.toml", "--rounds", "30"]).await.ends_with(3);
    assert!(said.out.contains("serial was not violated, which proves nothing"), "{}", said.out);

    let alone = on_postgres(LOCKED, "");
    let (from, until) = (alone.rfind("[[actor]]").unwrap(), alone.find("[[serial]]").unwrap());
    let at = holding(&[("alone.toml", &format!("{}{}", &alone[..from], &alone[until..]))]);
    let said = call(at.path(), &["verify", "alone.toml", "--rounds", "5"]).await.ends_with(3);
    assert!(
        said.out.contains("no two actors were ever under way at the same time (5 rounds; in 0 of them"),
        "{}",
        said.out
    );

    // A part of what was to be run is no pass.
    let at = holding(&[("slow.toml", &on_postgres("\"SELECT pg_sleep(3)\"", ""))]);
    let said = call(at.path(), &["verify", "slow.toml", "--time-limit", "1"]).await.ends_with(3);
    assert!(said.out.contains("1 of 1 cases have not come to an end within the time limit"), "{}", said.out);
}

#[tokio::test]
async fn what_an_actor_leaves_behind_keeps_nobody_and_reaches_no_other_round() {
    // The lock is left to the end of the session, the setting to the session, the table to the schema.
    let steps = "\"SET search_path = nowhere, public\", \"BEGIN\", \
                 \"SELECT value FROM counters WHERE id = 1 FOR UPDATE\", \
                 \"CREATE TABLE IF NOT EXISTS public.more AS SELECT 1 AS one\"";
    // That nothing of it is kept is meant.
    let open = on_postgres(steps, "").replace("summary", "allows-no-effect = true\nsummary");
    let at = holding(&[("open.toml", &open)]);
    let said = call(at.path(), &["verify", "open.toml", "--rounds", "10"]).await.ends_with(0);
    assert!(said.out.contains("10 rounds; in "), "{}", said.out);

    // A lock of the session is nobody's any more once its actor has come to its end.
    let steps = "\"SELECT pg_advisory_lock(7)\", \"UPDATE counters SET value = value + 1\"";
    let at = holding(&[("leaks.toml", &on_postgres(steps, ""))]);
    let said = call(at.path(), &["verify", "leaks.toml", "--rounds", "30"]).await.ends_with(0);
    assert!(said.out.contains("30 rounds; in "), "{}", said.out);

    let fails = LOCKED.replace("COMMIT", "SELECT 1/0");
    let at = holding(&[("fails.toml", &on_postgres(&fails, ""))]);
    let said = call(at.path(), &["verify", "fails.toml", "--rounds", "10"]).await.ends_with(1);
    // Whichever comes first.
    let failed =
        |actor: &str| said.out.contains(&format!("errors: step 4 of {actor} failed: division by zero (22012)"));
    assert!(failed("first") || failed("second"), "{}", said.out);
}

/// Luck may keep a violation away, but nothing is violated that is not expected to be.
#[tokio::test]
async fn no_script_of_our_own_is_violated_where_it_is_expected_to_hold() {
    let scripts = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/explore");
    let at = holding(&[]);
    let arguments = ["verify", scripts.to_str().unwrap(), "--rounds", "25", "--output", "run"];
    let called = call(at.path(), &arguments).await;
    assert!(matches!(called.code, Some(0 | 3)), "{}{}", called.out, called.err);
    let report = json_in(at.path().join("run/report.json"));
    let (mut held, mut violated) = (0, 0);
    for row in rows(&report) {
        match row["verdict"].as_str().unwrap() {
            "pass" => held += 1,
            "violation" => violated += u32::from(row["met"] == true && row["expected"]["verdict"] == "violation"),
            _ => {}
        }
    }
    assert!(held > 25 && violated > 5, "{}", called.out);
}

#[tokio::test]
async fn what_cannot_be_run_as_a_script_is_said_before_anything_is_started() {
    let script = on_postgres(LOCKED, "");
    let wrong = script.replace("{value}", "{valeu}");
    let at = holding(&[("small.toml", SMALL), ("script.toml", &script), ("wrong.toml", &wrong)]);
    let mixed = call(at.path(), &["verify", "small.toml", "script.toml"]).await.ends_with(2);
    assert!(mixed.err.contains("script.toml is a script, and small.toml is none"), "{}", mixed.err);
    let strategy = call(at.path(), &["verify", "script.toml", "--strategy", "row"]).await.ends_with(2);
    assert!(strategy.err.contains("a script's SQL has its own locks"), "{}", strategy.err);
    let wrong = call(at.path(), &["verify", "wrong.toml"]).await.ends_with(2);
    assert!(wrong.err.contains("uses {valeu}, which no earlier step captures"), "{}", wrong.err);
    let none = call(at.path(), &["verify", "script.toml", "--filter", "nothing"]).await.ends_with(2);
    assert!(none.err.contains("no case is left"), "{}", none.err);
    let list = call(at.path(), &["verify", "script.toml", "--list"]).await.ends_with(0);
    assert_eq!(list.out, "counter/postgres postgres\n");
    call(at.path(), &["verify", "script.toml", "--rounds", "0"]).await.ends_with(2);
}
