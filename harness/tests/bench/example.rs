//! The same as one call of the library's.

use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};

#[path = "../../examples/bench_engine.rs"]
#[expect(dead_code, reason = "its main function is the example's")]
mod bench_engine;

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_put_on_the_engine_by_one_call_and_every_task_is_counted() {
    let benched =
        bench_engine::benched(Backend::Sqlite, LockStrategy::Immediate, Duration::from_secs(1)).await.unwrap();
    let recording = &benched.driven.recording;
    assert!(recording.tasks() > 0 && recording.throughput() > 0.0, "{recording:?}");
    assert_eq!((recording.failed, benched.setting.scenario.as_str()), (0, "same-run"));
    assert!(benched.calibration.is_some());
}
