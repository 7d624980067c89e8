//! All actors of a history over time: their tasks, their waits for the lock, and when they certainly held it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::timeline::{Bar, Timeline};
use crate::history::view::{View, asks_for_lock};
use crate::history::{ActorId, History, Role};

/// The most actors that are drawn.
const ACTORS_MAX: usize = 32;
/// The most pieces that are drawn; a longer history is shown up to there.
const PIECES_MAX: usize = 1_500;

/// The pieces in order of their beginning; tasks first, for they lie below the others.
fn bars(history: &History, lanes: &BTreeMap<ActorId, usize>) -> Vec<Bar> {
    let ms = |tick: u64| tick as f64 / 1e6;
    let view = View::of(history);
    let bar = |actor: ActorId, class, from: u64, to: u64| {
        let (from, to) = (ms(from), ms(to));
        let said = format!("{class} from {from:.2} to {to:.2} ms");
        Some(Bar { lane: *lanes.get(&actor)?, class, from, to, said, target: None, towards: Vec::new() })
    };
    let tasks = history.tasks.iter().map(|task| bar(task.actor, "task", task.started.0, task.finished.0));
    let asks = history.entries.iter().filter(|entry| asks_for_lock(&entry.op, history.meta.backend));
    let asks = asks.map(|entry| bar(entry.actor, "asks", entry.invoked.0, entry.returned.0));
    let holds = view.ledger.holds.iter().map(|hold| bar(hold.actor, "holds", hold.from.0, hold.until.0));
    let mut all: Vec<Bar> = tasks.chain(asks).chain(holds).flatten().filter(|bar| bar.to >= bar.from).collect();
    let depth = |bar: &Bar| ["task", "asks", "holds"].iter().position(|class| *class == bar.class);
    all.sort_by(|one, other| one.from.total_cmp(&other.from).then(depth(one).cmp(&depth(other))));
    all
}

/// The chart.
pub fn timeline(history: &History) -> Markup {
    let actors = || history.meta.actors.iter().take(ACTORS_MAX);
    let lanes = actors().enumerate().map(|(lane, (actor, _))| (*actor, lane)).collect();
    let mut bars = bars(history, &lanes);
    let left_out = bars.len().saturating_sub(PIECES_MAX);
    bars.truncate(PIECES_MAX);
    let hidden = history.meta.actors.len().saturating_sub(ACTORS_MAX);
    let timeline = Timeline {
        title: "All actors over time",
        lanes: actors().map(|(actor, role)| name(*actor, *role)).collect(),
        bars,
        key: &[("task", "a task"), ("asks", "asks for the lock"), ("holds", "certainly holds it")],
        caption: html! {
            "From the history. In one lock's holds no two may lie above each other."
            @if left_out > 0 { " The " (left_out) " pieces after these are not drawn." }
            @if hidden > 0 { " " (hidden) " actors more are not drawn." }
        },
    };
    timeline.render()
}

fn name(actor: ActorId, role: Role) -> String {
    let word = match role {
        Role::Worker => "worker",
        Role::Bystander => "bystander",
        Role::Antagonist => "antagonist",
    };
    format!("{word} {actor}")
}
