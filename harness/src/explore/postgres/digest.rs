//! Whether a database is as it was at the beginning: a digest of all that a dump of it would show, and of
//! what scripts can change beside it.
//!
//! It is taken after the set-up and after each restore. Where both differ, rows are not all that changes, and
//! each execution gets a copy of the database.

use tokio_postgres::Client;

use super::state::{all_of, contents};
use super::{STEP_MAX, said};
use crate::explore::world::Lost;

/// The catalogs, with the rows of them that are the script's. What the server changes by itself (counts,
/// frozen transactions, hints) is no part of it.
const CATALOGS: [(&str, &str); 35] = [
    ("pg_attribute", "attrelid >= 16384"),
    ("pg_attrdef", "oid >= 16384"),
    ("pg_constraint", "oid >= 16384"),
    ("pg_index", "indexrelid >= 16384"),
    ("pg_inherits", "true"),
    ("pg_partitioned_table", "true"),
    ("pg_trigger", "oid >= 16384"),
    ("pg_rewrite", "oid >= 16384"),
    ("pg_policy", "true"),
    ("pg_proc", "oid >= 16384"),
    ("pg_aggregate", "aggfnoid >= 16384"),
    ("pg_type", "oid >= 16384"),
    ("pg_enum", "true"),
    ("pg_range", "rngtypid >= 16384"),
    ("pg_namespace", "nspname !~ '^pg_(toast_)?temp_'"),
    ("pg_operator", "oid >= 16384"),
    ("pg_opclass", "oid >= 16384"),
    ("pg_opfamily", "oid >= 16384"),
    ("pg_cast", "oid >= 16384"),
    ("pg_collation", "oid >= 16384"),
    ("pg_conversion", "oid >= 16384"),
    ("pg_sequence", "true"),
    ("pg_statistic_ext", "true"),
    ("pg_extension", "true"),
    ("pg_description", "objoid >= 16384"),
    ("pg_default_acl", "true"),
    ("pg_event_trigger", "true"),
    ("pg_foreign_server", "true"),
    ("pg_foreign_data_wrapper", "true"),
    ("pg_publication", "true"),
    ("pg_publication_rel", "true"),
    ("pg_language", "true"),
    ("pg_roles", "rolname !~ '^pg_'"),
    ("pg_auth_members", "true"),
    (
        "pg_db_role_setting",
        "setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database \
                                               WHERE datname = pg_catalog.current_database()))",
    ),
];

/// What of `pg_class` is the script's doing.
const CLASSES: &str = "(SELECT oid, relname, relnamespace, relowner, reltablespace, relkind, relpersistence, \
     relnatts, relrowsecurity, relforcerowsecurity, relreplident, relispartition, relacl, reloptions \
     FROM pg_catalog.pg_class WHERE relpersistence <> 't')";

/// Large objects: which there are, and what they hold.
const LARGE_OBJECTS: &str = "(SELECT pg_catalog.concat(pg_catalog.count(*), pg_catalog.sum(pg_catalog.hashtextextended( \
     oid || pg_catalog.encode(pg_catalog.lo_get(oid), 'hex'), 0))) FROM pg_catalog.pg_largeobject_metadata)";

/// How many rows, and which, whatever their order.
pub(super) fn rows_of(table: &str, filter: &str) -> String {
    format!(
        "(SELECT pg_catalog.concat(pg_catalog.count(*), ':', \
         pg_catalog.sum(pg_catalog.hashtextextended(one::pg_catalog.text, 0))) FROM {table} AS one WHERE {filter})"
    )
}

/// The digest of a beginning.
#[derive(Clone, Debug)]
pub(super) struct Digest {
    text: String,
    question: tokio_postgres::Statement,
    value: String,
}

impl Digest {
    /// Of the database as it is.
    pub async fn take(control: &Client) -> Result<Self, Lost> {
        let mut parts = vec![contents(control).await?, LARGE_OBJECTS.to_owned(), rows_of(CLASSES, "oid >= 16384")];
        parts.extend(CATALOGS.map(|(name, filter)| rows_of(&format!("pg_catalog.{name}"), filter)));
        let text = format!("SELECT {}", all_of(&parts));
        let question = control.prepare(&text).await.map_err(|error| said("prepare the digest", &error))?;
        let value = control.query_one(&question, &[]).await.map_err(|error| said("take the digest", &error))?;
        Ok(Self { value: value.get(0), question, text })
    }

    /// The same for another session. Where it cannot be asked as things are, the database is no longer as it was.
    pub async fn move_to(&mut self, control: &Client) {
        if let Ok(question) = control.prepare(&self.text).await {
            self.question = question;
        }
    }

    /// Whether the database is as it was. What cannot even be asked any more is not.
    ///
    /// # Errors
    /// The server is lost.
    pub async fn holds(&self, control: &Client) -> Result<bool, Lost> {
        let asked = tokio::time::timeout(STEP_MAX, control.query_one(&self.question, &[])).await;
        match asked.map_err(|_| Lost::during("take the digest", "no answer"))? {
            Ok(row) => Ok(row.get::<_, &str>(0) == self.value),
            Err(error) if error.as_db_error().is_some() => Ok(false),
            Err(error) => Err(said("take the digest", &error)),
        }
    }
}
