//! The command itself: what it prints where, and how it ends.

use std::fs;
use std::process::{Command, Output};

fn explore(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftlock"));
    command.args(["explore", "--postgres", "local"]).args(arguments);
    command.env_remove("PGISOLATIONTIMEOUT").env_remove("PG_TEST_TIMEOUT_DEFAULT").output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn mistakes_are_told_with_their_places_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.spec");
    fs::write(&file, "session s\n  step a {}\npermutation a b").unwrap();
    let (code, out, err) = said(&explore(&["--as-isolationtester", file.to_str().unwrap()]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("bad.spec:3:15: there is no step b"), "{err}");
}

#[test]
fn results_go_to_the_output_and_a_failed_set_up_does_not_stop_the_next_file() {
    let directory = tempfile::tempdir().unwrap();
    let (bad, good) = (directory.path().join("bad.spec"), directory.path().join("good.spec"));
    fs::write(&bad, "setup { CREATE TABLE t () }\nsetup { CREATE TABLE t () }\nsession s step a {}").unwrap();
    fs::write(&good, "setup { CREATE TABLE t () }\nsession s step a { TABLE t } step b {} permutation a").unwrap();
    let files = [bad.to_str().unwrap(), good.to_str().unwrap()];
    let (code, out, err) = said(&explore(&["--as-isolationtester", files[0], files[1]]));
    assert_eq!(code, Some(2), "{err}");
    let expected = "Parsed test spec with 1 sessions\n\nstarting permutation: a\n\
                    Parsed test spec with 1 sessions\n\nstarting permutation: a\nstep a: TABLE t\n";
    assert_eq!(out, expected);
    assert!(err.contains("setup failed: ERROR:  relation \"t\" already exists\n"), "{err}");
    assert!(err.contains("unused step name: b\n"), "{err}");
    let output = directory.path().join("out");
    let words = ["--as-isolationtester", files[1], "--output", output.to_str().unwrap()];
    assert_eq!(said(&explore(&words)).0, Some(0));
    let written = fs::read_to_string(output.join("good.out")).unwrap();
    assert!(written.starts_with("unused step name: b\nParsed test spec"), "{written}");
}

#[test]
fn specifications_are_read_and_nothing_is_run() {
    let directory = tempfile::tempdir().unwrap();
    let (bad, good) = (directory.path().join("bad.spec"), directory.path().join("good.spec"));
    fs::write(&bad, "session s\n  step a {}\npermutation a b").unwrap();
    fs::write(&good, "session s step a { nonsense } step b {}\npermutation a b\npermutation b a").unwrap();
    // There is no server: none is needed.
    let only = |file: &str| said(&explore(&["--parse-only", "--pg-bin", "/nowhere", file]));
    let (code, out, err) = only(good.to_str().unwrap());
    assert_eq!(code, Some(0), "{err}");
    assert!(out.ends_with("good.spec: sessions: 1, steps: 2, permutations: 2\n"), "{out}");
    let (code, out, err) = only(bad.to_str().unwrap());
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("bad.spec:3:15: there is no step b"), "{err}");
    let (code, _, err) = only("script.toml");
    assert_eq!(code, Some(2));
    assert!(err.contains("script.toml is none") && err.contains("--list"), "{err}");
}
