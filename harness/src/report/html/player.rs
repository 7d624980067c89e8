//! A counterexample on a page: the lanes, what stands behind each step, and the controls that step through it. Without the
//! page's script everything is written out.

use maud::{Markup, html};

use super::frame::again;
use super::lanes::{Band, Kind, Layout, Mark, Moment, lay_out};
use super::picture::{Picture, Step, Unit};
use crate::explore::course::{Counterexample, EndRow, TransactionRow};
use crate::explore::judge::NOTHING;
use crate::explore::world::{Rows, shown};
use crate::sql::shortened;

/// The rows of a value that fit into a lane, in characters.
const CAME_CHARS_MAX: usize = 160;

/// A violation with its pictures.
#[derive(Clone, Debug)]
pub struct Player {
    /// What its places on the page are called: no other player's name.
    pub id: String,
    /// What was violated.
    pub check: String,
    /// How.
    pub sentence: String,
    /// The command that runs it again.
    pub replay: String,
    /// What the numbers beside the steps are, where they are no numbers.
    pub unit: &'static str,
    /// What happened.
    pub picture: Picture,
    /// The same without the violation, if it is known.
    pub other: Option<Picture>,
    /// What the actors' programs printed.
    pub outputs: Vec<(String, String)>,
}

impl Player {
    /// Of a counterexample of `explore` or `replay`.
    pub fn of(id: String, of: &Counterexample) -> Self {
        let serial = of.serial.as_ref();
        Self {
            id,
            check: of.check.clone(),
            sentence: of.sentence.clone(),
            replay: of.replay.clone(),
            unit: "",
            picture: Picture::of_course(&of.course, serial, of.shown, of.together),
            other: serial.map(|serial| Picture::of_course(serial, Some(&of.course), usize::MAX, None)),
            outputs: of.outputs.iter().map(|(actor, text)| (actor.clone(), text.clone())).collect(),
        }
    }

    /// As a part of a page.
    pub fn render(&self) -> Markup {
        html! {
            section class="player" id=(self.id) aria-labelledby=(format!("{}-title", self.id)) {
                h3 id=(format!("{}-title", self.id)) {
                    @if self.is_violated() { "Violated: " (self.check) } @else { "Nothing is violated" }
                }
                @if self.is_violated() { p class="sentence" { (self.sentence) } }
                (again(&self.replay))
                div class="controls script" role="group" aria-label="Step through" {
                    button type="button" data-do="first" { "Whole" }
                    button type="button" data-do="back" { "‹ Back" }
                    button type="button" data-do="next" { "Next ›" }
                    output aria-live="polite" {}
                    @if self.other.is_some() {
                        button type="button" data-do="other" aria-pressed="false" { "One after the other" }
                    }
                    span class="faint small" {
                        "keys: ← → , Home, End" @if self.other.is_some() { ", s for one after the other" }
                    }
                }
                (key(&self.picture))
                (self.course(&self.picture, "a", "As it happened"))
                @if let Some(other) = &self.other {
                    (self.course(other, "b", "The same steps one after the other: not violated"))
                }
                @for (actor, text) in &self.outputs {
                    @if !text.trim().is_empty() {
                        details { summary { "What " (actor) " printed" } pre { (text) } }
                    }
                }
            }
        }
    }

    fn is_violated(&self) -> bool {
        self.sentence != NOTHING
    }

    fn course(&self, picture: &Picture, letter: &str, title: &str) -> Markup {
        let id = |number: usize| format!("{}-{letter}{number}", self.id);
        let violated = (letter == "a" && self.is_violated()).then_some(self.sentence.as_str());
        html! {
            div class=(if letter == "a" { "course shown" } else { "course" }) data-steps=(picture.steps.len()) {
                h4 { (title) }
                div class="stage" {
                    (lanes(picture, self.unit, title, &id, violated.is_some()))
                    div class="moments" aria-label="What stands behind each step" role="group" {
                        @for (number, step) in picture.steps.iter().enumerate() {
                            (moment(step, &id(number + 1), number + 1, picture.steps.len(), self.unit))
                        }
                        (end(picture, &id(picture.steps.len() + 1), picture.steps.len() + 1, violated))
                    }
                }
            }
        }
    }
}

fn key(picture: &Picture) -> Markup {
    let has_bands = picture.steps.iter().any(|step| !step.moment.open.is_empty());
    let is_aborted = picture.steps.iter().flat_map(|step| &step.moment.open).any(|open| open.aborted);
    html! {
        @if has_bands {
            ul class="key" {
                li { span class="band tx" {} "transaction open" }
                li { span class="band hold" {} "and holds locks on rows or more" }
                @if is_aborted { li { span class="band aborted" {} "and has failed" } }
            }
        }
    }
}

