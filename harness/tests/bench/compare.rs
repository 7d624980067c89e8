use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::called::program;
use crate::comes::comes;
use crate::{SMALL, call};

/// Writes a run again with another series, and perhaps another setting.
fn altered(run: &Path, name: &str, alter: impl Fn(&mut Value)) {
    let to = run.with_file_name(name);
    std::fs::create_dir(&to).unwrap();
    std::fs::copy(run.join("histograms.hlog"), to.join("histograms.hlog")).unwrap();
    let mut report: Value = serde_json::from_slice(&std::fs::read(run.join("report.json")).unwrap()).unwrap();
    alter(&mut report);
    std::fs::write(to.join("report.json"), report.to_string()).unwrap();
}

/// Intervals of forty tasks, each this long in the lock, more or less.
fn series(nanos: impl Fn(u64) -> f64) -> Value {
    let interval = |n: u64| {
        let in_lock = (40.0 * nanos(n)) as u64;
        json!({"done": 40, "response": in_lock * 8, "lock_wait": in_lock * 7, "in_lock": in_lock})
    };
    (0..30).map(interval).collect()
}

fn steady(level: f64) -> impl Fn(u64) -> f64 {
    move |n| level * (1.0 + (n as f64 * 2.4).sin() / 100.0)
}

#[tokio::test]
async fn runs_are_compared_and_what_cannot_be_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path();
    std::fs::write(at.join("small.toml"), SMALL).unwrap();
    let quick = ["--warm-up", "0s", "--duration", "2500ms", "--workers", "1", "--output", "run"];
    let ran = call(at, &[&["bench", "small.toml", "--backend", "sqlite"], &quick[..]].concat()).await;
    assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);

    let with = |name: &str, series: Value| {
        altered(&at.join("run"), name, |report| {
            report["recording"]["series"] = series.clone();
            report["doubts"] = json!([]);
            // Whatever else this machine does meanwhile is not what is tested here.
            report["generator"]["others"] = json!(0.02);
        });
    };
    with("base", series(steady(1e6)));
    with("same", series(steady(1.001e6)));
    with("slow", series(steady(1.2e6)));
    with("wild", series(|n| 1e6 * (1.0 + (n * n % 13) as f64) / 6.4));

    let fine = call(at, &["compare", "base", "same", "--output", "fine"]).await.ends_with(0);
    assert!(fine.out.contains("pass: nothing is worse by 5 %"), "{}", fine.out);
    assert_eq!(call(at, &["report", "fine"]).await.ends_with(0).out, fine.out);
    let slow = call(at, &["compare", "base", "slow", "--output", "worse"]).await.ends_with(5);
    assert!(slow.out.contains("worse by 19.") || slow.out.contains("worse by 20."), "{}", slow.out);
    assert_eq!(call(at, &["report", "worse", "--html", "worse.html"]).await.ends_with(5).out, slow.out);
    let page = std::fs::read_to_string(at.join("worse.html")).unwrap();
    assert!(page.contains("How much worse the new version is") && page.contains("threshold 5 %"), "{page}");
    call(at, &["report", "worse", "--html", "nowhere/worse.html"]).await.ends_with(4);
    let better = call(at, &["compare", "slow", "base"]).await.ends_with(0);
    assert!(better.out.contains("better by 16.") && !better.out.contains("worse by -"), "{}", better.out);
    call(at, &["compare", "base", "slow", "--threshold", "30"]).await.ends_with(0);
    let noise = call(at, &["compare", "base", "wild"]).await.ends_with(3);
    assert!(noise.out.contains("rounds a side would tell"), "{}", noise.out);

    with("slower", series(steady(1.1e6)));
    let slower = call(at, &["compare", "base", "slower"]).await.ends_with(3);
    assert!(slower.out.contains("only what is worse by more than 15 % is called a regression"), "{}", slower.out);

    altered(&at.join("base"), "doubted", |report| report["doubts"] = json!(["the generator was the bottleneck"]));
    let doubted = call(at, &["compare", "base", "doubted"]).await.ends_with(3);
    assert!(doubted.out.contains("new, round 1: the generator was"), "{}", doubted.out);

    altered(&at.join("base"), "other", |report| report["setting"]["load"]["workers"] = json!(2));
    let other = call(at, &["compare", "base", "other"]).await.ends_with(2);
    assert!(other.err.contains("workers: 1 and 2"), "{}", other.err);
    altered(&at.join("base"), "short", |report| report["recording"]["series"] = json!([]));
    call(at, &["compare", "base", "short"]).await.ends_with(2);
    one_run_a_side_on_a_disturbed_machine_is_no_answer(at).await;
    failures_are_judged(at).await;
    what_may_be_compared_may_not_all_be_merged(at).await;
    call(at, &["compare", "base", "nowhere"]).await.ends_with(2);
    call(at, &["compare", "base"]).await.ends_with(2);
    let help = call(at, &["compare", "--help"]).await.ends_with(0).out;
    for said in ["One run a side", "one more of a hundred arrivals"] {
        assert!(help.split_whitespace().collect::<Vec<_>>().join(" ").contains(said), "{help}");
    }
    call(at, &["report", "base"]).await;
}

