//! What engineers would try where concurrent actors violate something: proposals, to be explored.
//!
//! None of them is known to help: [`super::repair`] finds that out. Some are there because people try them although they
//! do not help, and then it is to be said why.

mod constraints;
mod explain;
mod locks;
pub(super) mod on_wire;
mod statements;
mod transactions;

use std::collections::BTreeSet;

use drift_engine::lock::Backend;

pub use self::explain::{explain, reserve};
use super::catalog::Catalog;
use super::course::{Looked, in_one_transaction, look};
use super::defences::same_table;
use super::{Draft, Variation};
use crate::explore::judge::Found;
use crate::explore::world::What;
use crate::scenario::script::{COMMITTED, Script, ScriptActor, ScriptCase};

/// How often an actor begins anew in a repair that has it do so.
const RETRIES: u32 = 5;

/// A repair, proposed.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Of which kind it is.
    pub kind: Kind,
    /// The script with it.
    pub variation: Variation,
}

/// The kinds of repairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A transaction around what was none.
    Transaction,
    /// Beginning anew after a refusal.
    Retry,
    /// A lock on the rows that are read.
    RowLock,
    /// A lock on the rows that are read, passing over those that are locked.
    SkipLocked,
    /// A lock on the rows that are counted, before they are.
    CountedRows,
    /// A lock on the row that others refer to.
    ParentRow,
    /// All rows locked in one order, before the first is changed.
    OrderedLocks,
    /// An advisory lock.
    AdvisoryLock,
    /// An advisory lock that is kept until the transaction's end.
    KeptUntilCommit,
    /// REPEATABLE READ, beginning anew.
    RepeatableRead,
    /// SERIALIZABLE, beginning anew.
    Serializable,
    /// SQLite's BEGIN IMMEDIATE.
    Immediate,
    /// A unique index.
    Unique,
    /// A unique index for which NULLs are equal.
    UniqueNulls,
    /// An exclusion constraint.
    Exclusion,
    /// ON CONFLICT DO NOTHING.
    OnConflict,
    /// A savepoint before what may be refused.
    Savepoint,
    /// What was read and then written, in one statement.
    OneStatement,
}

/// What can be changed of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// Its steps: it is a script.
    Steps,
    /// What its programs send, on the way to the server: there is no step more, and nobody begins anew who does not by
    /// himself.
    Wire,
}

/// What proposals are made from.
struct Job<'a> {
    script: &'a Script,
    case: &'a ScriptCase,
    catalog: &'a Catalog,
    found: &'a Found,
    /// The script whose steps those of what was found are.
    shown: &'a Script,
    means: Means,
    /// Tables that one actor changes, and another one reads or changes.
    shared: Vec<String>,
}

/// What might mend a script in which this was found.
pub fn proposals(script: &Script, case: &ScriptCase, catalog: &Catalog, found: &Found) -> Vec<Proposal> {
    let (shown, means) = (script, Means::Steps);
    let job = Job { script, case, catalog, found, shown, means, shared: shared(script, case) };
    let mut all = Vec::new();
    let mut add = |kind: Kind, proposed: Option<Variation>| {
        all.extend(proposed.map(|variation| Proposal { kind, variation }));
    };
    add(Kind::Transaction, job.transaction());
    add(Kind::Retry, job.retry());
    match case.backend {
        Backend::Postgres => {
            add(Kind::RowLock, job.row_locks("FOR UPDATE"));
            add(Kind::RowLock, job.row_locks("FOR NO KEY UPDATE"));
            add(Kind::SkipLocked, job.skip_locked());
            add(Kind::CountedRows, job.counted_rows());
            add(Kind::ParentRow, job.parent_row());
            add(Kind::OrderedLocks, job.ordered_locks());
            add(Kind::KeptUntilCommit, job.kept_until_commit());
            add(Kind::AdvisoryLock, job.advisory_lock());
            add(Kind::RepeatableRead, job.isolation("REPEATABLE READ"));
            add(Kind::Serializable, job.isolation("SERIALIZABLE"));
        }
        Backend::Sqlite => add(Kind::Immediate, job.immediate()),
    }
    for variation in job.unique() {
        add(Kind::Unique, Some(variation));
    }
    for variation in job.unique_nulls() {
        add(Kind::UniqueNulls, Some(variation));
    }
    add(Kind::Exclusion, job.exclusion());
    add(Kind::OnConflict, job.on_conflict());
    add(Kind::Savepoint, job.savepoint());
    add(Kind::OneStatement, job.one_statement());
    all
}

