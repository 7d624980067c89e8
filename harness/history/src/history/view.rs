//! What several checks derive from a history, derived once: tasks by id, transactions and holds,
//! each actor's entries, the distinct claim counts that were read.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::lock::Backend;
use drift_engine::op::{Op, Reply};
use drift_engine::session::Operation;

use super::arrivals::Arrivals;
use super::transactions::{Hold, Key, Ledger, Transaction};
use super::{ActorId, Entry, History, Outcome, Role, Seen, TaskId, TaskRecord, Tick};

/// A history with what follows from it.
#[derive(Debug)]
pub struct View<'h> {
    /// The history.
    pub history: &'h History,
    /// Its transactions and holds.
    pub ledger: Ledger,
    by_actor: Groups<ActorId>,
    /// The entries that were held at the gate after they had been invoked, and until when.
    held: BTreeMap<u32, Tick>,
    by_task: Groups<TaskId>,
    arrivals: OnceLock<Arrivals<'h>>,
    reads: OnceLock<Reads<'h>>,
}

impl<'h> View<'h> {
    /// Derives everything that is not derived on demand.
    pub fn of(history: &'h History) -> Self {
        let by_actor = Groups::by(&history.entries, |entry| Some(entry.actor));
        let held = held(history, &by_actor);
        let customer_of = |task| record(history, task).map(|record| record.identity.customer);
        let ledger = Ledger::of(history, customer_of, |index| sent_at(history, &held, index));
        let by_task = Groups::by(&ledger.transactions, |transaction| transaction.task);
        Self { history, ledger, by_actor, held, by_task, arrivals: OnceLock::new(), reads: OnceLock::new() }
    }

    /// One entry.
    pub fn entry(&self, index: u32) -> &'h Entry {
        &self.history.entries[index as usize]
    }

    /// The earliest time at which an entry can have been sent: its invocation, or the end of its
    /// hold at the gate.
    pub fn sent_at(&self, index: u32) -> Tick {
        sent_at(self.history, &self.held, index)
    }

    /// What became of a task, if it has a record.
    pub fn record(&self, task: TaskId) -> Option<&'h TaskRecord> {
        record(self.history, task)
    }

    /// The role of an actor, if it is listed.
    pub fn role(&self, actor: ActorId) -> Option<Role> {
        self.history.meta.actors.get(&actor).copied()
    }

    /// Whether an actor performs tasks.
    pub fn is_worker(&self, actor: ActorId) -> bool {
        self.role(actor) == Some(Role::Worker)
    }

    /// What a task of this customer excludes: its like on PostgreSQL, every other on SQLite.
    pub fn key_of(&self, customer: CustomerId) -> Key {
        match self.history.meta.backend {
            Backend::Postgres => Key::Customer(customer),
            Backend::Sqlite => Key::File,
        }
    }

    /// An actor's entries, in order.
    pub fn entries_of(&self, actor: ActorId) -> &[u32] {
        self.by_actor.of(&actor)
    }

    /// A task's transactions, in order, as indices.
    pub fn transactions_of(&self, task: TaskId) -> &[u32] {
        self.by_task.of(&task)
    }

    /// The entry that an actor had in flight at a tick: sent at or before it and not answered before it.
    pub fn in_flight(&self, actor: ActorId, at: Tick) -> Option<u32> {
        let entries = self.entries_of(actor);
        let next = entries.partition_point(|&index| self.entry(index).invoked <= at);
        let index = *entries.get(next.checked_sub(1)?)?;
        (self.entry(index).returned >= at).then_some(index)
    }

    /// The entry that an actor had in flight during the whole of an interval.
    pub fn in_flight_throughout(&self, actor: ActorId, from: Tick, until: Tick) -> Option<u32> {
        self.in_flight(actor, from).filter(|&index| self.entry(index).returned >= until)
    }

    /// The transaction that an actor had open during the whole of an interval.
    pub fn transaction_throughout(&self, actor: ActorId, from: Tick, until: Tick) -> Option<&Transaction> {
        let entries = self.entries_of(actor);
        let next = entries.partition_point(|&index| self.entry(index).invoked <= from);
        let index = *entries.get(next.checked_sub(1)?)?;
        let transaction = &self.ledger.transactions[self.ledger.transaction_of(index as usize)?];
        let begun = self.entry(transaction.begin).returned <= from;
        (begun && self.entry(transaction.last).returned >= until).then_some(transaction)
    }

    /// The lock under which an entry was sent.
    pub fn hold_at(&self, entry: u32) -> Option<&Hold> {
        self.ledger.hold_at(entry as usize).map(|hold| &self.ledger.holds[hold])
    }

    /// When an entry's effect was acknowledged by a COMMIT, or by itself outside a transaction;
    /// `None` if it was not.
    pub fn acknowledged(&self, entry: u32) -> Option<Tick> {
        let answered = self.entry(entry).outcome.ok().map(|_| self.entry(entry).returned);
        match self.ledger.transaction_of(entry as usize).map(|index| &self.ledger.transactions[index]) {
            Some(transaction) if transaction.committed() => answered.map(|_| self.entry(transaction.last).returned),
            Some(_) => None,
            None => answered,
        }
    }

    /// Whether an entry may have taken effect, acknowledged or not.
    pub fn maybe_effective(&self, entry: u32) -> bool {
        let transaction = self.ledger.transaction_of(entry as usize).map(|index| &self.ledger.transactions[index]);
        !matches!(self.entry(entry).outcome, Outcome::Failed(_)) && transaction.is_none_or(Transaction::maybe_committed)
    }

    /// The claims that were there, and those that arrived.
    pub fn arrivals(&self) -> &Arrivals<'h> {
        self.arrivals.get_or_init(|| Arrivals::of(self))
    }

    /// The claims that a successful read returned, and their number among the distinct ones.
    ///
    /// # Panics
    /// The entry is not a successful read of claims.
    pub fn claims_read(&self, entry: u32) -> (u32, &'h [Cell]) {
        let reads = self.reads.get_or_init(|| Reads::of(self.history));
        let at = reads.at.binary_search_by_key(&entry, |read| read.0).expect("the entry is a read that was answered");
        let number = reads.at[at].1;
        (number, reads.distinct[number as usize])
    }
}

