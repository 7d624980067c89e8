//! A schema as lines that can be compared, and what a migration may leave behind in it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A schema, one line an object. The order of a table's columns is no part of what is compared: a column that comes
/// back stands at the end, and whoever names columns does not notice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    lines: BTreeSet<String>,
    /// The columns of each table, as they stand.
    columns: BTreeMap<String, Vec<String>>,
}

impl Schema {
    /// A schema of these lines, and of tables with these columns.
    pub fn new(lines: impl IntoIterator<Item = String>, columns: BTreeMap<String, Vec<String>>) -> Self {
        Self { lines: lines.into_iter().collect(), columns }
    }

    /// What another schema has otherwise: lines with `-` are only in this one, with `+` only in the other.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let gone = self.lines.difference(&other.lines).map(|line| format!("- {line}"));
        gone.chain(other.lines.difference(&self.lines).map(|line| format!("+ {line}"))).collect()
    }

    /// The tables that have the same columns in another schema, in another order: what to say of each.
    pub fn reordered(&self, other: &Self) -> Vec<String> {
        let sorted = |columns: &[String]| -> BTreeSet<String> { columns.iter().cloned().collect() };
        let both = self.columns.iter().filter_map(|(table, then)| Some((table, then, other.columns.get(table)?)));
        both.filter(|(_, then, now)| then != now && sorted(then) == sorted(now))
            .map(|(table, then, now)| {
                format!(
                    "the columns of {table} stand in another order ({} instead of {}): SELECT * and INSERT without a list \
                     of columns see that",
                    now.join(", "),
                    then.join(", ")
                )
            })
            .collect()
    }

    /// How many objects it has.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Something that should not be left when a migration has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Left {
    /// An index that answers no query, and that every write still pays for if it is ready.
    InvalidIndex {
        /// Its name.
        index: String,
        /// Its table.
        table: String,
        /// Whether it rejects duplicates all the same.
        ready: bool,
    },
    /// A constraint that holds for new rows only.
    UnvalidatedConstraint {
        /// Its name.
        constraint: String,
        /// Its table.
        table: String,
    },
    /// A session-level advisory lock that the migrating session still has.
    AdvisoryLock {
        /// Its key, as `pg_locks` shows it.
        key: String,
    },
    /// Rows that refer to what is not there.
    Dangling {
        /// Their table.
        table: String,
        /// The table that they refer to.
        parent: String,
        /// How many there are.
        rows: i64,
    },
    /// A part of a file that was refused.
    Part {
        /// How the schema differs.
        line: String,
    },
    /// A transaction that was prepared and not ended.
    PreparedTransaction {
        /// Its name.
        name: String,
    },
    /// A session of somebody else's that is idle in a transaction, with its locks and its snapshot.
    IdleTransaction {
        /// The session.
        pid: i32,
        /// What it calls itself.
        application: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_of_columns_is_told_where_only_the_order_is_another() {
        let schema = |columns: &[&str]| Schema {
            columns: [("t".to_owned(), columns.iter().map(|&column| column.to_owned()).collect())].into(),
            ..Schema::default()
        };
        let (then, now) = (schema(&["a", "b"]), schema(&["b", "a"]));
        assert!(then.reordered(&now)[0].starts_with("the columns of t stand in another order (b, a instead of a, b)"));
        assert!(then.difference(&now).is_empty());
        for same in [&then, &schema(&["a"]), &schema(&["a", "c"]), &Schema::default()] {
            assert_eq!(then.reordered(same), [""; 0]);
        }
    }
}
