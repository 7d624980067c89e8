//! Pages need nothing else, and nothing in them is taken for markup.

use super::bars::Bars;
use super::chart::{Axis, Chart, Look, Mark, Series};
use super::page;

fn chart() -> Chart {
    Chart {
        title: "<b>title</b>".to_owned(),
        caption: "caption".to_owned(),
        x: Axis::even("workers"),
        y: Axis::log("time, ms"),
        series: vec![
            Series { name: "seen".to_owned(), look: Look::Dots, points: vec![(1.0, 2.0), (2.0, f64::NAN)] },
            Series { name: "said".to_owned(), look: Look::Dashed, points: vec![(1.0, 2.0), (2.0, 300.0)] },
            Series { name: "sure".to_owned(), look: Look::Band, points: vec![(1.0, 3.0), (2.0, 400.0), (2.0, 200.0)] },
        ],
        marks: vec![Mark { label: "limit".to_owned(), from: 100.0, to: 100.0, vertical: false }],
    }
}

#[test]
fn a_page_needs_no_network_and_escapes_what_it_is_told() {
    let bars = Bars {
        title: "bars".to_owned(),
        caption: "caption".to_owned(),
        unit: "ms".to_owned(),
        parts: vec!["a".to_owned(), "b".to_owned()],
        rows: (0..40).map(|n| (format!("key {n}"), vec![f64::from(n), 1.0])).collect(),
    };
    let page = page("<script>", "pass", &[chart().render(), bars.render()], b"a < b");
    for outside in ["http:", "https:", "src=", "href=", "url(", "<script", "@import", "<b>"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for word in [
        "workers",
        "time, ms",
        "seen",
        "said",
        "sure",
        "<polygon",
        "limit",
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
    let page = page("nothing", "", &[empty.render()], b"");
    assert!(page.contains("<svg") && !page.contains("NaN"));
}
