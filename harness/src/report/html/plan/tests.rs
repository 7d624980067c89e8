//! The charts of a plan show all that is known of it, and no more.

use serde_json::json;

use super::*;
use crate::report::html::tests::assert_all_look_different;

/// A plan of three closed loops and three open ones, as it is written.
fn report() -> PlanReport {
    let seconds = |secs: u64| json!({ "secs": secs, "nanos": 0 });
    let closed = |workers: u32, rate: f64| {
        let (response, longest, fairness) = (2e6, 9_000_000, 1.0);
        json!({ "workers": workers, "rate": rate, "error": 0.02,
                "response": response, "longest": longest, "fairness": fairness })
    };
    let open = |rate: f64, longest: u64, met: bool, tasks: u64| {
        let done = if met { 490.0 } else { 1_000.0 };
        let quantiles = [1_000_000, 5_000_000, 9_000_000, 9_500_000];
        json!({ "rate": rate, "mean": 2e6, "quantiles": quantiles, "longest": longest, "met": met, "tasks": tasks,
                "done": done })
    };
    let said = |response: f64, high: f64| json!({ "response": response, "between": [response / 2.0, high] });
    let seen = |high: f64| json!({ "prediction": said(2e6, high), "measured": 2.1e6, "error": 0.05 });
    let foreseen = |rate: f64, high: f64| json!({ "rate": rate, "mean": said(2e6, high), "p99": said(9e6, high) });
    let report = json!({
        "schema_version": crate::outcome::SCHEMA_VERSION, "command": "plan", "verdict": "pass", "slo": "p99<250ms",
        "limits": [["p99<250ms", 250.0]], "calibration": null, "locks": [], "replay": "driftlock plan many-customers",
        "setting": {
            "scenario": "many-customers", "work": "engine", "backend": "postgres", "strategy": "row-no-key",
            "max_attempts": 10, "data": "",
            "load": {
                "arrivals": "closed", "workers": 4, "pool": null, "keys": "one", "key_count": 1,
                "round_trip_added": seconds(0), "warm_up": seconds(1), "duration": seconds(3), "drain": seconds(2),
                "seed": 1
            }
        },
        "surroundings": { "version": "", "provisioned": "", "profile": "", "machine": "", "program": "" },
        "plan": {
            "closed": [closed(1, 500.0), closed(3, 950.0), closed(4, 1_000.0)],
            "open": [open(500.0, 9_000_000, true, 1_500), open(1_500.0, 1_500_000_000, false, 4_500),
                     open(3_000.0, 2_500_000_000, false, 6_000)],
            "kept": 900.0, "broken": 950.0,
            "candidates": [{
                "name": "universal scalability law", "refused": null, "error": 0.05,
                "checked": [{ "at": 3.0, "predicted": 900.0, "measured": 950.0 }]
            }],
            "rates_foreseen": [{ "workers": 1, "rate": 500.0, "between": [450.0, 560.0] },
                               { "workers": 4, "rate": 990.0, "between": [900.0, 1_100.0] }],
            "usl": { "lambda": 500.0, "sigma": 0.3, "kappa": 0.05 },
            "queues": { "lock": 1e-3, "machine": 1e-3, "rest": 1e-9, "spread": 0.1 },
            "limit": [950.0, 1_000.0, 1_050.0], "enough_workers": 3, "mean_models": [], "p99_models": [],
            "foreseen": [foreseen(500.0, 9e6), foreseen(900.0, 1e18)],
            "responses": [{ "rate": 700.0, "mean": seen(3e6), "p99": seen(1e18) }],
            "hottest": null, "doubts": [], "others": null
        }
    });
    serde_json::from_value(report).expect("it is a report")
}

fn marks(chart: &Chart) -> Vec<&str> {
    chart.marks.iter().map(|mark| mark.label.as_str()).collect()
}

#[test]
fn no_two_series_of_a_chart_look_the_same() {
    let charts = charts(&report());
    assert_eq!(charts.len(), 4);
    charts.iter().for_each(assert_all_look_different);
    let page = page(&report());
    assert!(!page.contains("NaN") && !page.contains("inf"), "a place is a number");
}

