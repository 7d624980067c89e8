//! What a session says of itself within its transaction: which locks it has, and which tables it has read through,
//! written anew, or built an index of. It is the server's word, read after each statement, and not a guess from its text.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::rehearse::apply::{Added, Tables, Work};
use crate::rehearse::modes::Mode;

/// The locks and the work of one transaction, statement by statement.
#[derive(Debug, Default)]
pub struct Within {
    has: Vec<(i64, Mode)>,
    /// How often each table was read through, and which file of the server's holds it.
    seen: BTreeMap<i64, (i64, Option<i64>)>,
    indexes: Vec<i64>,
}

type Row = (i64, String, i64, Option<i64>, Option<i64>);

impl Within {
    /// Whether it has any lock.
    pub fn has_locks(&self) -> bool {
        !self.has.is_empty()
    }

    /// Notes how things stand, at the beginning of a transaction.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn begin(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let rows: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(
            "SELECT c.oid::int8, pg_stat_get_xact_numscans(c.oid), pg_relation_filenode(c.oid)::int8 FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
                 AND n.nspname NOT LIKE 'pg\\_toast%'",
        )
        .fetch_all(connection)
        .await?;
        let seen = rows.into_iter().map(|(table, scans, file)| (table, (scans, file))).collect();
        Ok(Self { has: Vec::new(), seen, indexes: Vec::new() })
    }

    /// Notes anew how often each table was read through: what was undone since the last look is counted all the same.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn look_again(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.seen = Self::begin(connection).await?.seen;
        Ok(())
    }

    /// Asks what the statement that has just ended has added; `known` is what was there before the file.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn look(&mut self, connection: &mut PgConnection, known: &Tables) -> Result<Added, sqlx::Error> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT l.relation::int8, l.mode, pg_stat_get_xact_numscans(l.relation), \
                 pg_relation_filenode(l.relation)::int8, i.indrelid::int8 \
             FROM pg_locks l LEFT JOIN pg_index i ON i.indexrelid = l.relation \
             WHERE l.pid = pg_backend_pid() AND l.granted AND l.locktype = 'relation' ORDER BY l.relation, l.mode",
        )
        .fetch_all(connection)
        .await?;
        let new_index = |row: &Row| row.4.filter(|_| !known.contains_key(&row.0) && !self.indexes.contains(&row.0));
        let built: Vec<i64> = rows.iter().filter_map(new_index).collect();
        self.indexes.extend(rows.iter().filter(|row| row.4.is_some()).map(|row| row.0));
        let mut added = Added::default();
        let mut now = Vec::new();
        for (table, mode, scans, file, index_of) in &rows {
            let Some(mode) = Mode::of_catalog(mode).filter(|_| known.contains_key(table)) else { continue };
            now.push((*table, mode));
            if !self.has.contains(&(*table, mode)) {
                added.took.push((*table, mode));
            }
            let Some(before) = self.seen.get_mut(table).filter(|_| index_of.is_none()) else { continue };
            let work = match *scans > before.0 {
                false => None,
                true if before.1 != *file => Some(Work::Rewrites),
                true if built.contains(table) => Some(Work::Builds),
                true => Some(Work::Scans),
            };
            *before = (*scans, *file);
            added.work.extend(work.map(|work| (*table, work)));
        }
        self.has = now;
        Ok(added)
    }
}
