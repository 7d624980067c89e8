//! Axes, and the places of numbers along them.

use maud::{Markup, html};

/// How wide half a letter of a tick's text is.
const HALF_LETTER: f64 = 3.2;
/// How far texts may reach beyond the end of an axis, whatever chart it belongs to.
const BEYOND: f64 = 11.0;

/// How numbers lie along an axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// Whether tenfold is always the same distance.
    pub is_log: bool,
    /// Its ticks with what is written there; empty: round numbers.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis with round numbers, from 0.
    pub fn even(label: &str) -> Self {
        Self { label: label.to_owned(), is_log: false, ticks: Vec::new() }
    }

    /// An axis with powers of ten, and with 2 and 5 times them where they are few.
    pub fn log(label: &str) -> Self {
        Self { is_log: true, ..Self::even(label) }
    }
}

/// The place of numbers along an axis.
pub struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    ticks: Vec<(f64, String)>,
}

impl Scale {
    /// A scale for these values; those that are no numbers, or have no place on the axis, do not count.
    pub fn new(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let usable = values.filter(|value| value.is_finite() && (!axis.is_log || *value > 0.0));
        let (mut low, mut high) =
            usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        if axis.ticks.is_empty() || !axis.is_log {
            let ticks = if axis.is_log { round_factors(low, high) } else { round_steps(low.min(0.0), high.max(0.0)) };
            (low, high) = (ticks[0], ticks[ticks.len() - 1]);
            let ticks = ticks.into_iter().map(|at| (at, number(at))).collect();
            return Self { low, high, is_log: axis.is_log, from, to, ticks };
        }
        Self { low, high, is_log: axis.is_log, from, to, ticks: axis.ticks.clone() }
    }

    /// Where a number lies, if it lies between the ends.
    pub fn place(&self, value: f64) -> Option<f64> {
        let part = if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        (part.is_finite() && (-1e-9..=1.0 + 1e-9).contains(&part)).then_some(self.from + part * (self.to - self.from))
    }

    /// Where a number lies, or the end that is nearest to it.
    pub fn nearest(&self, value: f64) -> f64 {
        self.place(value.clamp(self.low, self.high)).unwrap_or(self.from)
    }

    /// Its ticks, each with its place and what is written there.
    pub fn ticks(&self) -> impl Iterator<Item = (f64, &str)> {
        self.ticks.iter().filter_map(|(value, text)| Some((round(self.place(*value)?), text.as_str())))
    }

    /// It as the lower edge of a chart that begins at `top`, with lines upwards where `is_grid`.
    pub fn across(&self, top: f64, bottom: f64, is_grid: bool) -> Markup {
        html! {
            @for (at, text) in self.ticks() {
                @if is_grid { line class="grid" x1=(at) x2=(at) y1=(top) y2=(bottom) {} }
                line class="axis" x1=(at) x2=(at) y1=(bottom) y2=(bottom + 4.0) {}
                // Beyond the last place there is no room for half a long number.
                @let is_long = at + text.chars().count() as f64 * HALF_LETTER > self.to + BEYOND;
                @let (place, anchor) = if is_long { (self.to + BEYOND, "end") } else { (at, "middle") };
                text class="faint" x=(place) y=(bottom + 16.0) text-anchor=(anchor) { (text) }
            }
            line class="axis" x1=(self.from) x2=(self.to) y1=(bottom) y2=(bottom) {}
        }
    }

    /// It as the left edge of a chart from `left` to `right`.
    pub fn upright(&self, left: f64, right: f64) -> Markup {
        html! {
            @for (at, text) in self.ticks() {
                line class="grid" x1=(left) x2=(right) y1=(at) y2=(at) {}
                text class="faint" x=(left - 5.0) y=(at + 4.0) text-anchor="end" { (text) }
            }
            line class="axis" x1=(left) x2=(left) y1=(self.to) y2=(self.from) {}
        }
    }
}

