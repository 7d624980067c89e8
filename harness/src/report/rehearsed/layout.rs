//! Whose migrations a directory has, and what of it was not taken.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::rehearse::migrations::{LeftOut, Migrations};

/// The layout of a directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayoutRow {
    /// As `--layout` calls it.
    pub name: String,
    /// Why the directory is taken for that.
    pub why: String,
    /// Why its SQL is taken for SQLite's, where nobody has said whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<String>,
    /// The files that were not taken.
    pub not_taken: Vec<LeftOut>,
}

/// That of a directory of the user's.
pub fn row(migrations: &Migrations) -> Option<LayoutRow> {
    let origin = migrations.origin.as_ref()?;
    let (name, why) = (origin.layout.name.to_owned(), origin.why.clone());
    Some(LayoutRow { name, why, sqlite: origin.sqlite.clone(), not_taken: origin.left_out.clone() })
}

/// Writes it for people.
///
/// # Errors
/// The writer's.
pub fn write(row: &LayoutRow, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "layout {}: {}", row.name, row.why)?;
    if let Some(why) = &row.sqlite {
        writeln!(to, "for SQLite: {why}; --backend postgres if it is not")?;
    }
    for LeftOut { file, reason } in &row.not_taken {
        writeln!(to, "not taken: {file}: {reason}")?;
    }
    Ok(())
}
