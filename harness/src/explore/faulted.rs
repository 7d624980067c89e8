//! A case with failures: at each place and of each kind one search, in which this failure comes once in every execution.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::case::{Explored, Options};
use super::fault::{Fault, can_come};
use super::judge::{Found, Judge, Rules};
use super::rules::ScriptRules;
use super::search::{Coverage, search};
use super::shrink::shrink;
use super::world::{Lost, World};
use crate::scenario::script::FaultKind;

/// Rules of a world that say where things can be let fail.
pub trait Places<W: World>: Rules<W> {
    /// What the actors are called.
    fn actors(&self) -> Vec<String>;

    /// The steps that were sent where nothing failed, by actor and number.
    fn sent(&self) -> BTreeSet<(usize, usize)>;

    /// Steps that are known, and were not sent.
    fn unsent(&self) -> Vec<String> {
        Vec::new()
    }

    /// What a place is called: ACTOR.STEP, and what is sent there, where that is not known beforehand.
    fn name_of(&self, place: (usize, usize)) -> String;

    /// Whether a kind of failure can come at a place, as far as is known.
    fn can_come(&self, world: &W, fault: Fault) -> bool;

    /// An earlier actor that cannot be told from this one: what fails for the one fails for the other.
    fn like(&self, _actor: usize) -> Option<usize> {
        None
    }
}

impl<W: World> Places<W> for ScriptRules<'_> {
    fn actors(&self) -> Vec<String> {
        self.script.actors.iter().map(|actor| actor.name.clone()).collect()
    }

    fn sent(&self) -> BTreeSet<(usize, usize)> {
        self.effects.sent().clone()
    }

    fn unsent(&self) -> Vec<String> {
        let all = self.script.actors.iter().enumerate();
        let all = all.flat_map(|(number, actor)| (0..actor.steps.len()).map(move |step| (number, step)));
        all.filter(|place| !self.effects.sent().contains(place)).map(|place| self.script.name_of(place)).collect()
    }

    fn name_of(&self, place: (usize, usize)) -> String {
        self.script.name_of(place)
    }

    fn can_come(&self, _: &W, fault: Fault) -> bool {
        can_come(self.script, self.case, fault)
    }
}

/// What came of a case's failures.
#[derive(Clone, Debug)]
pub struct Faulted {
    /// The actors, each with how many of its steps are places.
    pub places: Vec<(String, usize)>,
    /// Actors that cannot be told from another one, and who that is: nothing fails for them by themselves.
    pub alike: Vec<(String, String)>,
    /// The kinds that were let happen.
    pub kinds: Vec<FaultKind>,
    /// How many searches there were to be: a place and a kind that can come there.
    pub wanted: u64,
    /// How many came to their end.
    pub searches: u64,
    /// Complete executions.
    pub executions: u64,
    /// Executions that were left half-way.
    pub abandoned: u64,
    /// How far the searches came, all together.
    pub coverage: Coverage,
    /// What was violated, and with which failure.
    pub violations: Vec<FaultViolation>,
    /// What could not come where it was to, in any order: a kind at a step.
    pub never_came: Vec<String>,
    /// Steps that are never sent unless something else fails.
    pub unsent: Vec<String>,
}

/// What a failure brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultViolation {
    /// The failure's kind.
    pub kind: FaultKind,
    /// The step at which it came: ACTOR.STEP.
    pub place: String,
    /// What was violated.
    pub check: String,
}