/// What was calibrated beside each run says that the machine was another one, or that others used it.
async fn one_run_a_side_on_a_disturbed_machine_is_no_answer(at: &Path) {
    let beside = |from: &str, name: &str, others: f64, flush: f64| {
        altered(&at.join(from), name, |report| {
            report["generator"]["others"] = json!(others);
            report["calibration"] = json!({
                "server": {"round_trip": 1e5, "flush": flush, "hand_off": 1e5},
                "service_alone": flush * 8.0, "in_lock_alone": flush * 4.0
            });
        });
    };
    beside("base", "quiet", 0.02, 1e6);
    for (name, others, flush, code, words) in [
        ("alike", 0.02, 1e6, 5, "a flush 1.000 and 1.000 ms"),
        ("used", 0.66, 1e6, 3, "others took 2 % of the processors beside base and 66 % beside new"),
        ("flushes", 0.02, 1.35e6, 3, "the server's own times are 35 % apart"),
    ] {
        beside("slow", name, others, flush);
        let compared = call(at, &["compare", "quiet", name]).await.ends_with(code);
        assert!(compared.out.contains(words), "{name}: {}", compared.out);
    }
}

/// A run of failures is doubted, and is a regression all the same; unless the generator is doubted as well.
async fn failures_are_judged(at: &Path) {
    let failing = |name: &str, late: f64| {
        altered(&at.join("base"), name, |report| {
            let workers = report["recording"]["workers"].as_array().unwrap();
            let tasks: u64 = workers.iter().map(|worker| worker["tasks"].as_u64().unwrap()).sum();
            report["recording"]["failed"] = json!(tasks / 5);
            report["doubts"] = json!(["a fifth of the tasks were given up"]);
            report["generator"]["late_mean"] = json!(late);
            report["generator"]["clock_step"] = json!(0);
        });
    };
    altered(&at.join("base"), "sound", |report| {
        report["generator"]["late_mean"] = json!(0.0);
        report["generator"]["clock_step"] = json!(0);
    });
    failing("failing", 0.0);
    failing("late", 1e12);
    let failed = call(at, &["compare", "sound", "failing"]).await.ends_with(5);
    assert!(failed.out.contains("arrivals not done") && failed.out.contains("points"), "{}", failed.out);
    call(at, &["compare", "sound", "late"]).await.ends_with(3);
    call(at, &["compare", "failing", "failing"]).await.ends_with(3);
}

async fn what_may_be_compared_may_not_all_be_merged(at: &Path) {
    let other = |name: &str, alter: fn(&mut Value)| {
        altered(&at.join("base"), name, |report| {
            report["seeds"] = json!([2]);
            alter(report);
        });
    };
    other("seed", |_| {});
    other("lock", |report| report["setting"]["strategy"] = json!("advisory"));
    other("tries", |report| report["setting"]["max_attempts"] = json!(2));
    other("plan", |report| report["setting"]["load"]["drain"] = json!({"secs": 1, "nanos": 0}));
    other("several", |report| report["seeds"] = json!([2, 3]));
    for run in ["seed", "lock"] {
        call(at, &["compare", "base", run]).await.ends_with(0);
    }
    for (run, why) in [("tries", "tries: "), ("plan", "drain: "), ("several", "generators: 1 and 2")] {
        let refused = call(at, &["compare", "base", run]).await.ends_with(2);
        assert!(refused.err.contains(why), "{run}: {}", refused.err);
    }
    let merged = call(at, &["merge", "base", "seed"]).await;
    assert!(matches!(merged.code, Some(0 | 3)), "{}{}", merged.out, merged.err);
    for (run, why) in [("lock", "locks: "), ("tries", "tries: "), ("plan", "drain: ")] {
        let refused = call(at, &["merge", "base", run]).await.ends_with(2);
        assert!(refused.err.contains(why), "{run}: {}", refused.err);
    }
}

