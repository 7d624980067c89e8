//! What a counterexample's picture shows, whatever recorded it: actors, moments, and the words beside them.

use std::collections::{BTreeMap, BTreeSet};

use super::lanes::{Kind, Mark, Moment, Open};
use crate::explore::course::{Course, CourseStep, EndRow, EventKind, EventRow, TransactionRow};
use crate::explore::world::Rows;
use crate::outcome;

/// A picture.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The lanes, from left to right.
    pub actors: Vec<String>,
    /// The moments, from the top down.
    pub steps: Vec<Step>,
    /// The actors that would wait for ever.
    pub stuck: Vec<String>,
    /// What was asked at the end.
    pub end: Vec<EndRow>,
}

/// A moment, with its words.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// What stands in the gutter: a number, or a time.
    pub label: String,
    /// Who did what, as a heading.
    pub title: String,
    /// What was sent, in full; empty where something only came back.
    pub sql: String,
    /// What lies in the lanes, and when.
    pub moment: Moment,
    /// The words of each mark of the moment.
    pub units: Vec<Unit>,
    /// It was sent together with its neighbour.
    pub is_together: bool,
    /// It only ends what was begun.
    pub is_aftermath: bool,
    /// The transactions that were open afterwards.
    pub transactions: Vec<TransactionRow>,
    /// Who waits for whom afterwards, as sentences.
    pub waits: Vec<String>,
    /// What the server said.
    pub notices: Vec<String>,
}

/// The words of a mark.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// Whose.
    pub actor: String,
    /// The step's name, where it has one of its own.
    pub name: String,
    /// What was sent; empty where it goes on.
    pub sql: String,
    /// What came of it.
    pub came: String,
    /// The rows that it returned.
    pub rows: Rows,
    /// How many more there were.
    pub rows_left_out: usize,
    /// What comes of it in the other order, where that is something else.
    pub differs: Option<String>,
}

/// What each step came to at last, by actor and name.
type Came<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a EventRow>>;

fn came(course: &Course) -> Came<'_> {
    let mut came = Came::new();
    for event in course.steps.iter().flat_map(|step| &step.events) {
        if event.kind != EventKind::Waits {
            came.entry((&event.actor, &event.step)).or_default().push(event);
        }
    }
    came
}

impl Picture {
    /// Of an execution, `shown` steps of which show what it is about; beside another one of the same steps.
    pub fn of_course(course: &Course, other: Option<&Course>, shown: usize, together: Option<usize>) -> Self {
        let came = other.map(came);
        let mut waiting: BTreeMap<&str, String> = BTreeMap::new();
        let mut times: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let steps = course.steps.iter().enumerate().map(|(number, step)| {
            for event in &step.events {
                match event.kind {
                    EventKind::Waits => drop(waiting.insert(&event.actor, format!("{} {}", event.actor, event.said))),
                    _ => drop(waiting.remove(event.actor.as_str())),
                }
            }
            let units = step.events.iter().map(|event| {
                let differs = match (&came, event.kind) {
                    (None, _) | (_, EventKind::Waits) => None,
                    (Some(came), _) => {
                        let nth = times.entry((&event.actor, &event.step)).or_default();
                        *nth += 1;
                        differs(came, event, *nth - 1)
                    }
                };
                unit(step, event, differs)
            });
            Step {
                label: (number + 1).to_string(),
                title: titled(&step.actor, &step.step),
                sql: step.sql.clone(),
                units: units.collect(),
                moment: moment(course, step),
                is_together: together.is_some_and(|at| number == at || number == at + 1),
                is_aftermath: number >= shown,
                transactions: step.transactions.clone(),
                waits: waiting.values().cloned().collect(),
                notices: step.notices.clone(),
            }
        });
        Self {
            steps: steps.collect(),
            actors: course.actors.clone(),
            stuck: course.stuck.clone(),
            end: course.end.clone(),
        }
    }

