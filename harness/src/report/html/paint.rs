//! What tells one series of a chart from another: a colour and, for who cannot tell the colours, a dash or a shape.

use maud::{Markup, PreEscaped, html};

/// The colours of series on a light page and on a dark one. No two that share a dash are close to each other, nor any
/// two of the first four, also for who is blind to red, green or blue.
const COLOURS: [(&str, &str); 8] = [
    ("#1e8cec", "#108f9c"),
    ("#f9460d", "#f0ca1f"),
    ("#174f47", "#64fdf6"),
    ("#650f81", "#bf4af0"),
    ("#584a1d", "#f28648"),
    ("#4b52ed", "#8b8edb"),
    ("#19a21b", "#b3df83"),
    ("#e65891", "#e83f65"),
];
/// How lines are broken.
const DASHES: [&str; 4] = ["none", "7 3", "2 2.5", "9 3 2 3"];
/// How many shapes dots have.
const SHAPES: usize = 5;

/// The look of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    hue: usize,
    pattern: usize,
}

impl Paint {
    /// The look of the n-th series; up to 32 lines all look different, and up to 40 kinds of dots.
    pub fn nth(index: usize) -> Self {
        Self { hue: index % COLOURS.len(), pattern: index + index / COLOURS.len() }
    }

    /// The same colour with another dash or shape.
    pub fn varied(self, pattern: usize) -> Self {
        Self { pattern, ..self }
    }

    /// The colour, as a style's value.
    pub fn colour(self) -> String {
        format!("var(--c{})", self.hue)
    }

    /// The dash of a line.
    pub fn dash(self) -> &'static str {
        DASHES[self.pattern % DASHES.len()]
    }

    /// A dot in the series' shape.
    pub fn dot(self, across: f64, up: f64) -> Markup {
        let corners = |corners: &[(f64, f64)]| -> String {
            let place = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", across + x, up + y);
            corners.iter().map(place).collect::<Vec<_>>().join(" ")
        };
        let colour = self.colour();
        html! {
            @match self.pattern % SHAPES {
                0 => { circle cx=(across) cy=(up) r="3.5" fill=(colour) {} }
                1 => { rect x=(across - 3.2) y=(up - 3.2) width="6.4" height="6.4" fill=(colour) {} }
                2 => { polygon points=(corners(&[(0.0, -4.6), (4.4, 3.2), (-4.4, 3.2)])) fill=(colour) {} }
                3 => { polygon points=(corners(&[(0.0, -4.8), (4.8, 0.0), (0.0, 4.8), (-4.8, 0.0)])) fill=(colour) {} }
                _ => { circle cx=(across) cy=(up) r="3.2" fill="var(--back)" stroke=(colour) stroke-width="2" {} }
            }
        }
    }
}

/// The colours as values of a page's style, for light pages and for dark ones.
pub fn style() -> Markup {
    let values = |of: fn(&(&'static str, &'static str)) -> &'static str| -> String {
        COLOURS.iter().enumerate().map(|(index, colours)| format!("--c{index}: {}; ", of(colours))).collect()
    };
    let (light, dark) = (values(|colours| colours.0), values(|colours| colours.1));
    PreEscaped(format!(":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Matrix = [[f64; 3]; 3];

    /// What full sight and the three blindnesses make of light (Machado, Oliveira and Fernandes, 2009).
    const SIGHTS: [Matrix; 4] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    ];
    /// From sRGB's light to CIE XYZ, by the white of daylight.
    const XYZ: Matrix = [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]];

    fn times(matrix: &Matrix, vector: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
    }

    fn light(colour: &str) -> [f64; 3] {
        [1, 3, 5].map(|at| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        })
    }

    /// How far apart two colours look: a distance of 2.3 can just be noticed.
    fn distance(a: &str, b: &str, sight: &Matrix) -> f64 {
        let seen = |colour: &str| {
            let light = times(sight, light(colour)).map(|part| part.clamp(0.0, 1.0));
            let [x, y, z] = times(&XYZ, light).map(|t| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 });
            [116.0 * y, 500.0 * (x - y), 200.0 * (y - z)]
        };
        seen(a).iter().zip(seen(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    fn pairs() -> impl Iterator<Item = (usize, usize)> {
        (0..COLOURS.len()).flat_map(|a| (a + 1..COLOURS.len()).map(move |b| (a, b)))
    }

    #[test]
    fn who_is_blind_to_a_colour_can_tell_series_that_share_a_dash() {
        for ((a, b), sight) in pairs().flat_map(|pair| SIGHTS.iter().map(move |sight| (pair, sight))) {
            let share_a_dash = Paint::nth(a).dash() == Paint::nth(b).dash();
            let is_full_sight = sight == &SIGHTS[0];
            let least = if share_a_dash || b < 4 || is_full_sight { 25.0 } else { 5.0 };
            let themes = [(COLOURS[a].0, COLOURS[b].0), (COLOURS[a].1, COLOURS[b].1)];
            for (one, other) in themes {
                let apart = distance(one, other, sight);
                assert!(apart > least, "{one} and {other} are {apart} apart");
            }
        }
    }

    #[test]
    fn colours_stand_out_from_light_and_dark_pages() {
        let brightness = |colour: &str| times(&[[0.2126, 0.7152, 0.0722]; 3], light(colour))[0] + 0.05;
        for (on_light, on_dark) in COLOURS {
            assert!(brightness("#ffffff") / brightness(on_light) > 3.0, "{on_light}");
            assert!(brightness(on_dark) / brightness("#17171a") > 3.0, "{on_dark}");
        }
    }

    #[test]
    fn many_series_all_look_different() {
        let paints: Vec<Paint> = (0..32).map(Paint::nth).collect();
        for (index, paint) in paints.iter().enumerate() {
            for other in &paints[..index] {
                assert!(paint.hue != other.hue || paint.dash() != other.dash());
                assert!(paint.hue != other.hue || paint.pattern % SHAPES != other.pattern % SHAPES);
            }
        }
    }
}