#[test]
fn the_objective_is_marked_where_only_one_side_of_it_is_known() {
    let mut report = report();
    for (kept, broken, label) in [
        (Some(900.0), Some(950.0), Some("objective kept up to 900/s")),
        (Some(900.0), None, Some("kept at 900/s, the most tried")),
        (None, Some(950.0), Some("not kept at 950/s, the least tried")),
        (None, None, None),
    ] {
        (report.plan.kept, report.plan.broken) = (kept, broken);
        assert_eq!(objective(&report.plan).map(|mark| mark.label).as_deref(), label);
        for chart in &charts(&report)[1..3] {
            assert!(label.is_none_or(|label| marks(chart).contains(&label)), "{:?}", marks(chart));
        }
    }
}

#[test]
fn closed_loops_show_the_number_of_workers_and_the_models_of_every_number() {
    let chart = workers(&report());
    assert!(marks(&chart).contains(&"3 workers are enough (97 %)"), "{:?}", marks(&chart));
    for name in ["queues", "universal scalability law (chosen)"] {
        let law = chart.series.iter().find(|series| series.name == name).expect("it is drawn");
        assert_eq!(law.points.iter().map(|point| point.0).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0]);
    }
    assert_eq!(chart.series[1].points, [(3.0, 950.0)]);
    let band = chart.series.iter().find(|series| series.name.starts_with("by the chosen one")).expect("it is drawn");
    assert_eq!(band.points, [(1.0, 560.0), (4.0, 1_100.0), (4.0, 900.0), (1.0, 450.0)]);
    assert!(chart.series[1].bars[0][0].1 < 950.0 && chart.series[1].bars[0][1].1 > 950.0);
}

/// On SQLite the queues were fitted to one lock for all keys, and are drawn so.
#[test]
fn a_file_has_one_queue_however_many_keys_there_are() {
    let mut report = report();
    report.setting.load.key_count = 12;
    report.setting.load.keys = crate::capacity::load::KeyChoice::Zipf(1.1);
    let last = |report: &PlanReport| {
        let chart = workers(report);
        chart.series.iter().find(|series| series.name == "queues").expect("it is drawn").points[3].1
    };
    let many = last(&report);
    report.setting.backend = drift_engine::lock::Backend::Sqlite;
    let one = report.plan.queues.closed_rate(&[1.0], 4);
    assert!((last(&report) - one).abs() < 1e-9 && many > one * 1.05, "{many} and {one}");
}

#[test]
fn what_is_done_is_shown_by_whether_the_objective_was_kept() {
    let charts = charts(&report());
    let points: Vec<_> = charts[1].series.iter().map(|series| series.points.clone()).collect();
    assert_eq!(points[0], [(500.0, 490.0)]);
    assert_eq!(points[1], [(1_500.0, 1_000.0), (3_000.0, 1_000.0)]);
}

#[test]
fn predictions_are_drawn_against_what_was_measured_with_bars_both_ways() {
    let charts = charts(&report());
    let series = &charts[3].series[0];
    assert_eq!(series.points, [(2.0, 2.1)]);
    assert_eq!(series.bars[1], [(1.0, 2.1), (3.0, 2.1)]);
    let [from, to] = series.bars[0];
    assert!(from.0 == 2.0 && to.0 == 2.0 && from.1 < 2.1 && to.1 > 2.1);
    assert!(charts[2].series.iter().any(|series| series.name.ends_with("what would be measured in 90 of 100 runs")));
}

#[test]
fn the_headline_says_the_rate_that_was_found_also_where_it_is_not_certain() {
    let mut report = report();
    (report.plan.kept, report.plan.doubts) = (Some(900.0), vec!["others were busy".to_owned()]);
    let shown = page(&report);
    let headline = "<p class=\"verdict\">kept up to 900.0 tasks a second; inconclusive: others were busy</p>";
    assert!(shown.contains(headline), "{shown}");
    assert!(shown.contains("Configuration and environment") && shown.contains(&report.setting.data));
    report.plan.kept = None;
    assert!(page(&report).contains("kept at no rate that was tried; inconclusive"));
}
