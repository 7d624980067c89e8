//! What engineers would try where concurrent actors violate something: proposals, to be explored.
//!
//! None of them is known to help: [`super::repair`] finds that out. Some are there because people try them although they
//! do not help, and then it is to be said why.

mod constraints;
mod explain;
mod locks;
mod statements;
mod transactions;

use std::collections::BTreeSet;

use drift_engine::lock::Backend;

pub use self::explain::explain;
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

/// What proposals are made from.
struct Job<'a> {
    script: &'a Script,
    case: &'a ScriptCase,
    catalog: &'a Catalog,
    found: &'a Found,
    /// Tables that one actor changes, and another one reads or changes.
    shared: Vec<String>,
}

/// What might mend a script in which this was found.
pub fn proposals(script: &Script, case: &ScriptCase, catalog: &Catalog, found: &Found) -> Vec<Proposal> {
    let job = Job { script, case, catalog, found, shared: shared(script, case) };
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
        Variation::of(self.script, self.case)
    }

    /// The script with one transaction around what each actor does, and the steps that begin them.
    fn in_transactions(&self) -> Option<(Draft, Vec<usize>)> {
        let mut draft = self.draft();
        let mut begins = Vec::new();
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
