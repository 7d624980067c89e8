//! Pages need nothing else, and nothing in them is taken for markup; what is drawn can be told apart.

use maud::html;

use super::bars::{Bars, LeftOut};
use super::chart::{Chart, Look, Mark, Series, sample};
use super::paint::Paint;
use super::scale::Axis;
use super::{bench, compare, page};
use crate::capacity::compare::failures::Failures;
use crate::capacity::compare::{Compared, Comparison, Finding, Metric};
use crate::capacity::floor::Floor;
use crate::capacity::phase::Phase;
use crate::capacity::recording::{Recording, Share, histogram};
use crate::report::compare::CompareReport;

fn chart() -> Chart {
    let bars = vec![[(1.0, 1.0), (1.0, 5.0)], [(1.0, 2.0), (f64::INFINITY, 2.0)]];
    let dots = Series::new("seen", Look::Dots, Paint::nth(0), vec![(1.0, 2.0), (2.0, f64::NAN)]);
    let line = vec![(1.0, 2.0), (2.0, 300.0)];
    let band = vec![(1.0, 3.0), (2.0, 400.0), (2.0, f64::INFINITY), (2.0, 200.0)];
    Chart {
        title: "<b>title</b>".to_owned(),
        caption: "caption".to_owned(),
        x: Axis::even("workers"),
        y: Axis::log("time, ms"),
        series: vec![
            Series { bars, ..dots },
            Series::new("said", Look::Line, Paint::nth(1), line),
            Series::new("sure", Look::Band, Paint::nth(1), band),
        ],
        marks: vec![Mark::level("limit".to_owned(), 100.0), Mark::upright("knee".to_owned(), 2.0)],
    }
}

fn bars(rows: u32, left_out: LeftOut) -> Bars {
    Bars {
        title: "bars".to_owned(),
        caption: "caption".to_owned(),
        axis: "time, ms".to_owned(),
        unit: "ms".to_owned(),
        parts: vec!["a".to_owned(), "b".to_owned()],
        rows: (0..rows).map(|n| (format!("key {n}."), vec![f64::from(n), 1.0])).collect(),
        left_out,
        dots: Vec::new(),
    }
}

/// Fails if two series of a chart cannot be told apart by what its legend shows.
pub(super) fn assert_all_look_different(chart: &Chart) {
    let looks: Vec<String> = chart.series.iter().map(|series| sample(series).into_string()).collect();
    for (index, look) in looks.iter().enumerate() {
        let other = looks[..index].iter().position(|other| other == look);
        let names = other.map(|other| (&chart.series[other].name, &chart.series[index].name));
        assert_eq!(names, None, "in {}", chart.title);
    }
}

