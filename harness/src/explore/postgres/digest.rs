//! Whether a database is as it was at the beginning: a digest of all that a dump of it would show, and of
//! what scripts can change beside it.
//!
//! It is taken after the set-up and after each restore. Where both differ, rows are not all that changes, and
//! each execution gets a copy of the database.

use tokio_postgres::Client;

use super::state::{all_of, contents};
use super::{STEP_MAX, said};
use crate::explore::world::Lost;

/// The catalogs that are no part of it. All others of the server are, whatever its version: so none is forgotten.
const LEFT_OUT: [&str; 10] = [
    // What of them can be told is told below, or by a view.
    "pg_class",
    "pg_database",
    "pg_authid",
    "pg_user_mapping",
    "pg_largeobject",
    // What ANALYZE counts.
    "pg_statistic",
    "pg_statistic_ext_data",
    // They follow from what is told, and have all databases in them.
    "pg_shdepend",
    "pg_replication_origin",
    // Workers change it in their own time.
    "pg_subscription_rel",
];

/// The rows of large catalogs that are the script's; of those that are not named here, and of a new version's, it is every
/// row. What the server changes by itself (counts, frozen transactions, hints) is in none of them.
const OF_SCRIPT: [(&str, &str); 28] = [
    ("pg_aggregate", "aggfnoid >= 16384"),
    ("pg_amop", "oid >= 16384"),
    ("pg_amproc", "oid >= 16384"),
    ("pg_attrdef", "oid >= 16384"),
    ("pg_attribute", "attrelid >= 16384"),
    ("pg_cast", "oid >= 16384"),
    ("pg_collation", "oid >= 16384"),
    ("pg_constraint", "oid >= 16384"),
    ("pg_conversion", "oid >= 16384"),
    // Of what is whose part is told here only, as a sequence of a column.
    ("pg_depend", "objid >= 16384"),
    ("pg_description", "objoid >= 16384"),
    ("pg_index", "indexrelid >= 16384"),
    ("pg_init_privs", "objoid >= 16384"),
    ("pg_namespace", "nspname !~ '^pg_(toast_)?temp_'"),
    ("pg_opclass", "oid >= 16384"),
    ("pg_operator", "oid >= 16384"),
    ("pg_opfamily", "oid >= 16384"),
    ("pg_proc", "oid >= 16384"),
    ("pg_range", "rngtypid >= 16384"),
    ("pg_rewrite", "oid >= 16384"),
    ("pg_trigger", "oid >= 16384"),
    ("pg_ts_config_map", "mapcfg >= 16384"),
    ("pg_type", "oid >= 16384"),
    // Other databases have their rows in these.
    (
        "pg_db_role_setting",
        "setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))",
    ),
    ("pg_shdescription", OF_THIS_DATABASE),
    ("pg_shseclabel", OF_THIS_DATABASE),
    (
        "pg_subscription",
        "subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
    ),
    ("pg_roles", "rolname !~ '^pg_'"),
];

/// The rows of shared catalogs that belong to no database: one that is made anew has another number.
const OF_NO_DATABASE: [(&str, &str); 4] = [
    ("pg_db_role_setting", "setdatabase = 0"),
    ("pg_shdescription", "classoid <> 'pg_catalog.pg_database'::pg_catalog.regclass"),
    ("pg_shseclabel", "classoid <> 'pg_catalog.pg_database'::pg_catalog.regclass"),
    ("pg_subscription", "false"),
];

const OF_THIS_DATABASE: &str = "classoid <> 'pg_catalog.pg_database'::pg_catalog.regclass OR objoid = \
     (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";

/// The catalogs of this server that the role may read, and whether all databases share them. A view shows what of a
/// catalog everybody may read.
const CATALOGS: &str = "\
    SELECT relname, relisshared FROM pg_catalog.pg_class \
    WHERE relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND relkind = 'r' AND oid < 16384 \
      AND relname <> ALL ($1) AND pg_catalog.has_table_privilege(oid, 'SELECT') \
    UNION ALL VALUES ('pg_roles', true), ('pg_user_mappings', false) ORDER BY 1";

/// What of `pg_class` is the script's doing.
const CLASSES: &str = "(SELECT oid, relname, relnamespace, relowner, reltablespace, relkind, relpersistence, \
     relnatts, relrowsecurity, relforcerowsecurity, relreplident, relispartition, relacl, reloptions \
     FROM pg_catalog.pg_class WHERE relpersistence <> 't')";

/// What of the row of the database itself is the script's doing.
const DATABASE: &str = "(SELECT pg_catalog.concat_ws(' ', datdba, datacl, datconnlimit) FROM pg_catalog.pg_database \
     WHERE datname = pg_catalog.current_database())";

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

/// What of each catalog is part of it: of all of them, or of those that all databases share.
async fn catalogs(control: &Client, only_shared: bool) -> Result<Vec<String>, Lost> {
    let rows = control.query(CATALOGS, &[&&LEFT_OUT[..]]).await;
    let rows = rows.map_err(|error| said("ask which catalogs there are", &error))?;
    let all = rows.iter().map(|row| (row.get::<_, &str>(0), row.get::<_, bool>(1)));
    let of_shared = OF_NO_DATABASE.iter().filter(|_| only_shared);
    let filters: Vec<&(&str, &str)> = of_shared.chain(&OF_SCRIPT).collect();
    let filter = |name: &str| filters.iter().find(|of| of.0 == name).map_or("true", |of| of.1);
    let of = |name: &str| rows_of(&format!("pg_catalog.{name}"), filter(name));
    Ok(all.filter(|(_, shared)| *shared || !only_shared).map(|(name, _)| of(name)).collect())
}

/// What all databases of the server share, and a copy of a database does not put back: roles, what they are members of.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    question: String,
    value: String,
}

impl Shared {
    /// As it is.
    pub async fn take(control: &Client) -> Result<Self, Lost> {
        let question = format!("SELECT {}", all_of(&catalogs(control, true).await?));
        let value = Self::ask(control, &question).await?;
        Ok(Self { question, value })
    }

    /// Whether it is as it was.
    pub async fn holds(&self, control: &Client) -> Result<bool, Lost> {
        Ok(Self::ask(control, &self.question).await? == self.value)
    }

    async fn ask(control: &Client, question: &str) -> Result<String, Lost> {
        let row = control.query_one(question, &[]).await;
        Ok(row.map_err(|error| said("ask which roles there are", &error))?.get(0))
    }
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
        let classes = rows_of(CLASSES, "oid >= 16384");
        let mut parts = vec![contents(control).await?, LARGE_OBJECTS.to_owned(), DATABASE.to_owned(), classes];
        parts.extend(catalogs(control, false).await?);
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
