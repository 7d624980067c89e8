//! All actors of a history over time: their tasks, their waits for the lock, and when they certainly held it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::scale::{Axis, Scale, round};
use crate::history::view::{View, asks_for_lock};
use crate::history::{ActorId, History, Role};

const WIDTH: f64 = 400.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 12.0;
const ROW: f64 = 14.0;
const BOTTOM: f64 = 38.0;
/// The most actors that are drawn.
const ACTORS_MAX: usize = 32;
/// The most pieces that are drawn; a longer history is shown up to there.
const PIECES_MAX: usize = 1_500;

/// What a piece of a lane shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Task,
    Asks,
    Holds,
}

/// A piece of an actor's lane, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    actor: ActorId,
    kind: Kind,
    from: f64,
    to: f64,
}

/// The pieces in order of their beginning; tasks first, for they lie below the others.
fn pieces(history: &History) -> Vec<Piece> {
    let ms = |tick: u64| tick as f64 / 1e6;
    let view = View::of(history);
    let piece = |actor, kind, from: u64, to: u64| Piece { actor, kind, from: ms(from), to: ms(to) };
    let tasks = history.tasks.iter().map(|task| piece(task.actor, Kind::Task, task.started.0, task.finished.0));
    let asks = history.entries.iter().filter(|entry| asks_for_lock(&entry.op, history.meta.backend));
    let asks = asks.map(|entry| piece(entry.actor, Kind::Asks, entry.invoked.0, entry.returned.0));
    let holds = view.ledger.holds.iter().map(|hold| piece(hold.actor, Kind::Holds, hold.from.0, hold.until.0));
    let mut all: Vec<Piece> = tasks.chain(asks).chain(holds).filter(|piece| piece.to >= piece.from).collect();
    all.sort_by(|one, other| one.from.total_cmp(&other.from).then((one.kind as u8).cmp(&(other.kind as u8))));
    all
}

/// The chart.
pub fn timeline(history: &History) -> Markup {
    let mut all = pieces(history);
    let left_out = all.len().saturating_sub(PIECES_MAX);
    all.truncate(PIECES_MAX);
    let actors: BTreeMap<ActorId, Role> =
        history.meta.actors.iter().map(|(id, role)| (*id, *role)).take(ACTORS_MAX).collect();
    let rows: Vec<ActorId> = actors.keys().copied().collect();
    let bottom = rows.len() as f64 * ROW + 4.0;
    let scale = Scale::new(&Axis::even(""), all.iter().map(|piece| piece.to), LEFT, WIDTH - RIGHT);
    let hidden = history.meta.actors.len().saturating_sub(ACTORS_MAX);
    html! {
        figure class="timeline" {
            h3 { "All actors over time" }
            svg viewBox=(format!("0 0 {WIDTH} {}", bottom + BOTTOM)) role="img" aria-label="All actors over time" {
                (scale.across(0.0, bottom, true))
                @for (at, actor) in rows.iter().enumerate() {
                    text x=(LEFT - 5.0) y=(at as f64 * ROW + 12.0) text-anchor="end" { (name(*actor, actors[actor])) }
                }
                @for piece in &all {
                    @if let Some(at) = rows.iter().position(|actor| *actor == piece.actor) {
                        (drawn(piece, at, &scale))
                    }
                }
                text x=((LEFT + WIDTH - RIGHT) / 2.0) y=(bottom + 33.0) text-anchor="middle" { "time, ms" }
            }
            ul class="legend" {
                @for (class, said) in [("task", "a task"), ("asks", "asks for the lock"), ("holds", "certainly holds it")] {
                    li { svg viewBox="0 0 28 12" aria-hidden="true" { rect class=(class) x="2" y="2" width="24" height="8" {} } " " (said) }
                }
            }
            figcaption {
                "From the history. In one lock's holds no two may lie above each other."
                @if left_out > 0 { " The " (left_out) " pieces after these are not drawn." }
                @if hidden > 0 { " " (hidden) " actors more are not drawn." }
            }
        }
    }
}

fn name(actor: ActorId, role: Role) -> String {
    let word = match role {
        Role::Worker => "worker",
        Role::Bystander => "bystander",
        Role::Antagonist => "antagonist",
    };
    format!("{word} {actor}")
}

fn drawn(piece: &Piece, row: usize, scale: &Scale) -> Markup {
    let (near, far) = (scale.nearest(piece.from), scale.nearest(piece.to));
    let (class, inset) = match piece.kind {
        Kind::Task => ("task", 1.0),
        Kind::Asks => ("asks", 3.0),
        Kind::Holds => ("holds", 3.0),
    };
    let (top, height) = (row as f64 * ROW + 2.0 + inset, ROW - 2.0 - 2.0 * inset);
    html! {
        rect class=(class) x=(round(near)) y=(top) width=(round((far - near).max(0.3))) height=(height) {
            title { (class) " from " (format!("{:.2}", piece.from)) " to " (format!("{:.2}", piece.to)) " ms" }
        }
    }
}