/// What might mend an application without a change to its programs. `sent` has all that they were seen to send, as a
/// script's steps; `shown` has what they sent in the order that was found.
pub(super) fn proposals_on_wire(
    sent: &Script,
    case: &ScriptCase,
    catalog: &Catalog,
    found: &Found,
    shown: &Script,
) -> Vec<Proposal> {
    let means = Means::Wire;
    let job = Job { script: sent, case, catalog, found, shown, means, shared: shared(sent, case) };
    let of = |kind| move |variation| Proposal { kind, variation };
    let mut all = Vec::new();
    all.extend(job.row_locks("FOR UPDATE").map(of(Kind::RowLock)));
    all.extend(job.row_locks("FOR NO KEY UPDATE").map(of(Kind::RowLock)));
    all.extend(job.skip_locked().map(of(Kind::SkipLocked)));
    all.extend(job.lock_after_begin().map(of(Kind::AdvisoryLock)));
    all.extend(job.begun_at("REPEATABLE READ").map(of(Kind::RepeatableRead)));
    all.extend(job.begun_at("SERIALIZABLE").map(of(Kind::Serializable)));
    all.extend(job.unique().into_iter().map(of(Kind::Unique)));
    all.extend(job.unique_nulls().into_iter().map(of(Kind::UniqueNulls)));
    all.extend(job.exclusion().map(of(Kind::Exclusion)));
    all.extend(job.on_conflict().map(of(Kind::OnConflict)));
    all
}

/// Tables that one actor changes, and another one reads or changes, in the order of their names.
fn shared(script: &Script, case: &ScriptCase) -> Vec<String> {
    let looked: Vec<Vec<Looked>> = script.actors.iter().map(|actor| look(actor, case)).collect();
    let mut shared = BTreeSet::new();
    for (one, of_one) in looked.iter().enumerate() {
        for change in of_one.iter().filter_map(|step| step.change.as_ref()) {
            let touches = |step: &Looked| {
                let changes = step.change.as_ref().is_some_and(|other| same_table(&other.table, &change.table));
                let mut read = step.read.iter().flat_map(|read| &read.tables);
                changes || read.any(|table| same_table(table, &change.table))
            };
            let others = looked.iter().enumerate().filter(|(other, _)| *other != one);
            if others.flat_map(|(_, steps)| steps).any(touches) {
                shared.insert(change.table.clone());
            }
        }
    }
    shared.into_iter().collect()
}

impl Job<'_> {
    /// The script as it is.
    fn draft(&self) -> Draft {
        let mut draft = Variation::of(self.script, self.case);
        draft.on_wire.is_all = self.means == Means::Wire;
        draft
    }

    /// The script with one transaction around what each actor does, and the steps that begin them.
    fn in_transactions(&self) -> Option<(Draft, Vec<usize>)> {
        let mut draft = self.draft();
        let mut begins = Vec::new();
        if self.means == Means::Wire {
            // Programs begin their transactions themselves, or are in none.
            return Some((draft, begins));
        }
        for actor in 0..self.script.actors.len() {
            let (whole, begin) = in_one_transaction(&self.script.actors[actor], self.case)?;
            let is_new = whole != self.script.actors[actor];
            draft.script.actors[actor] = whole;
            if is_new {
                draft.alters((actor, begin));
                draft.alters((actor, draft.script.actors[actor].steps.len() - 1));
            }
            begins.push(begin);
        }
        Some((draft, begins))
    }

    /// Whether a table is one of those that matter.
    fn is_shared(&self, table: &str) -> bool {
        self.shared.iter().any(|shared| same_table(shared, table))
    }

    /// Whether an actor changes rows.
    fn changes(&self, actor: &ScriptActor) -> bool {
        look(actor, self.case).iter().any(|step| step.change.is_some())
    }

    /// The refusals of the order that was found: whose step, and with which code.
    fn refusals(&self) -> Vec<(usize, usize, &str)> {
        let events = self.found.execution.events();
        events
            .filter_map(|event| match &event.what {
                What::Failed { code, .. } => Some((event.actor, event.step, code.as_str())),
                _ => None,
            })
            .collect()
    }

    /// Whether the order that was found ended with a COMMIT that was answered with ROLLBACK.
    fn is_undone(&self) -> bool {
        self.found.check == COMMITTED
    }
}