/// Whether an operation asks for the lock that serialises tasks: on SQLite it is the beginning itself.
pub fn asks_for_lock(op: &Op, backend: Backend) -> bool {
    match op {
        Op::Lock(_) => backend == Backend::Postgres,
        Op::Begin { immediate, .. } => backend == Backend::Sqlite && *immediate,
        _ => false,
    }
}

/// Whether a reply grants the lock that was asked for.
pub fn grants_lock(reply: &Reply) -> bool {
    matches!(reply, Reply::Locked(true) | Reply::Done)
}

/// Whether an operation belongs into a task's critical section.
pub fn is_critical(op: &Op) -> bool {
    matches!(op, Op::OpenRun { .. } | Op::ReadClaims { .. } | Op::WriteEvents { .. } | Op::CloseRun { .. })
}

fn sent_at(history: &History, held: &BTreeMap<u32, Tick>, index: u32) -> Tick {
    let invoked = history.entries[index as usize].invoked;
    held.get(&index).map_or(invoked, |&until| invoked.max(until))
}

/// Finds the operation that each hold at the gate kept back, if it had been invoked before.
fn held(history: &History, by_actor: &Groups<ActorId>) -> BTreeMap<u32, Tick> {
    let mut held = BTreeMap::new();
    for seen in &history.seen {
        let Seen::Hold { actor, before, from, until, .. } = *seen else { continue };
        let entries = by_actor.of(&actor);
        let next = entries.partition_point(|&index| history.entries[index as usize].invoked <= from);
        let Some(&index) = next.checked_sub(1).and_then(|last| entries.get(last)) else { continue };
        let entry = &history.entries[index as usize];
        if entry.op.kind() == before && until <= entry.returned {
            held.insert(index, until);
        }
    }
    held
}

/// Finds a task's record; records are ordered by id, and usually without a gap.
fn record(history: &History, task: TaskId) -> Option<&TaskRecord> {
    let tasks = &history.tasks;
    match tasks.get(task.0 as usize) {
        Some(record) if record.id == task => Some(record),
        _ => tasks.binary_search_by_key(&task, |record| record.id).ok().map(|index| &tasks[index]),
    }
}

/// Indices of things, grouped by what they belong to, each group in order.
#[derive(Debug)]
struct Groups<K> {
    keys: Vec<(K, u32)>,
    indices: Vec<u32>,
}

impl<K: Ord + Copy> Groups<K> {
    fn by<T>(things: &[T], key: impl Fn(&T) -> Option<K>) -> Self {
        let mut pairs: Vec<(K, u32)> =
            things.iter().enumerate().filter_map(|(index, thing)| Some((key(thing)?, index as u32))).collect();
        pairs.sort_unstable();
        let mut keys = Vec::new();
        for (start, pair) in pairs.iter().enumerate() {
            if keys.last().is_none_or(|last: &(K, u32)| last.0 != pair.0) {
                keys.push((pair.0, start as u32));
            }
        }
        Self { keys, indices: pairs.into_iter().map(|pair| pair.1).collect() }
    }

    fn of(&self, key: &K) -> &[u32] {
        let Ok(at) = self.keys.binary_search_by_key(key, |pair| pair.0) else { return &[] };
        let start = self.keys[at].1 as usize;
        let end = self.keys.get(at + 1).map_or(self.indices.len(), |next| next.1 as usize);
        &self.indices[start..end]
    }
}

/// Every answered read of claims; equal answers about one customer share a number.
#[derive(Debug)]
struct Reads<'h> {
    /// Entry and number, ordered by entry.
    at: Vec<(u32, u32)>,
    distinct: Vec<&'h [Cell]>,
}

impl<'h> Reads<'h> {
    fn of(history: &'h History) -> Self {
        let mut numbers: HashMap<ByCounts<'_>, u32> = HashMap::new();
        let mut reads = Self { at: Vec::new(), distinct: Vec::new() };
        for (index, entry) in history.entries.iter().enumerate() {
            if let (Op::ReadClaims { customer, .. }, Some(Reply::Claims(cells))) = (&entry.op, entry.outcome.ok()) {
                let number = *numbers.entry(ByCounts(*customer, cells)).or_insert_with(|| {
                    reads.distinct.push(cells);
                    reads.distinct.len() as u32 - 1
                });
                reads.at.push((index as u32, number));
            }
        }
        reads
    }
}

/// What a read showed of a customer, as a key. Only the counts are hashed: the names are long, and
/// seldom tell two reads of one customer apart.
#[derive(PartialEq, Eq)]
struct ByCounts<'h>(CustomerId, &'h [Cell]);

impl Hash for ByCounts<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        // Knuth's multiplicative hashing (TAOCP 3, 6.4) mixes them; the map's own hasher sees one word.
        let mix = |mixed: u64, cell: &Cell| (mixed ^ cell.count).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        state.write_u64(self.1.iter().fold(self.1.len() as u64, mix));
    }
}