/// Some numbers with even steps between them, from at most `low` to at least `high`.
fn round_steps(low: f64, high: f64) -> Vec<f64> {
    let step = round_step((high - low).max(f64::MIN_POSITIVE) / 5.0);
    let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
    let count = (last - first).clamp(1.0, 20.0) as u32;
    (0..=count).map(|n| (first + f64::from(n)) * step).collect()
}

/// Powers of ten from at most `low` to at least `high`; of few of them also 2 and 5 times each.
fn round_factors(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=(high.log10() - 1e-9).ceil() as i32;
    let tens: Vec<f64> = powers.map(|power| 10_f64.powi(power)).collect();
    if tens.len() > 4 {
        return tens;
    }
    let all: Vec<f64> =
        tens.iter().chain(&[tens[tens.len() - 1] * 10.0]).flat_map(|ten| [*ten, ten * 2.0, ten * 5.0]).collect();
    let first = all.iter().rposition(|at| *at <= low * 1.000_001).unwrap_or(0);
    let last = all.iter().position(|at| *at >= high * 0.999_999).unwrap_or(all.len() - 1);
    all[first..=last.max(first + 1)].to_vec()
}

/// 1, 2 or 5 times a power of ten, at least as large.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= least * 0.999).unwrap_or(power)
}

/// A number with as many digits as an axis has room for.
pub fn number(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 1e4 => return format!("{:.0}k", value / 1e3),
        size if size >= 10.0 || size == 0.0 => return format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A place with as many digits as can be seen.
pub fn round(at: f64) -> f64 {
    (at * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(axis: &Axis, values: &[f64]) -> Vec<String> {
        let scale = Scale::new(axis, values.iter().copied(), 0.0, 100.0);
        scale.ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn axes_have_round_numbers_and_hold_every_point() {
        let (even, log) = (Axis::even("a"), Axis::log("a"));
        assert_eq!(written(&even, &[3.0, 47.0]), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(written(&even, &[-7.0, 12.0]), ["-10", "-5", "0", "5", "10", "15"]);
        assert_eq!(written(&log, &[0.04, 230.0, 0.0, f64::NAN]), ["0.01", "0.1", "1", "10", "100", "1000"]);
        assert_eq!(written(&log, &[2.3, 180.0]), ["2", "5", "10", "20", "50", "100", "200"]);
        let scale = Scale::new(&even, [3.0, 47.0].into_iter(), 0.0, 100.0);
        assert_eq!((scale.place(0.0), scale.place(50.0), scale.place(51.0)), (Some(0.0), Some(100.0), None));
        assert_eq!((scale.nearest(-3.0), scale.nearest(51.0)), (0.0, 100.0));
    }

    #[test]
    fn the_text_of_a_tick_near_the_end_is_not_cut_off() {
        let ticks = vec![(2.0, "50 %".to_owned()), (10_000.0, "99.99 %".to_owned())];
        let scale = Scale::new(&Axis { ticks, ..Axis::log("a") }, [1.0, 11_000.0].into_iter(), 50.0, 388.0);
        let drawn = scale.across(0.0, 100.0, false).into_string();
        assert!(drawn.contains(r#"x="399" y="116" text-anchor="end">99.99 %<"#), "{drawn}");
        assert!(drawn.contains(r#"text-anchor="middle">50 %<"#), "{drawn}");
    }

    #[test]
    fn an_axis_of_one_value_or_none_still_has_two_ends() {
        for axis in [Axis::even("a"), Axis::log("a")] {
            for values in [vec![], vec![5.0], vec![0.0], vec![f64::INFINITY], vec![1.0], vec![1e-3, 1e9]] {
                let scale = Scale::new(&axis, values.iter().copied(), 0.0, 1.0);
                assert!(scale.high > scale.low && scale.ticks.len() > 1, "{values:?}");
                assert!(values.iter().filter(|at| **at > 0.0 && at.is_finite()).all(|at| scale.place(*at).is_some()));
            }
        }
        assert!(Scale::new(&Axis::log("a"), [2.0].into_iter(), 0.0, 1.0).place(0.0).is_none());
    }
}
