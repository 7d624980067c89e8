//! What a step was observed to touch, and whether two steps may be exchanged.
//!
//! Two steps are independent if neither order of them can be told from the other. Everything here errs
//! on one side: [`Footprint::conflicts`] may say yes of steps that could be exchanged, and never no of
//! steps that cannot. Relations go by their names, since numbers do not outlive a table that is made anew.

use std::collections::BTreeMap;

/// The strongest thing that a transaction has done to a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// Read it: `AccessShareLock`.
    Read,
    /// Locked rows of it: `RowShareLock`.
    Lock,
    /// Written to it: `RowExclusiveLock`, up to those that still let it be read.
    Write,
    /// `AccessExclusiveLock`.
    Exclusive,
}

impl Touch {
    /// From the name of a relation lock's mode in `pg_locks`
    /// (postgresql.org/docs/15/explicit-locking.html, table 13.2).
    pub fn of_mode(mode: &str) -> Self {
        match mode {
            "AccessShareLock" => Self::Read,
            "RowShareLock" => Self::Lock,
            "AccessExclusiveLock" => Self::Exclusive,
            _ => Self::Write,
        }
    }
}

/// What a step touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// It is not known what: it conflicts with everything that touches anything.
    pub everything: bool,
    /// The relations, by schema and name; a partition counts as its whole table, an index as its table.
    pub relations: BTreeMap<String, Touch>,
    /// It depends on the schema at least, and on nothing that is named here: only what touches everything,
    /// as a change of the schema does, conflicts with that.
    pub schema: bool,
    /// It may have to do with advisory locks.
    pub advisory: bool,
    /// A transaction that may have written has ended: what it wrote is seen from now on, or gone.
    pub ends: bool,
    /// What it sees depends on which transactions have ended, of whatever relation: it belongs to a
    /// REPEATABLE READ or SERIALIZABLE transaction.
    pub snapshot: bool,
    /// It belongs to a SERIALIZABLE transaction: whether it fails depends on others of its kind.
    pub serializable: bool,
}

impl Footprint {
    /// What is known of a step of which nothing is known.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether it touched nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the transaction may have changed something.
    pub fn writes(&self) -> bool {
        self.everything || self.relations.values().any(|touch| *touch >= Touch::Write)
    }

    /// What a statement touches of which only this is known: it is run on a schema.
    pub fn of_statement() -> Self {
        Self { schema: true, ..Self::default() }
    }

    /// It needs the sessions of all to go on, or, with [`Touch::Exclusive`], ends them all. Nothing in a database has such
    /// a name.
    pub fn touch_sessions(&mut self, touch: Touch) {
        self.touch("", touch);
    }

    /// Adds a touch of a relation.
    pub fn touch(&mut self, relation: &str, touch: Touch) {
        match self.relations.get_mut(relation) {
            Some(known) => *known = (*known).max(touch),
            None => drop(self.relations.insert(relation.to_owned(), touch)),
        }
    }

    /// What is touched here and not, or less strongly, there: relations and advisory locks.
    pub fn beyond(&self, known: &Self) -> Self {
        let new = |(name, touch): &(&String, &Touch)| known.relations.get(*name).is_none_or(|known| *known < **touch);
        let relations = self.relations.iter().filter(new).map(|(name, touch)| (name.clone(), *touch)).collect();
        let advisory = self.advisory && !known.advisory;
        Self { everything: self.everything, relations, advisory, ..Self::default() }
    }

    /// Adds what another step touched.
    pub fn add(&mut self, other: &Self) {
        self.everything |= other.everything;
        self.advisory |= other.advisory;
        self.ends |= other.ends;
        self.snapshot |= other.snapshot;
        self.serializable |= other.serializable;
        self.schema |= other.schema;
        for (relation, touch) in &other.relations {
            self.touch(relation, *touch);
        }
    }

    /// Whether the order of the two steps may matter.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.conflicts_by(other, &Rule::ALL)
    }

    /// Whether the order of the two steps may matter by one of these rules. With fewer than all of them a search
    /// misses outcomes: so the test that looks for missed ones is itself tested.
    pub fn conflicts_by(&self, other: &Self, rules: &[Rule]) -> bool {
        if self.is_empty() || other.is_empty() {
            return false;
        }
        rules.iter().any(|rule| match rule {
            Rule::Everything => self.everything || other.everything,
            Rule::Advisory => self.advisory && other.advisory,
            Rule::Serializable => self.serializable && other.serializable,
            Rule::Snapshot => self.ends && other.snapshot || self.snapshot && other.ends,
            Rule::ReadWrite | Rule::LockLock | Rule::LockWrite | Rule::WriteWrite | Rule::Exclusive => {
                self.relations.iter().any(|(relation, touch)| {
                    let its = other.relations.get(relation);
                    its.is_some_and(|its| Rule::of((self, *touch), (other, *its)) == Some(*rule))
                })
            }
        })
    }
}

