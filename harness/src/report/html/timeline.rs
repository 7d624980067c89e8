//! Lanes over time, from left to right: who did what from when to when, and for whom it waited.

use maud::{Markup, html};

use super::scale::{Axis, Scale};

/// How high a lane is, in rem.
const LANE: f64 = 1.5;

/// Something that took time. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// In which lane.
    pub lane: usize,
    /// What kind of thing it is: a name of the style.
    pub class: &'static str,
    /// When it began.
    pub from: f64,
    /// When it ended.
    pub to: f64,
    /// What it is, in words.
    pub said: String,
    /// Where on the page it is written out.
    pub target: Option<String>,
    /// The lanes for which it waited.
    pub towards: Vec<usize>,
}

/// Lanes over time.
#[derive(Clone, Debug)]
pub struct Timeline<'a> {
    /// What is shown.
    pub title: &'a str,
    /// The lanes' names.
    pub lanes: Vec<String>,
    /// What lies in them; what comes later lies above.
    pub bars: Vec<Bar>,
    /// What the kinds mean.
    pub key: &'a [(&'static str, &'static str)],
    /// What else is to be said.
    pub caption: Markup,
}

impl Timeline<'_> {
    /// As a part of a page.
    pub fn render(&self) -> Markup {
        let scale = Scale::new(&Axis::even(""), self.bars.iter().map(|bar| bar.to), 0.0, 100.0);
        let height = self.lanes.len() as f64 * LANE;
        html! {
            figure class="timeline" {
                h3 { (self.title) }
                div class="controls script" role="group" aria-label="Zoom" {
                    button type="button" data-zoom="0.5" aria-label="Narrower" { "−" }
                    button type="button" data-zoom="2" aria-label="Wider" { "+" }
                    output aria-live="polite" class="faint small" {}
                }
                div class="over-time" {
                    div class="over-time-names" {
                        @for lane in &self.lanes { div title=(lane) { (lane) } }
                    }
                    div class="over-time-scroll" tabindex="0" role="group" aria-label=(self.title) {
                        div class="over-time-wide" style=(format!("height:{}rem", height + 1.4)) {
                            @for lane in 0..self.lanes.len() {
                                div class="over-time-lane" style=(format!("top:{}rem", lane as f64 * LANE)) {}
                            }
                            @for (at, text) in scale.ticks() {
                                // Beyond the ends there is no room for half a number.
                                @let class = match at {
                                    at if at < 1.0 => "over-time-tick first",
                                    at if at > 99.0 => "over-time-tick last",
                                    _ => "over-time-tick",
                                };
                                div class=(class) style=(format!("left:{at}%;height:{height}rem")) { span { (text) } }
                            }
                            @for bar in &self.bars { (drawn(bar, &scale)) }
                        }
                    }
                }
                div class="faint small over-time-unit" { "time, ms" }
                ul class="legend" {
                    @for (class, said) in self.key { li { span class=(format!("swatch {class}")) {} (said) } }
                }
                figcaption { (self.caption) }
            }
        }
    }
}

fn drawn(bar: &Bar, scale: &Scale) -> Markup {
    let (near, far) = (scale.nearest(bar.from), scale.nearest(bar.to));
    let top = bar.lane as f64 * LANE;
    let style = format!("left:{near:.3}%;width:{:.3}%;top:{top}rem", (far - near).max(0.0));
    let class = format!("bar {}", bar.class);
    html! {
        // The same is written out where it leads to: who comes by keyboard need not pass through all of them.
        @match &bar.target {
            Some(target) => { a class=(class) style=(style) title=(bar.said) href=(format!("#{target}")) tabindex="-1" aria-hidden="true" {} }
            None => { div class=(class) style=(style) title=(bar.said) {} }
        }
        @for to in bar.towards.iter().filter(|to| **to != bar.lane) {
            @let (upper, lower) = (bar.lane.min(*to), bar.lane.max(*to));
            @let class = if *to < bar.lane { "towards up" } else { "towards down" };
            div class=(class) style=(format!(
                "left:{near:.3}%;top:{}rem;height:{}rem", (upper as f64 + 0.5) * LANE, (lower - upper) as f64 * LANE
            )) title=(bar.said) {}
        }
    }
}