/// The line of the grid before a lane's band, or after its boxes.
fn column(lane: usize) -> usize {
    2 + 2 * lane
}

/// The row of a moment's boxes; the one below is for its arrows.
fn row(moment: usize) -> usize {
    2 + 2 * moment
}

fn lanes(picture: &Picture, unit: &str, title: &str, id: &dyn Fn(usize) -> String, is_bad: bool) -> Markup {
    let moments: Vec<Moment> = picture.steps.iter().map(|step| step.moment.clone()).collect();
    let layout = lay_out(&moments, picture.actors.len());
    let gutter = if unit.is_empty() { "1.6rem" } else { "3.4rem" };
    let columns = format!("grid-template-columns:{gutter} repeat({}, 6px minmax(7.5rem, 1fr))", picture.actors.len());
    html! {
        div class="lanes" style=(columns) role="group" aria-label=(title) tabindex="0" {
            div class="tick" style="grid-area:1/1" { (unit) }
            @for (lane, actor) in picture.actors.iter().enumerate() {
                div class="lane-name" style=(format!("grid-area:1/{}/2/span 2", column(lane))) { (actor) }
            }
            (behind(&layout))
            @for (number, step) in picture.steps.iter().enumerate() {
                div class="tick" style=(format!("grid-area:{}/1", row(number))) data-step=(number + 1) { (step.label) }
                @for (nth, (mark, unit)) in step.moment.marks.iter().zip(&step.units).enumerate() {
                    (boxed(step, mark, unit, number, nth, &id(number + 1)))
                }
                @for arrow in layout.arrows.iter().filter(|arrow| arrow.at == number) {
                    @let is_left = arrow.to < arrow.from;
                    @let (near, far) = (arrow.from.min(arrow.to), arrow.from.max(arrow.to));
                    @let place = format!(
                        "grid-area:{}/{}/{}/{};margin-top:{}rem",
                        row(number) + 1, column(near), row(number) + 2, column(far) + 2, 0.1 + 1.1 * arrow.nth as f64
                    );
                    div class=(if is_left { "arrow left" } else { "arrow right" }) style=(place) data-step=(number + 1)
                        aria-hidden="true" {
                        span { (picture.actors[arrow.from]) " waits for " (picture.actors[arrow.to]) }
                    }
                }
            }
            div class=(if is_bad { "end bad" } else { "end" }) data-step=(picture.steps.len() + 1)
                style=(format!("grid-area:{}/2/{}/-1", row(picture.steps.len()), row(picture.steps.len()) + 1)) {
                (ended(picture))
            }
        }
    }
}

/// Bands and strips: what lies between boxes, or beside them.
fn behind(layout: &Layout) -> Markup {
    let place = |lane: usize, extra: usize, from: usize, to: usize| {
        format!("grid-area:{}/{}/{}/{}", row(from), column(lane) + extra, row(to) + 2, column(lane) + extra + 1)
    };
    html! {
        @for band in &layout.bands {
            @let class = match band.kind {
                Band::Transaction => "band tx",
                Band::Holds => "band hold",
                Band::Aborted => "band aborted",
            };
            div class=(class) style=(place(band.lane, 0, band.from, band.to)) aria-hidden="true" {}
        }
        @for strip in &layout.strips {
            div class="strip" style=(place(strip.lane, 1, strip.from, strip.to)) aria-hidden="true"
                data-step=(strip.from + 1) {}
        }
    }
}

fn boxed(step: &Step, mark: &Mark, unit: &Unit, number: usize, nth: usize, target: &str) -> Markup {
    let mut class = match mark.kind {
        Kind::Done => "unit done".to_owned(),
        Kind::RolledBack => "unit rolled".to_owned(),
        Kind::Failed => "unit failed".to_owned(),
        Kind::Waits | Kind::UnderWay => "unit waits".to_owned(),
    };
    if unit.differs.is_some() {
        class.push_str(" differing");
    }
    if step.is_together && nth == 0 {
        class.push_str(" together");
    }
    let place = format!("grid-area:{}/{}", row(number), column(mark.lane) + 1);
    html! {
        a class=(class) style=(place) href=(format!("#{target}")) data-step=(number + 1) {
            span class="visually-hidden" { "Step " (step.label) ", " (unit.actor) ": " }
            @if !unit.name.is_empty() { span class="name" { (unit.name) " " } }
            @if mark.goes_on { span class="faint" { "goes on " } }
            @if !unit.sql.is_empty() { span class="sql" { (unit.sql) } }
            @if mark.goes_on || !is_plain(unit) { span class="came" { "→ " (cut(&worded(mark, unit))) } }
            @if let Some(differs) = &unit.differs {
                span class="differs" { "≠ other order: " (cut(differs)) }
            }
        }
    }
}