impl Faulted {
    fn new(kinds: &[FaultKind]) -> Self {
        Self {
            places: Vec::new(),
            alike: Vec::new(),
            kinds: kinds.to_vec(),
            wanted: 0,
            searches: 0,
            executions: 0,
            abandoned: 0,
            coverage: Coverage::Exhausted,
            violations: Vec::new(),
            never_came: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// At how many places each kind led to a violation.
    pub fn by_kind(&self) -> BTreeMap<FaultKind, u64> {
        let violated = |kind: FaultKind| {
            let places = self.violations.iter().filter(|of| of.kind == kind).map(|of| &of.place);
            places.collect::<BTreeSet<_>>().len() as u64
        };
        self.kinds.iter().map(|kind| (*kind, violated(*kind))).collect()
    }

    /// With which failure a check was first violated, if with any.
    pub fn first(&self, check: &str) -> Option<String> {
        let first = self.violations.iter().find(|of| of.check == check);
        first.map(|of| format!("with {} at {}", of.kind, of.place))
    }

    /// What was covered.
    pub fn evidence(&self) -> String {
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.as_str()).collect();
        let many = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let of = |(number, (actor, places)): (usize, &(String, usize))| match number {
            0 => format!("all {} of {actor}", many(*places, "place")),
            _ => format!("all {places} of {actor}"),
        };
        let places: Vec<String> = self.places.iter().enumerate().map(of).collect();
        let searches = match self.searches == self.wanted {
            true => many(usize::try_from(self.searches).unwrap_or(usize::MAX), "search").replace("searchs", "searches"),
            false => format!("{} of {} searches", self.searches, self.wanted),
        };
        let coverage = match &self.coverage {
            Coverage::Exhausted => "exhausted".to_owned(),
            Coverage::Bounded(bound) => format!("bounded: {bound}"),
            Coverage::Stopped(why) => format!("stopped {why}"),
            Coverage::Diverged(how) => format!("diverged: {how}"),
        };
        let listed = |what: &str, names: &[String]| match names {
            [] => String::new(),
            _ => format!("; {what}: {}", names.join(", ")),
        };
        format!(
            "faults: {}{} × {} where it can come ({}): {searches}, {coverage}; {} executions ({} more were left half-way){}{}",
            places.join(", "),
            match &self.alike[..] {
                [] => String::new(),
                alike => {
                    let one = |(name, other): &(String, String)| format!("{name} is as {other}");
                    format!(" ({})", alike.iter().map(one).collect::<Vec<_>>().join(", "))
                }
            },
            many(kinds.len(), "kind"),
            kinds.join(", "),
            self.executions,
            self.abandoned,
            listed("could not come", &self.never_came),
            listed("sent only after something else fails", &self.unsent),
        )
    }

    /// Whether no failure came at all, though every search that was to be has ended: there was no place for one, or it could
    /// not come there.
    pub fn is_empty(&self) -> bool {
        let is_through = matches!(self.coverage, Coverage::Exhausted | Coverage::Bounded(_));
        is_through && self.never_came.len() as u64 == self.wanted
    }

    /// Adds how far one search came.
    fn add(&mut self, coverage: Coverage) {
        match (&mut self.coverage, coverage) {
            (Coverage::Stopped(_) | Coverage::Diverged(_), _) | (_, Coverage::Exhausted) => {}
            (Coverage::Bounded(known), Coverage::Bounded(bound)) => {
                if !known.contains(&bound) {
                    *known = format!("{known}; {bound}");
                }
            }
            (all, other) => *all = other,
        }
    }
}

/// Lets failures of these kinds happen in a case that was explored without any, since `begun`; `explored` gets what is
/// violated by them. The rules are handed back.
///
/// Cancellation: the world must then be dropped.
///
/// # Errors
/// The database is lost, or a query of the case's fails.
pub async fn explore_faults<W: World, R: Places<W>>(
    world: &mut W,
    mut rules: R,
    violates: Option<&str>,
    kinds: &[FaultKind],
    explored: &mut Explored,
    options: &Options,
    begun: Instant,
) -> Result<R, Lost> {
    let (sent, actors) = (rules.sent(), rules.actors());
    let mut faulted = Faulted::new(kinds);
    for (number, name) in actors.iter().enumerate() {
        match rules.like(number) {
            Some(other) => faulted.alike.push((name.clone(), actors[other].clone())),
            None => faulted.places.push((name.clone(), sent.iter().filter(|(actor, _)| *actor == number).count())),
        }
    }
    faulted.unsent = rules.unsent();
    let of = |(actor, step): &(usize, usize)| {
        let (actor, step) = (*actor, *step);
        kinds.iter().map(move |kind| Fault { actor, step, kind: *kind })
    };
    let is_one = |fault: &Fault| rules.like(fault.actor).is_none() && rules.can_come(world, *fault);
    let faults: Vec<Fault> = sent.iter().flat_map(of).filter(is_one).collect();
    faulted.wanted = faults.len() as u64;
    match &explored.searched.coverage {
        Coverage::Stopped(why) => faulted.coverage = Coverage::Stopped(format!("{why}, before anything was let fail")),
        Coverage::Diverged(how) => faulted.coverage = Coverage::Diverged(how.clone()),
        Coverage::Exhausted | Coverage::Bounded(_) => {}
    }
    let queries = rules.queries();
    let mut found: Vec<(Fault, Found)> = Vec::new();
    for fault in faults {
        if matches!(faulted.coverage, Coverage::Stopped(_) | Coverage::Diverged(_)) {
            break;
        }
        world.inject(Some(fault));
        let mut judge = Judge::new(rules, options.limit, options.all, violates);
        judge = judge.counting(options.executions.clone()).since(begun);
        judge.before = explored.searched.executions + faulted.executions;
        let searched = search(world, options.strategy, options.seed, &queries, &mut judge).await?;
        world.inject(None);
        faulted.searches += u64::from(!matches!(searched.coverage, Coverage::Stopped(_) | Coverage::Diverged(_)));
        faulted.executions += searched.executions;
        faulted.abandoned += searched.abandoned;
        let place = judge.rules.name_of((fault.actor, fault.step));
        let is_through = matches!(searched.coverage, Coverage::Exhausted | Coverage::Bounded(_));
        if is_through && judge.struck == 0 && judge.found.is_empty() {
            faulted.never_came.push(format!("{} at {place}", fault.kind));
        }
        faulted.add(searched.coverage);
        for of in std::mem::take(&mut judge.found) {
            let (kind, place, check) = (fault.kind, place.clone(), of.check.clone());
            let is_known =
                found.iter().map(|(_, known)| known).chain(&explored.found).any(|known| known.check == check);
            faulted.violations.push(FaultViolation { kind, place, check });
            if !is_known {
                found.push((fault, of));
            }
        }
        rules = judge.rules;
    }
    explored.took = begun.elapsed();
    for (fault, of) in found {
        world.inject(Some(fault));
        explored.found.push(shrink(world, &mut rules, of).await?);
        world.inject(None);
    }
    explored.found.sort_by_key(|found| Some(found.check.as_str()) != violates);
    explored.faulted = Some(faulted);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_all_searches_is_how_far_they_came() {
        let mut faulted = Faulted::new(&[FaultKind::Killed]);
        faulted.add(Coverage::Exhausted);
        assert_eq!(faulted.coverage, Coverage::Exhausted);
        faulted.add(Coverage::Bounded("a".to_owned()));
        faulted.add(Coverage::Bounded("b".to_owned()));
        faulted.add(Coverage::Exhausted);
        assert_eq!(faulted.coverage, Coverage::Bounded("a; b".to_owned()));
        faulted.add(Coverage::Stopped("by what was found".to_owned()));
        faulted.add(Coverage::Bounded("c".to_owned()));
        assert_eq!(faulted.coverage, Coverage::Stopped("by what was found".to_owned()));
    }

    #[test]
    fn what_was_covered_is_told_in_numbers() {
        let mut faulted = Faulted::new(&[FaultKind::Killed, FaultKind::LostAfter]);
        faulted.places = vec![("bob".to_owned(), 9), ("alice".to_owned(), 8)];
        (faulted.wanted, faulted.searches, faulted.executions) = (34, 34, 120);
        let evidence = faulted.evidence();
        let expected = "faults: all 9 places of bob, all 8 of alice × 2 kinds where it can come (killed, lost-after): \
                        34 searches, exhausted; 120 executions";
        assert!(evidence.starts_with(expected), "{evidence}");
        faulted.searches = 3;
        assert!(faulted.evidence().contains("3 of 34 searches"));
    }

    #[test]
    fn failures_that_never_came_are_no_answer() {
        let mut faulted = Faulted::new(&[FaultKind::Killed]);
        assert!(faulted.is_empty());
        (faulted.wanted, faulted.never_came) = (2, vec!["killed at a.1".to_owned()]);
        assert!(!faulted.is_empty());
        faulted.never_came.push("killed at a.2".to_owned());
        assert!(faulted.is_empty());
    }

    #[test]
    fn each_kind_counts_the_places_at_which_something_was_violated() {
        let mut faulted = Faulted::new(&[FaultKind::Killed, FaultKind::LostAfter]);
        for (place, check) in [("a.1", "x"), ("a.1", "y"), ("a.2", "x")] {
            let (place, check) = (place.to_owned(), check.to_owned());
            faulted.violations.push(FaultViolation { kind: FaultKind::LostAfter, place, check });
        }
        assert_eq!(faulted.by_kind(), BTreeMap::from([(FaultKind::Killed, 0), (FaultKind::LostAfter, 2)]));
        assert_eq!(faulted.first("y").as_deref(), Some("with lost-after at a.1"));
    }
}
