use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{call, holding, json_in, keys, names_in, rows};

#[tokio::test]
async fn mutants_are_killed_where_the_protocol_as_it_ships_passes() {
    let at = holding(&[]);
    let arguments = ["mutate", "--filter", "for-share", "--filter", "no-retry", "--filter", "begin-deferred"];
    let called =
        call(at.path(), &[&arguments[..], &["--output", "run", "--format", "json"]].concat()).await.ends_with(0);
    let report = called.json();
    assert_eq!(report, json_in(at.path().join("run/report.json")));
    assert_eq!((&report["command"], &report["verdict"]), (&json!("mutate"), &json!("pass")));

    let (mutants, sound): (Vec<&Value>, Vec<&Value>) =
        rows(&report).iter().partition(|row| row.get("killed_by").is_some());
    let name = |row: &Value| format!("{} {}", row["name"].as_str().unwrap(), row["backend"].as_str().unwrap());
    let named = |rows: &[&Value]| rows.iter().map(|row| name(row)).collect::<Vec<_>>();
    assert_eq!(
        named(&sound),
        ["waiting-room postgres", "lock-timeouts postgres", "lock-timeouts sqlite", "arrivals sqlite"]
    );
    assert_eq!(
        named(&mutants),
        ["for-share postgres", "no-retry postgres", "no-retry sqlite", "begin-deferred sqlite"]
    );
    for row in sound {
        assert_eq!(row["met"], true, "{row}");
    }
    for row in mutants {
        assert_eq!((&row["verdict"], &row["met"]), (&json!("violation"), &json!(true)), "{row}");
        assert!(row["executed"].as_u64() > Some(0), "{row}");
        // SQLite's lock times out, and the model that loom runs on knows no time.
        let expressible = (&row["name"], &row["backend"]) != (&json!("no-retry"), &json!("sqlite"));
        assert_eq!(row["loom"]["verdict"] == "violation", expressible, "{row}");
        assert_eq!(row["loom"]["executions"].as_u64() > Some(0), expressible, "{row}");
        let killed_by = row["killed_by"].as_array().unwrap();
        assert!(killed_by.contains(&row["expected"]["check"]), "{row}");
        let shown: BTreeSet<&str> =
            row["counterexamples"].as_array().unwrap().iter().map(|one| one["check"].as_str().unwrap()).collect();
        assert_eq!(shown, killed_by.iter().map(|check| check.as_str().unwrap()).collect());
        let [name, backend] = ["name", "backend"].map(|key| row[key].as_str().unwrap());
        assert_eq!(row["replay"], format!("driftlock mutate --filter {name} --backend {backend} --seed 1"));
    }
    let backends = report["backends"].as_array().unwrap();
    let loom = backends.iter().find(|backend| backend["name"] == "loom").unwrap();
    assert!(loom["version"].as_str().unwrap().ends_with(" recorded"), "{loom}");
    assert_eq!(loom["provisioned"], "recorded artefact");

    for one in report["not_applicable"].as_array().unwrap() {
        assert_eq!(keys(one), ["backend", "name", "reason"].into());
    }
    assert_eq!(report["not_applicable"].as_array().unwrap().len(), 2, "for-share and begin-deferred exist once each");

    let text = call(at.path(), &["report", "run"]).await.ends_with(0).out;
    assert!(text.ends_with("pass: 8 of 8 as expected\n"), "{text}");
    let killed = text.lines().filter(|line| line.contains(" killed ") && !line.contains("killed by"));
    assert_eq!(killed.count(), 4, "{text}");
    assert_eq!(text.matches(" not applicable ").count(), 2, "{text}");
    let histories = names_in(at.path().join("run")).into_iter().filter(|name| name.starts_with("history-"));
    assert_eq!(histories.count(), 8);
}

#[tokio::test]
async fn a_list_of_mutants_names_those_that_do_not_apply_with_the_reason() {
    let at = holding(&[]);
    let listed = call(at.path(), &["mutate", "--list", "--filter", "begin-deferred"]).await.ends_with(0).out;
    let expected = "arrivals sqlite immediate\nbegin-deferred sqlite immediate\n\
                    begin-deferred postgres not applicable: PostgreSQL has no BEGIN IMMEDIATE\n";
    assert_eq!(listed, expected);
    assert!(names_in(at.path()).is_empty());
}