/// Whether nothing came that needs a word.
fn is_plain(unit: &Unit) -> bool {
    unit.came == "ok"
}

fn worded(mark: &Mark, unit: &Unit) -> String {
    // The trap that a driver hides: its call has returned without an error.
    let is_commit = unit.sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("commit"));
    match mark.kind {
        Kind::RolledBack if is_commit => "COMMIT was answered with ROLLBACK".to_owned(),
        _ => unit.came.clone(),
    }
}

fn cut(text: &str) -> String {
    shortened(text, CAME_CHARS_MAX)
}

/// What stands behind a step.
fn moment(step: &Step, id: &str, number: usize, of: usize, unit: &str) -> Markup {
    let when = if unit.is_empty() { String::new() } else { format!(", at {} {unit}", step.label) };
    html! {
        article class="moment" id=(id) data-step=(number) {
            h4 { "Step " (number) " of " (of) (when) ": " (step.title) }
            @if step.is_aftermath { p class="faint small" { "It only ends what was begun." } }
            @if !step.sql.is_empty() { pre class="sql" { (step.sql) } }
            @for (mark, unit) in step.moment.marks.iter().zip(&step.units) {
                p {
                    @if mark.goes_on { strong { (unit.actor) } " goes on " }
                    "→ " (worded(mark, unit))
                    @if let Some(differs) = &unit.differs { br; span class="faint" { "in the other order: " (differs) } }
                }
                @if unit.rows.len() > 1 { (rows(&unit.rows, unit.rows_left_out)) }
            }
            @for notice in &step.notices { p class="faint" { "the server: " (notice) } }
            @for wait in step.waits.iter().filter(|wait| !is_said(step, wait)) { p { "meanwhile " (wait) } }
            @if !step.transactions.is_empty() { (transactions(&step.transactions)) }
        }
    }
}

/// Whether a step's own words say this of a wait already.
fn is_said(step: &Step, wait: &str) -> bool {
    step.units.iter().any(|unit| wait.strip_prefix(unit.actor.as_str()).is_some_and(|rest| rest.trim() == unit.came))
}

fn rows(rows: &Rows, left_out: usize) -> Markup {
    html! {
        div class="table" {
            table {
                tbody { @for row in rows { tr { @for value in row { td { code { (value) } } } } } }
            }
        }
        @if left_out > 0 { p class="faint small" { "and " (left_out) " rows more" } }
    }
}

fn transactions(open: &[TransactionRow]) -> Markup {
    let relation = |name: &str| name.strip_prefix("public.").unwrap_or(name).to_owned();
    let touched = |row: &TransactionRow, word: &str| -> String {
        let names: Vec<String> =
            row.touched.iter().filter(|(_, touch)| *touch == word).map(|(name, _)| relation(name)).collect();
        names.join(", ")
    };
    html! {
        table {
            caption { "Open transactions afterwards" }
            thead { tr { th scope="col" { "whose" } th scope="col" { "what it has touched" } } }
            tbody {
                @for row in open {
                    tr {
                        th scope="row" { (row.actor) }
                        td {
                            @if row.aborted { div { "failed: nothing of it will remain" } }
                            @for (word, said) in [("exclusive", "excludes everybody from "), ("write", "wrote "),
                                ("lock", "locked rows of "), ("read", "read ")] {
                                @let names = touched(row, word);
                                @if !names.is_empty() { div { (said) code { (names) } } }
                            }
                            @if row.advisory { div { "advisory locks" } }
                            @if row.touched.is_empty() && !row.advisory && !row.aborted { "nothing yet" }
                        }
                    }
                }
            }
        }
    }
}

fn end(picture: &Picture, id: &str, number: usize, violated: Option<&str>) -> Markup {
    html! {
        article class="moment" id=(id) data-step=(number) {
            h4 { "The end" }
            (ended(picture))
            @match violated {
                Some(sentence) => { p { strong { (sentence) } } }
                None => { p { "Nothing of this kind is violated." } }
            }
        }
    }
}

/// How it ended: who is stuck, and what was asked.
fn ended(picture: &Picture) -> Markup {
    let said = |answer: &EndRow| match (&answer.error, answer.rows.is_empty()) {
        (Some(error), _) => format!("failed: {error}"),
        (None, true) => "no row".to_owned(),
        (None, false) => cut(&shown(&answer.rows)),
    };
    html! {
        @for actor in &picture.stuck { div { strong { (actor) } " would wait for ever" } }
        @for answer in &picture.end { div { "at the end, " (answer.query) ": " code { (said(answer)) } } }
        @if picture.stuck.is_empty() && picture.end.is_empty() { span class="faint" { "the end" } }
    }
}
