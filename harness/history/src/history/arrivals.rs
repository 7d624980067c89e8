//! The claims that were there at the start and those that arrived, as counts: what a read may show
//! at a given time.
//!
//! Every bystander's claims lie in a cell of its own, so that counts alone say which have been seen.

use std::collections::{BTreeMap, HashMap};

use drift_engine::claim::{CustomerId, Outcome};
use drift_engine::drift::Cell;
use drift_engine::op::Op;
use drift_engine::policy::{Window, Windows};
use drift_engine::run::Identity;

use super::Tick;
use super::view::View;
use crate::oracle;

/// The customers whose claims at the start are known.
#[derive(Debug)]
pub struct Arrivals<'h> {
    customers: BTreeMap<CustomerId, Claims<'h>>,
    /// The number of claims that were sent, to any customer, and may have taken effect.
    pub sent: usize,
    /// Of those, the number that were acknowledged.
    pub acknowledged: usize,
}

/// A cell without its count.
pub type Place<'h> = (&'h str, &'h str, Window, Outcome, Option<i64>);

/// The place of a cell.
pub fn place(cell: &Cell) -> Place<'_> {
    (&cell.payer, &cell.cpt_group, cell.window, cell.outcome, cell.decision_days)
}

/// One customer's claims.
#[derive(Debug)]
pub struct Claims<'h> {
    /// The windows over which they are counted: those of the customer's first task.
    pub windows: Windows,
    /// Every place in which there were claims at the start, or in which one arrived.
    pub cells: Vec<Growing<'h>>,
    index: HashMap<Place<'h>, usize>,
}

/// One place, and how its count grew.
#[derive(Debug)]
pub struct Growing<'h> {
    /// Which.
    pub place: Place<'h>,
    /// The number of claims that were there at the start.
    pub base: u64,
    /// When each claim was sent, and by which entry; without those that certainly failed. Ordered.
    pub sent: Vec<(Tick, u32)>,
    /// When each claim was acknowledged, and which entry sent it. Ordered.
    pub acknowledged: Vec<(Tick, u32)>,
}

impl Growing<'_> {
    /// The least that a read may show that must see every claim acknowledged before `bound`.
    pub fn least(&self, bound: Tick) -> u64 {
        self.base + self.acknowledged.partition_point(|arrival| arrival.0 < bound) as u64
    }

    /// The most that a read may show that ended at `returned`.
    pub fn most(&self, returned: Tick) -> u64 {
        self.base + self.sent.partition_point(|arrival| arrival.0 < returned) as u64
    }
}

impl<'h> Arrivals<'h> {
    pub(super) fn of(view: &View<'h>) -> Self {
        let history = view.history;
        let mut identities: BTreeMap<CustomerId, Identity> = BTreeMap::new();
        for record in &history.tasks {
            identities.entry(record.identity.customer).or_insert(record.identity);
        }
        let mut customers = BTreeMap::new();
        for (customer, cells) in &history.meta.base {
            let Some(windows) = identities.get(customer).and_then(|identity| identity.windows().ok()) else { continue };
            let mut claims = Claims { windows, cells: Vec::new(), index: HashMap::new() };
            for cell in cells {
                claims.at(place(cell)).base += cell.count;
            }
            customers.insert(*customer, claims);
        }
        let mut arrivals = Self { customers, sent: 0, acknowledged: 0 };
        for (index, entry) in history.entries.iter().enumerate() {
            let Op::InsertClaim { customer, claim } = &entry.op else { continue };
            let Some(identity) = identities.get(customer) else { continue };
            let Some(cell) = oracle::cell_of(claim, identity) else { continue };
            let place = (&*claim.payer, &*claim.cpt_group, cell.window, cell.outcome, cell.decision_days);
            arrivals.arrive(view, *customer, place, index as u32);
        }
        for growing in arrivals.customers.values_mut().flat_map(|claims| &mut claims.cells) {
            growing.acknowledged.sort_unstable();
        }
        arrivals
    }

    fn arrive(&mut self, view: &View<'h>, customer: CustomerId, place: Place<'h>, entry: u32) {
        let Some(claims) = self.customers.get_mut(&customer) else { return };
        if !view.maybe_effective(entry) {
            return;
        }
        let growing = claims.at(place);
        growing.sent.push((view.entry(entry).invoked, entry));
        self.sent += 1;
        if let Some(at) = view.acknowledged(entry) {
            growing.acknowledged.push((at, entry));
            self.acknowledged += 1;
        }
    }

    /// One customer's claims, if those at the start are known.
    pub fn of_customer(&self, customer: CustomerId) -> Option<&Claims<'h>> {
        self.customers.get(&customer)
    }
}

impl<'h> Claims<'h> {
    fn at(&mut self, place: Place<'h>) -> &mut Growing<'h> {
        let index = *self.index.entry(place).or_insert_with(|| {
            self.cells.push(Growing { place, base: 0, sent: Vec::new(), acknowledged: Vec::new() });
            self.cells.len() - 1
        });
        &mut self.cells[index]
    }

    /// What a read showed, in the order of [`Claims::cells`].
    ///
    /// # Errors
    /// It showed a claim in a place in which there never was one.
    pub fn counts<'c>(&self, cells: &'c [Cell]) -> Result<Vec<u64>, Place<'c>> {
        let mut counts = vec![0; self.cells.len()];
        // Reads mostly come in the same order: look behind the last place first.
        let mut next = 0;
        for cell in cells.iter().filter(|cell| cell.count > 0) {
            let place = place(cell);
            let found = match self.cells.get(next) {
                Some(guess) if guess.place == place => next,
                _ => *self.index.get(&place).ok_or(place)?,
            };
            counts[found] += cell.count;
            next = found + 1;
        }
        Ok(counts)
    }

    /// Every acknowledged arrival: when, and which entry sent it.
    pub fn acknowledged(&self) -> impl Iterator<Item = (Tick, u32)> {
        self.cells.iter().flat_map(|growing| growing.acknowledged.iter().copied())
    }

    /// Whether the fate of an arrival is unknown.
    pub fn has_unknown(&self) -> bool {
        self.cells.iter().any(|growing| growing.sent.len() > growing.acknowledged.len())
    }
}

/// The place for people.
pub fn name((payer, cpt_group, window, outcome, decision_days): Place<'_>) -> String {
    let window = match window {
        Window::Baseline => "baseline",
        Window::Current => "current",
    };
    let decided = decision_days.map_or("undecided".to_owned(), |days| format!("decided after {days} days"));
    format!("{payer}/{cpt_group}, {window} window, {}, {decided}", outcome.as_str())
}
