//! Where things can be let fail for an application: at the units that its actors were seen to send where nothing failed.
//! What an actor sends as its third unit, say, may differ from one order to the next: the place is the third unit.

use std::collections::BTreeSet;

use super::{AppRules, AppWorld, Execution, transcript};
use crate::explore::fault::{Fault, refused_part};
use crate::explore::faulted::Places;
use crate::scenario::application::Job;
use crate::scenario::script::FaultKind;
use crate::sql::in_short;

/// How many different units are kept of one place.
const UNITS_MAX: usize = 4;
/// How much of a unit names a place, in characters.
const CHARS_MAX: usize = 40;

impl AppRules {
    /// Notes what was sent in an execution in which nothing failed.
    pub(super) fn note_units(&mut self, execution: &Execution) {
        if execution.fault().is_some() {
            return;
        }
        for taken in &execution.taken {
            let known = self.units.entry((taken.actor, taken.step)).or_default();
            if known.len() < UNITS_MAX && !known.contains_key(&taken.shape) {
                known.insert(taken.shape.clone(), taken.sql.clone());
            }
        }
    }

    /// What was sent as this unit, one way or the other.
    fn sent_at(&self, place: (usize, usize)) -> impl Iterator<Item = &str> {
        self.units.get(&place).into_iter().flat_map(|units| units.values().map(String::as_str))
    }
}

impl Places<AppWorld> for AppRules {
    fn actors(&self) -> Vec<String> {
        self.app.actors.iter().map(|actor| actor.name.clone()).collect()
    }

    fn sent(&self) -> BTreeSet<(usize, usize)> {
        self.units.keys().copied().collect()
    }

    fn name_of(&self, (actor, step): (usize, usize)) -> String {
        let units: BTreeSet<String> = self.sent_at((actor, step)).map(|sql| in_short(sql, CHARS_MAX)).collect();
        let units = units.into_iter().collect::<Vec<_>>().join(" or ");
        format!("{}.{} ({units})", self.app.actors[actor].name, step + 1)
    }

    fn can_come(&self, world: &AppWorld, Fault { actor, step, kind }: Fault) -> bool {
        let sent = self.sent_at((actor, step)).filter(|sql| transcript::is_refusable(sql));
        let refused: Vec<Option<bool>> = sent.map(|sql| refused_part(sql).map(|(_, commits)| commits)).collect();
        match kind {
            FaultKind::LostBefore | FaultKind::LostAfter | FaultKind::Terminated | FaultKind::Restarted => true,
            // An instance of the server serves its actor, but a request is nothing that can be killed.
            FaultKind::Killed => !matches!(self.app.actors[actor].job, Job::Http(_)),
            FaultKind::Serialization | FaultKind::Cancelled => refused.iter().any(Option::is_some),
            // At COMMIT nothing waits for a lock but what was deferred.
            FaultKind::Deadlock | FaultKind::LockNotAvailable => {
                refused.iter().any(|commits| commits.is_some_and(|commits| !commits || world.defers))
            }
            FaultKind::TooMany => world.connects.contains(&(actor, step)),
            FaultKind::Busy => false,
        }
    }

    /// Two requests, or two runs of one command, that are not told who they are: whatever one of them comes to in some
    /// order the other comes to in another. A worker is told its name.
    fn like(&self, actor: usize) -> Option<usize> {
        let one = &self.app.actors[actor];
        let named = |text: &str| text.contains("{actor}");
        let knows_its_name = match &one.job {
            Job::Run { command, .. } => named(command),
            Job::Worker { .. } => true,
            // Of a function they share there is nothing that tells one from another.
            Job::Code(_) => false,
            Job::Http(request) => {
                let body = request.body.as_ref().map(|(_, body)| body.as_str());
                let server = self.app.server.as_ref().map(|server| server.command.as_str());
                let texts = request.headers.values().map(String::as_str).chain(body).chain(server);
                named(&request.path) || texts.into_iter().any(named)
            }
        };
        let is_same = |other: &usize| {
            let other = &self.app.actors[*other];
            (&other.job, &other.env) == (&one.job, &one.env)
        };
        (0..actor).find(is_same).filter(|_| !knows_its_name)
    }
}