    /// Of operations that ran freely, with times in milliseconds: what was answered only after others had begun is drawn until its answer.
    pub fn of_operations(steps: &[outcome::Step]) -> Self {
        let actors: BTreeSet<&str> = steps.iter().map(|step| step.actor.as_str()).collect();
        let actors: Vec<String> = actors.into_iter().map(str::to_owned).collect();
        // At one time answers come before questions.
        let mut moments: Vec<(u64, bool, &outcome::Step)> = Vec::new();
        for step in steps {
            let is_later = steps.iter().any(|other| step.invoked < other.invoked && other.invoked < step.returned);
            moments.push((step.invoked, true, step));
            if is_later {
                moments.push((step.returned, false, step));
            }
        }
        moments.sort_by_key(|(time, is_sent, _)| (*time, *is_sent));
        let is_split = |step: &outcome::Step| moments.iter().any(|(_, sent, of)| !sent && std::ptr::eq(*of, step));
        let shown = |(time, is_sent, step): &(u64, bool, &outcome::Step)| {
            let lane = actors.iter().position(|actor| *actor == step.actor).unwrap_or_default();
            let is_open = *is_sent && is_split(step);
            let kind = if is_open { Kind::UnderWay } else { kind_of(&step.outcome) };
            let mark = Mark { lane, kind, waits_for: Vec::new(), goes_on: !is_sent };
            let sql = if *is_sent { step.operation.clone() } else { String::new() };
            Step {
                label: format!("{:.2}", *time as f64 / 1e6),
                title: step.actor.clone(),
                units: vec![Unit {
                    actor: step.actor.clone(),
                    sql: sql.clone(),
                    came: if is_open { "answered later".to_owned() } else { step.outcome.clone() },
                    ..Unit::default()
                }],
                sql,
                moment: Moment { marks: vec![mark], open: Vec::new() },
                ..Step::default()
            }
        };
        Self { steps: moments.iter().map(shown).collect(), actors: actors.clone(), ..Self::default() }
    }
}

fn kind_of(outcome: &str) -> Kind {
    match outcome {
        "rolled back" => Kind::RolledBack,
        text if text.starts_with("failed") || text == "answer lost" => Kind::Failed,
        _ => Kind::Done,
    }
}

/// A step's name after its actor's, where it has one of its own.
fn titled(actor: &str, step: &str) -> String {
    if is_number(step) { format!("{actor}, step {step}") } else { format!("{actor}, {step}") }
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

fn unit(step: &CourseStep, event: &EventRow, differs: Option<String>) -> Unit {
    let is_own = (&event.actor, &event.step) == (&step.actor, &step.step);
    Unit {
        actor: event.actor.clone(),
        name: if is_number(&event.step) { String::new() } else { event.step.clone() },
        sql: if is_own { step.sql.clone() } else { String::new() },
        came: event.said.clone(),
        rows: event.rows.clone(),
        rows_left_out: event.rows_left_out,
        differs,
    }
}

fn differs(came: &Came<'_>, event: &EventRow, nth: usize) -> Option<String> {
    let others = came.get(&(event.actor.as_str(), event.step.as_str()));
    match others.and_then(|events| events.get(nth)) {
        None => Some("does not come to this".to_owned()),
        Some(other) if other.said == event.said => None,
        Some(other) => Some(other.said.clone()),
    }
}

fn moment(course: &Course, step: &CourseStep) -> Moment {
    let lane = |actor: &String| course.actors.iter().position(|name| name == actor);
    let mark = |event: &EventRow| {
        Some(Mark {
            lane: lane(&event.actor)?,
            kind: match event.kind {
                EventKind::Done => Kind::Done,
                EventKind::RolledBack => Kind::RolledBack,
                EventKind::Failed => Kind::Failed,
                EventKind::Waits => Kind::Waits,
            },
            waits_for: event.waits_for.iter().filter_map(lane).collect(),
            goes_on: (&event.actor, &event.step) != (&step.actor, &step.step),
        })
    };
    let open = |row: &TransactionRow| {
        let holds = row.advisory || row.touched.values().any(|touch| touch != "read");
        Some(Open { lane: lane(&row.actor)?, holds, aborted: row.aborted })
    };
    Moment {
        marks: step.events.iter().filter_map(mark).collect(),
        open: step.transactions.iter().filter_map(open).collect(),
    }
}