/// Why the order of two steps may matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Of one of them it is not known what it touched.
    Everything,
    /// Both have to do with advisory locks.
    Advisory,
    /// Both are SERIALIZABLE: which of them fails depends on others of their kind.
    Serializable,
    /// One sees what had ended before its transaction began, and the other ends.
    Snapshot,
    /// One reads what the other has written, and that one ends.
    ReadWrite,
    /// Both lock rows.
    LockLock,
    /// One locks rows, the other writes.
    LockWrite,
    /// Both write.
    WriteWrite,
    /// One has the relation for itself.
    Exclusive,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Everything,
        Self::Advisory,
        Self::Serializable,
        Self::Snapshot,
        Self::ReadWrite,
        Self::LockLock,
        Self::LockWrite,
        Self::WriteWrite,
        Self::Exclusive,
    ];

    /// By which rule two touches of one relation collide, if they do. What is written is not seen until it is
    /// committed, so a read and a write do only at the writer's end, and a read and a lock never.
    fn of((one, a): (&Footprint, Touch), (other, b): (&Footprint, Touch)) -> Option<Self> {
        let (weak, strong) = (a.min(b), a.max(b));
        match (weak, strong) {
            (_, Touch::Exclusive) => Some(Self::Exclusive),
            (Touch::Read, Touch::Read | Touch::Lock) => None,
            (Touch::Read, Touch::Write) => {
                let ends = if a > b { one.ends } else { other.ends };
                ends.then_some(Self::ReadWrite)
            }
            (Touch::Lock, Touch::Lock) => Some(Self::LockLock),
            (Touch::Lock, _) => Some(Self::LockWrite),
            _ => Some(Self::WriteWrite),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(relation: u32, touch: Touch) -> Footprint {
        Footprint { relations: [(relation.to_string(), touch)].into(), ..Footprint::default() }
    }

    #[test]
    fn a_read_meets_a_write_at_the_writers_end_only() {
        let (read, write) = (touch(1, Touch::Read), touch(1, Touch::Write));
        let commit = Footprint { ends: true, ..write.clone() };
        assert!(!read.conflicts(&write) && !write.conflicts(&read));
        assert!(read.conflicts(&commit) && commit.conflicts(&read));
        assert!(write.conflicts(&write) && write.conflicts(&commit));
        assert!(!read.conflicts(&Footprint { ends: true, ..touch(2, Touch::Write) }));
        let reader_ends = Footprint { ends: true, ..read.clone() };
        assert!(!reader_ends.conflicts(&write));
    }

    #[test]
    fn locks_meet_locks_and_writes_and_an_exclusive_lock_meets_all() {
        let [read, lock, write, exclusive] =
            [Touch::Read, Touch::Lock, Touch::Write, Touch::Exclusive].map(|one| touch(1, one));
        assert!(lock.conflicts(&lock) && lock.conflicts(&write) && !lock.conflicts(&read));
        assert!([read, lock, write].iter().all(|other| other.conflicts(&exclusive)));
        assert!(!exclusive.conflicts(&touch(2, Touch::Exclusive)));
    }

    #[test]
    fn snapshots_meet_the_end_of_any_writer_and_nothing_meets_no_touch() {
        let snapshot = Footprint { snapshot: true, ..touch(1, Touch::Read) };
        let commit = Footprint { ends: true, ..touch(2, Touch::Write) };
        assert!(snapshot.conflicts(&commit) && commit.conflicts(&snapshot));
        assert!(!Footprint::default().conflicts(&Footprint::everything()));
        assert!(Footprint::everything().conflicts(&touch(1, Touch::Read)));
        let serializable = Footprint { serializable: true, ..Footprint::default() };
        assert!(serializable.conflicts(&serializable.clone()));
        let advisory = Footprint { advisory: true, ..Footprint::default() };
        assert!(advisory.conflicts(&advisory.clone()) && !advisory.conflicts(&serializable));
    }

    #[test]
    fn a_statement_that_touches_nothing_depends_on_the_schema_all_the_same() {
        let statement = Footprint::of_statement();
        assert!(statement.conflicts(&Footprint::everything()) && Footprint::everything().conflicts(&statement));
        assert!(!statement.conflicts(&statement) && !statement.conflicts(&touch(1, Touch::Exclusive)));
    }

    #[test]
    fn what_is_new_is_told_from_what_was_touched_before() {
        let mut known = touch(1, Touch::Lock);
        assert_eq!(touch(1, Touch::Read).beyond(&known), Footprint::default());
        assert_eq!(touch(1, Touch::Write).beyond(&known), touch(1, Touch::Write));
        assert_eq!(touch(2, Touch::Read).beyond(&known), touch(2, Touch::Read));
        known.add(&touch(1, Touch::Exclusive));
        assert!(touch(1, Touch::Write).beyond(&known).is_empty());
        assert!(Footprint::everything().beyond(&Footprint::everything()).everything);
    }
}
