//! Which version's code works on which version of the schema.

use comfy_table::Table;
use serde::{Deserialize, Serialize};

use super::super::terminal;
use crate::rehearse::migrations::Version;
use crate::rehearse::releases::{self, Outcome};

/// An application on every version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApplicationRow {
    /// From which version on it is deployed.
    pub version: Version,
    /// What it is called.
    pub name: String,
    /// The versions, in order.
    pub on: Vec<OnRow>,
}

/// An application on a version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OnRow {
    /// The version of the schema.
    pub schema: Version,
    /// `works`, `fails`, or `not-reached`.
    pub outcome: String,
    /// Whose work failed, and which part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// The statement, where it is a script's; the operation, where it is the engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The SQLSTATE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// The rows of a table.
pub fn rows(table: &releases::Table<'_>) -> Vec<ApplicationRow> {
    let on = |cell: &releases::Cell| {
        let mut row = OnRow {
            schema: cell.schema.clone(),
            outcome: "works".to_owned(),
            what: None,
            statement: None,
            code: None,
            said: None,
        };
        match &cell.outcome {
            Outcome::Works => {}
            Outcome::NotReached(why) => (row.outcome, row.said) = ("not-reached".to_owned(), Some(why.clone())),
            Outcome::Fails(failure) => {
                row.outcome = "fails".to_owned();
                row.what = Some(failure.what.clone());
                (row.statement, row.code) = (failure.statement.clone(), failure.code.clone());
                row.said = Some(failure.said.clone());
            }
        }
        row
    };
    let row = |(release, cells): &(releases::Release, Vec<releases::Cell>)| ApplicationRow {
        version: release.version.clone(),
        name: release.name.clone(),
        on: cells.iter().map(on).collect(),
    };
    table.lines.iter().map(row).collect()
}

/// The heads of the columns.
pub(super) fn header(rows: &[ApplicationRow]) -> Vec<String> {
    let versions = rows.iter().take(1).flat_map(|row| &row.on).map(|on| format!("on version {}", on.schema));
    std::iter::once("application".to_owned()).chain(versions).collect()
}

/// The cells of one line.
pub(super) fn cells(row: &ApplicationRow) -> Vec<String> {
    let cell = |on: &OnRow| match (on.outcome.as_str(), &on.what) {
        ("fails", Some(what)) => format!("{} in {what}", on.code.as_deref().unwrap_or("fails")),
        (outcome, _) => outcome.replace('-', " "),
    };
    std::iter::once(format!("of version {}: {}", row.version, row.name)).chain(row.on.iter().map(cell)).collect()
}

/// The table for people.
pub(super) fn table(rows: &[ApplicationRow]) -> Table {
    let mut table = terminal::table();
    table.set_header(header(rows));
    for row in rows {
        table.add_row(cells(row));
    }
    table
}
