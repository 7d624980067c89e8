//! Rows as chains of versions, and who has locked them.
//!
//! A row lock lives in the row, as a list of lockers (src/backend/access/heap/README.tuplock). One
//! locker alone is told from a list of several (a multixact) because PostgreSQL does so: a list
//! remembers members that have ended until somebody writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::op::Strength;

use super::transaction::Xid;
use crate::data::{EventRow, RunRow};

/// A version of a row, unique in the model.
pub(super) type VersionId = u32;

/// One version of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub id: VersionId,
    /// Who made it.
    pub made_by: Xid,
    /// Whether it is a row, or the absence of one.
    pub live: bool,
}

/// The versions of a row, oldest first, without those of transactions that were rolled back; and its lockers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub versions: Vec<Version>,
    /// Ordered by transaction, as PostgreSQL orders a multixact.
    pub lockers: Vec<(Xid, Strength)>,
    pub is_list: bool,
}

impl Chain {
    fn of(version: Version) -> Self {
        Self { versions: vec![version], lockers: Vec::new(), is_list: false }
    }

    pub fn newest(&self) -> Option<Version> {
        self.versions.last().copied()
    }

    /// The version that took the place of this one.
    pub fn successor(&self, id: VersionId) -> Option<Version> {
        let at = self.versions.iter().position(|version| version.id == id)?;
        self.versions.get(at + 1).copied()
    }

    /// The strongest lock that the row remembers; of members that have ended, too.
    pub fn strongest(&self) -> Option<Strength> {
        self.lockers.iter().map(|(_, strength)| *strength).max()
    }

    /// Adds a locker (`compute_new_xmax_infomask`).
    pub fn add(&mut self, xid: Xid, strength: Strength, is_running: impl Fn(Xid) -> bool) {
        self.lockers.retain(|(locker, _)| is_running(*locker));
        match self.lockers.as_mut_slice() {
            [] => {
                self.lockers.push((xid, strength));
                self.is_list = false;
            }
            [(locker, held)] if *locker == xid && !self.is_list => *held = strength.max(*held),
            _ => {
                if !self.lockers.contains(&(xid, strength)) {
                    self.lockers.push((xid, strength));
                }
                self.lockers.sort_unstable();
                self.is_list = true;
            }
        }
    }
}

/// A row and what its versions hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row<T> {
    pub chain: Chain,
    values: BTreeMap<VersionId, T>,
}

impl<T> Row<T> {
    pub fn new(version: Version, value: T) -> Self {
        Self { chain: Chain::of(version), values: BTreeMap::from([(version.id, value)]) }
    }

    pub fn push(&mut self, version: Version, value: Option<T>) {
        self.chain.versions.push(version);
        self.values.extend(value.map(|value| (version.id, value)));
    }

    pub fn value(&self, id: VersionId) -> &T {
        &self.values[&id]
    }

    /// The newest version that satisfies `sees`, unless it is the absence of a row.
    pub fn seen(&self, sees: impl Fn(Xid) -> bool) -> Option<(VersionId, &T)> {
        let version = self.chain.versions.iter().rev().find(|version| sees(version.made_by))?;
        version.live.then(|| (version.id, self.value(version.id)))
    }

    fn forget(&mut self, gone: &BTreeSet<Xid>) {
        self.chain.versions.retain(|version| !gone.contains(&version.made_by));
        let kept = &self.chain.versions;
        self.values.retain(|id, _| kept.iter().any(|version| version.id == *id));
    }
}

/// The number of a row in its table.
pub(super) type RowId = u32;

/// A row that can be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    Customer(CustomerId),
    Run(RowId),
    Event(RowId),
}

/// The tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Store {
    pub customers: BTreeMap<CustomerId, Chain>,
    pub runs: BTreeMap<RowId, Row<RunRow>>,
    pub events: BTreeMap<RowId, Row<EventRow>>,
    /// Claims are only ever inserted and read.
    pub claims: Vec<(Xid, CustomerId, Arc<Claim>)>,
}

impl Store {
    /// The chain of a row that exists: only the insert of a row that was rolled back removes one, and
    /// nobody holds on to such a row.
    pub fn chain(&self, at: At) -> &Chain {
        match at {
            At::Customer(id) => &self.customers[&id],
            At::Run(id) => &self.runs[&id].chain,
            At::Event(id) => &self.events[&id].chain,
        }
    }

    pub fn chain_mut(&mut self, at: At) -> &mut Chain {
        let chain = match at {
            At::Customer(id) => self.customers.get_mut(&id),
            At::Run(id) => self.runs.get_mut(&id).map(|row| &mut row.chain),
            At::Event(id) => self.events.get_mut(&id).map(|row| &mut row.chain),
        };
        chain.expect("a row that is locked exists")
    }

    /// Undoes what these transactions wrote.
    pub fn forget(&mut self, gone: &BTreeSet<Xid>) {
        self.runs.values_mut().for_each(|row| row.forget(gone));
        self.events.values_mut().for_each(|row| row.forget(gone));
        self.runs.retain(|_, row| !row.chain.versions.is_empty());
        self.events.retain(|_, row| !row.chain.versions.is_empty());
        self.claims.retain(|(xid, ..)| !gone.contains(xid));
    }
}
