//! What a script's set-up makes, asked of the database: tables, and what it refuses by itself.

use drift_engine::lock::Backend;

use crate::explore::world::{Lost, Rows, World};
use crate::scenario::script::NamedQuery;

/// What the database of a script holds before the first step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// A query for the rows of each table: what in them is compared.
    pub rows: Vec<NamedQuery>,
    /// What is refused, whoever asks.
    pub constraints: Vec<Constraint>,
    /// Columns that may be NULL: table and column.
    pub nullable: Vec<(String, String)>,
    /// There are triggers, which may write anything.
    pub has_triggers: bool,
}

/// Something that a database refuses by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// Its table, quoted where that is needed.
    pub table: String,
    /// Its name, quoted where that is needed.
    pub name: String,
    /// What it is.
    pub kind: ConstraintKind,
    /// As the database writes it.
    pub definition: String,
    /// The columns that it is about, where they are columns.
    pub columns: Vec<String>,
    /// A foreign key's table and column there, where it is one column.
    pub refers_to: Option<(String, String)>,
}

/// What a constraint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstraintKind {
    /// A primary key.
    Primary,
    /// A unique constraint.
    Unique,
    /// A unique index that is no constraint's.
    Index,
    /// An exclusion constraint.
    Exclusion,
    /// A foreign key.
    Foreign,
    /// A condition on each row.
    Check,
}

impl Constraint {
    /// The statement that drops it, if one can.
    pub fn dropped(&self) -> String {
        match self.kind {
            ConstraintKind::Index => format!("DROP INDEX {}", self.name),
            // What refers to a key goes with it.
            _ => format!("ALTER TABLE {} DROP CONSTRAINT {} CASCADE", self.table, self.name),
        }
    }

    /// Whether it says that rows differ.
    pub fn keeps_apart(&self) -> bool {
        !matches!(self.kind, ConstraintKind::Foreign | ConstraintKind::Check)
    }
}

/// The tables of the user, as a condition on `n.nspname`.
const OF_USER: &str = "n.nspname !~ '^(pg_|driftlock)' AND n.nspname <> 'information_schema'";

/// The queries of a backend: constraints, columns, triggers.
pub(super) fn queries(backend: Backend) -> [String; 3] {
    match backend {
        Backend::Postgres => [
            format!(
                "SELECT k.conrelid::regclass::text, quote_ident(k.conname), k.contype::text, \
                 pg_get_constraintdef(k.oid), array_to_string(ARRAY(SELECT a.attname FROM unnest(k.conkey) \
                 WITH ORDINALITY AS u (number, place) JOIN pg_attribute a ON a.attrelid = k.conrelid AND \
                 a.attnum = u.number ORDER BY u.place), ','), CASE WHEN k.contype = 'f' AND \
                 array_length(k.conkey, 1) = 1 THEN k.confrelid::regclass::text END, \
                 (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = k.confrelid AND a.attnum = k.confkey[1]) \
                 FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE k.contype IN ('p', 'u', 'x', 'f', 'c') AND k.conparentid = 0 AND k.coninhcount = 0 AND {OF_USER} \
                 UNION ALL SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text, 'i', \
                 pg_get_indexdef(i.indexrelid), array_to_string(ARRAY(SELECT a.attname FROM unnest(i.indkey::int[]) \
                 WITH ORDINALITY AS u (number, place) JOIN pg_attribute a ON a.attrelid = i.indrelid AND \
                 a.attnum = u.number ORDER BY u.place), ','), NULL, NULL \
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE i.indisunique AND NOT c.relispartition AND {OF_USER} AND \
                 NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid) ORDER BY 1, 2"
            ),
            format!(
                "SELECT c.oid::regclass::text, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND \
                 NOT a.attisdropped AND NOT a.attnotnull AND {OF_USER}"
            ),
            format!(
                "SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND {OF_USER}"
            ),
        ],
        Backend::Sqlite => [
            // Only an index of its own can be dropped there.
            "SELECT '\"' || m.name || '\"', '\"' || l.name || '\"', 'i', coalesce(i.sql, ''), group_concat(c.name, ','), NULL, NULL \
             FROM sqlite_master m JOIN pragma_index_list(m.name) l JOIN sqlite_master i ON i.name = l.name \
             JOIN pragma_index_info(l.name) c WHERE m.type = 'table' AND l.\"unique\" AND l.origin = 'c' \
             GROUP BY m.name, l.name"
                .to_owned(),
            "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND c.\"notnull\" = 0"
                .to_owned(),
            "SELECT name FROM sqlite_master WHERE type = 'trigger'".to_owned(),
        ],
    }
}

/// Asks what a world's set-up has made.
///
/// # Errors
/// The database is lost, or has no answer.
pub async fn catalog<W: World>(world: &mut W, backend: Backend) -> Result<Catalog, Lost> {
    world.reset().await?;
    let rows = world.tables().await?;
    let queries = queries(backend);
    Catalog::of(rows, world.finish(&queries).await?.answers)
}

impl Catalog {
    /// Of what a database has answered to [`queries`].
    pub(super) fn of(rows: Vec<NamedQuery>, answers: Vec<Result<Rows, String>>) -> Result<Self, Lost> {
        let mut answers = answers.into_iter().map(|answer| answer.map_err(Lost::new));
        let mut next = || answers.next().unwrap_or_else(|| Ok(Vec::new()));
        let (constraints, nullable, triggers): (Rows, Rows, Rows) = (next()?, next()?, next()?);
        Ok(Self {
            has_triggers: !triggers.is_empty(),
            rows,
            constraints: constraints.into_iter().filter_map(constraint).collect(),
            nullable: nullable
                .into_iter()
                .filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone())))
                .collect(),
        })
    }
}

fn constraint(row: Vec<String>) -> Option<Constraint> {
    let [table, name, kind, definition, columns, parent, key] = <[String; 7]>::try_from(row).ok()?;
    let kind = match kind.as_str() {
        "p" => ConstraintKind::Primary,
        "u" => ConstraintKind::Unique,
        "i" => ConstraintKind::Index,
        "x" => ConstraintKind::Exclusion,
        "f" => ConstraintKind::Foreign,
        "c" => ConstraintKind::Check,
        _ => return None,
    };
    let columns = columns.split(',').filter(|column| !column.is_empty()).map(str::to_owned).collect();
    // A NULL is written as one.
    let refers_to = (kind == ConstraintKind::Foreign && parent != "NULL").then_some((parent, key));
    Some(Constraint { table, name, kind, definition, columns, refers_to })
}
