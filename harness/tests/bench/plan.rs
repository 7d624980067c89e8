use serde_json::Value;

use crate::{SMALL, call};

#[tokio::test]
async fn a_plan_answers_in_numbers_and_is_printed_again() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path();
    std::fs::write(at.join("small.toml"), SMALL).unwrap();
    let quick = ["--workers", "6", "--warm-up", "50ms", "--duration", "250ms", "--passes", "3"];
    // An open loop that is overloaded is drained for as long as the objective allows: the shorter, the sooner.
    let slo = ["plan", "small.toml", "--backend", "sqlite", "--slo", "p90<500ms", "--seed", "3", "--output", "plan"];
    let ran = call(at, &[&slo[..], &quick].concat()).await;
    assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("highest closed loop: ") && ran.out.contains("p90<500ms"), "{}", ran.out);
    let again = call(at, &["report", "plan", "--html", "plan.html"]).await;
    let page = std::fs::read_to_string(at.join("plan.html")).unwrap();
    assert!(page.contains("Throughput over workers") && page.contains("p90&lt;500ms"), "{page}");
    assert_eq!((again.out, again.code), (ran.out, ran.code));
    let report: Value = serde_json::from_slice(&std::fs::read(at.join("plan/report.json")).unwrap()).unwrap();
    let closed = report["plan"]["closed"].as_array().unwrap();
    assert_eq!(closed.iter().map(|point| point["workers"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 6]);
    assert!(report["plan"]["kept"].as_f64().unwrap() > 0.0);
    assert_eq!(report["locks"].as_array().unwrap().len(), 1);

    let few = call(at, &["plan", "small.toml", "--slo", "p99<1s", "--workers", "5"]).await.ends_with(2);
    assert!(few.err.contains("at least 6"), "{}", few.err);
    let none = call(at, &["plan", "small.toml", "--slo", "fast"]).await.ends_with(2);
    assert!(none.err.contains("no objective"), "{}", none.err);
}