#[tokio::test]
async fn commands_take_turns_and_a_failing_one_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path();
    std::fs::write(at.join("small.toml"), SMALL).unwrap();
    let quick = ["--warm-up", "0s", "--duration", "2s", "--workers", "1", "--output", "run"];
    call(at, &[&["bench", "small.toml", "--backend", "sqlite"], &quick[..]].concat()).await;
    for (name, level) in [("base", 1e6), ("slow", 1.2e6)] {
        altered(&at.join("run"), name, |report| {
            report["recording"]["series"] = series(steady(level));
            report["doubts"] = json!([]);
        });
    }
    altered(&at.join("base"), "other", |report| report["setting"]["load"]["workers"] = json!(2));
    let again = "echo \"$1\" >> order; mkdir -p \"$3\"; cp -r \"$1/.\" \"$3\"\n";
    std::fs::write(at.join("again.sh"), again).unwrap();
    let turns = ["compare", "--rounds", "3", "--output", "out", "--run-base", "sh again.sh base", "--run-new"];
    let slow = call(at, &[&turns[..], &["sh again.sh slow"]].concat()).await.ends_with(5);
    assert!(slow.out.contains("3 runs"), "{}", slow.out);
    let order = std::fs::read_to_string(at.join("order")).unwrap();
    assert_eq!(order.split_whitespace().collect::<Vec<_>>(), ["base", "slow", "slow", "base", "base", "slow"]);
    let failed = call(at, &[&turns[..], &["sh -c 'echo out of luck >&2; exit 7' --"]].concat()).await.ends_with(4);
    assert!(failed.err.contains("out of luck"), "{}", failed.err);

    // What an earlier run left is not taken for that of a command that leaves nothing.
    let nothing = call(at, &[&turns[..], &["true"]].concat()).await.ends_with(4);
    assert!(nothing.err.contains("`true` came to nothing"), "{}", nothing.err);
    assert!(!at.join("out/report.json").exists(), "an earlier comparison is left");

    // Runs that cannot be compared are refused after the first pair.
    std::fs::remove_file(at.join("order")).unwrap();
    let other = call(at, &[&turns[..], &["sh again.sh other"]].concat()).await.ends_with(2);
    assert!(other.err.contains("workers: 1 and 2"), "{}", other.err);
    assert_eq!(std::fs::read_to_string(at.join("order")).unwrap().split_whitespace().count(), 2);
}

#[tokio::test]
async fn a_command_does_not_outlive_its_comparison_and_hears_of_ctrl_c() {
    for (signal, cleans_up) in [(Signal::SIGINT, true), (Signal::SIGKILL, false)] {
        let place = tempfile::tempdir().unwrap();
        let at = place.path();
        let run = "trap 'touch cleaned; exit 1' INT; sleep 1000 & echo $$ $! > draft; mv draft pids; wait; true";
        let mut comparison = program(at, &["compare", "--output", "out", "--run-base", run, "--run-new", run]);
        // A group of its own, so that the signal is for the comparison alone.
        let mut comparison = comparison.process_group(0).kill_on_drop(true).spawn().unwrap();
        assert!(comes(Duration::from_secs(60), || at.join("pids").exists()).await, "the command never ran");
        let pids = std::fs::read_to_string(at.join("pids")).unwrap();
        let pids: Vec<i32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        kill(Pid::from_raw(comparison.id().unwrap().try_into().unwrap()), signal).unwrap();
        // One that has ended and was not waited for yet has no command line any more.
        let is_alive = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        let gone = comes(Duration::from_secs(5), || !pids.iter().any(is_alive)).await;
        for pid in pids.into_iter().filter(is_alive) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        assert!(gone, "{signal}");
        assert_eq!(at.join("cleaned").exists(), cleans_up, "{signal}");
        comparison.wait().await.unwrap();
    }
}