#[test]
fn a_page_needs_no_network_and_escapes_what_it_is_told() {
    let charts = [chart().render(), bars(40, LeftOut::Last).render()];
    let page = page("<script>", "pass", &charts, b"a < b", &html! {});
    for outside in ["http:", "https:", "src=", "url(", "@import", "<b>"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // What there is to be had is in the page.
    assert_eq!(page.matches(" href=").count(), 2);
    assert_eq!(page.matches(" href=\"data:text/csv;charset=utf-8;base64,").count(), 2);
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    for word in [
        "workers",
        "time, ms",
        "seen",
        "said",
        "sure",
        "<polygon",
        "limit",
        "knee",
        "a &lt; b",
        "8 more are not shown",
        "prefers-color-scheme",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "a place is a number");
}

#[test]
fn a_chart_of_nothing_is_a_chart() {
    let empty = Chart { series: Vec::new(), marks: Vec::new(), ..chart() };
    let page = page("nothing", "", &[empty.render(), bars(0, LeftOut::Middle).render()], b"", &html! {});
    assert!(page.contains("<svg") && !page.contains("NaN"));
}

#[test]
fn no_two_phases_look_the_same() {
    let mut recording = Recording::empty();
    for phase in Phase::ALL {
        let mut times = histogram();
        times.record(1_000_000).unwrap();
        recording.histograms.insert(phase, times);
    }
    let chart = bench::percentiles(&recording);
    assert_eq!(chart.series.len(), Phase::ALL.len());
    assert_all_look_different(&chart);
    assert_all_look_different(&self::chart());
}

#[test]
fn bars_have_an_axis_with_ticks_and_a_unit() {
    let drawn = bars(10, LeftOut::Last).render().into_string();
    for tick in [">0<", ">2<", ">4<", ">6<", ">8<", ">10<", ">time, ms<"] {
        assert!(drawn.contains(tick), "{tick}");
    }
}

#[test]
fn a_name_that_is_too_long_for_its_row_is_cut_off_and_not_drawn_outside() {
    let rows = vec![("the-longest-name-of-all".to_owned(), vec![1.0])];
    let drawn = Bars { rows, ..bars(0, LeftOut::Last) }.render().into_string();
    assert!(drawn.contains(">the-longest-n…<"), "{drawn}");
}

#[test]
fn marks_that_lie_close_together_have_their_words_at_different_ends() {
    let marks = ["one", "another"].map(|label| Mark::level(label.to_owned(), 100.0)).into();
    let drawn = Chart { marks, ..chart() }.render().into_string();
    assert!(drawn.contains(r#"text-anchor="start">one<"#) && drawn.contains(r#"text-anchor="end">another<"#));
}

#[test]
fn a_worker_that_starves_among_many_is_shown_first_and_the_best_served_last() {
    let mut recording = Recording::empty();
    recording.workers = (0..64).map(|n| Share { tasks: 500 + n, ..Share::default() }).collect();
    recording.workers[41].tasks = 3;
    let fairness = bench::workers(&recording);
    let ends = [&fairness.rows[0], &fairness.rows[63]].map(|row| (row.0.as_str(), row.1[0]));
    assert_eq!(ends, [("worker 41", 3.0), ("worker 63", 563.0)]);
    let drawn = fairness.render().into_string();
    for shown in ["worker 41", "worker 63", "32 more in between", "32 more are not shown"] {
        assert!(drawn.contains(shown), "{shown}");
    }
    assert!(!drawn.contains("worker 30"), "it is neither among the worst served nor among the best");
}

fn compared(low: f64, change: f64, high: f64) -> Compared {
    let finding = if low > 0.05 { Finding::Regression } else { Finding::Inconclusive };
    let (base, new) = (1e6, 1e6 * (1.0 + change));
    let runs = [vec![base], vec![new * 0.9, new * 1.1]];
    Compared { metric: Metric::InLock, runs, base, new, change, low, high, p: 0.001, finding, rounds_needed: None }
}

#[test]
fn before_and_after_have_each_a_colour_and_a_name() {
    let sides = ["0.1.0 release".to_owned(), "0.2.0 release".to_owned()];
    let drawn = compare::before_and_after(&compared(0.1, 0.2, 0.3), &sides).render().into_string();
    assert_eq!(drawn.matches("<circle class=\"run\"").count(), 3, "a dot for each run");
    for shown in ["before: 0.1.0 release", "after: 0.2.0 release", "var(--c0)", "var(--c1)", ">1 ms<", ">1.20 ms<"] {
        assert!(drawn.contains(shown), "{shown} in {drawn}");
    }
}

#[test]
fn the_interval_of_a_change_is_drawn_beside_the_threshold_however_wide_it_is() {
    for metric in [compared(0.1, 0.2, 0.3), compared(-1e3, 0.2, 1e300)] {
        let failures =
            Failures { base: 0.0, new: 0.1, change: 0.1, low: 0.05, high: 0.15, p: 0.0, finding: Finding::Fine };
        let report = CompareReport::new(&[], &[], Comparison { metrics: vec![metric], failures }, 0.05);
        let page = compare::page(&report);
        assert!(page.contains("arrivals that failed") && page.contains("worse by 10.0 points"), "{page}");
        let drawn = compare::forest(&report).into_string();
        for shown in ["threshold 5 %", "time in the lock", "+20.0 %", "worse by, per cent"] {
            assert!(drawn.contains(shown), "{shown} in {drawn}");
        }
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
}

#[test]
fn with_one_run_a_side_the_line_of_a_regression_is_drawn_where_one_begins() {
    let failures = Failures { base: 0.0, new: 0.0, change: 0.0, low: 0.0, high: 0.0, p: 1.0, finding: Finding::Fine };
    let compared = Comparison { metrics: vec![compared(0.0, 0.1, 0.2)], failures };
    let report = CompareReport { rounds: [1, 1], ..CompareReport::new(&[], &[], compared, 0.05) };
    let lone = compare::forest(&report).into_string();
    for shown in ["threshold 5 %", "regression 15 %", "worse by more than 15 %"] {
        assert!(lone.contains(shown), "{shown} in {lone}");
    }
    let many = compare::forest(&CompareReport { rounds: [5, 5], ..report }).into_string();
    assert!(many.contains("threshold 5 %") && !many.contains("regression 15 %"), "{many}");
}

#[test]
fn the_parts_of_the_engines_time_add_up_to_it_whatever_chance_made_of_them() {
    let floor = |database, operations, engine| Floor { statements: 5, database, operations, engine };
    for of in [floor(4.0, 6.0, 10.0), floor(9.0, 7.0, 10.0), floor(11.0, 12.0, 10.0), floor(5.0, 12.0, 10.0)] {
        let parts = bench::engine_parts(&of);
        assert!((parts.iter().sum::<f64>() - 10.0).abs() < 1e-9 && parts.iter().all(|part| *part >= 0.0), "{parts:?}");
    }
    assert_eq!(bench::engine_parts(&floor(4.0, 6.0, 10.0)), [4.0, 2.0, 4.0]);
}
