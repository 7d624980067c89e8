//! Tasks each of which begins a run of its own.

use driftlock::capacity::recording::Recording;
use driftlock::report::bench::BenchReport;

use crate::{SMALL, call};

#[tokio::test]
async fn no_task_wants_the_run_of_one_that_was_measured_alone() {
    let at = tempfile::tempdir().unwrap();
    // Of several customers: a run that is another one's is refused, and one's own only not begun.
    let scenario = SMALL.replace("[tasks]", "[tasks]\nrun = \"fresh\"").replace("[data]", "[data]\ncustomers = 5");
    std::fs::write(at.path().join("fresh.toml"), scenario).unwrap();
    for backend in ["sqlite", "postgres"] {
        let bench =
            ["bench", "fresh.toml", "--backend", backend, "--workers", "2", "--keys", "uniform", "--output", backend];
        let ran = call(at.path(), &[&bench[..], &["--warm-up", "0s", "--duration", "700ms"]].concat()).await;
        assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
        let report = BenchReport::load(&at.path().join(backend)).unwrap();
        assert!(report.calibration.is_some(), "{}", ran.out);
        let Recording { failed, .. } = report.recording;
        assert!(report.recording.tasks() > 5 && failed == 0, "{}", ran.out);
    }
}
