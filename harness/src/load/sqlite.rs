//! Loads claims into SQLite with inserts of many rows.

use drift_engine::claim::Claim;
use sqlx::{Connection, QueryBuilder, Sqlite, SqliteConnection};

use super::reader::{Rows, Step};
use super::{Customers, LoadError, Loaded};

/// Rows in one INSERT: six parameters each, well below SQLite's limit of 32,766 in a statement.
const ROWS_MAX: usize = 512;

/// The page cache while loading. Claims come in no order of the index on them, and with the 2 MB that
/// are usual its pages would be written and read again all the time.
const CACHE: &str = "PRAGMA cache_size = -65536";

/// Loads everything into an empty schema, in one transaction; `progress` is told the number of rows
/// so far.
///
/// Cancellation: dropping the future leaves an open transaction; close the connection.
///
/// # Errors
/// The file is wrong, or the database refuses; then nothing was loaded.
pub async fn load(
    connection: &mut SqliteConnection,
    rows: &mut Rows,
    mut progress: impl FnMut(u64) + Send,
) -> Result<Loaded, LoadError> {
    sqlx::raw_sql(CACHE).execute(&mut *connection).await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut customers = Customers::default();
    let mut loaded = 0;
    let summary = loop {
        let batch = match rows.next().await? {
            Step::Rows(batch) => batch,
            Step::End(summary) => break summary,
        };
        for new in customers.add(&batch).chunks(ROWS_MAX) {
            let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO customers (id, name) ");
            insert.push_values(new, |mut row, (id, name)| {
                row.push_bind(*id).push_bind(String::from(&**name));
            });
            insert.build().persistent(false).execute(&mut *transaction).await?;
        }
        for rows in batch.chunks(ROWS_MAX) {
            let numbered = rows.iter().map(|row| (customers.id(row), &row.claim));
            insert_claims(&mut transaction, numbered, rows.len() == ROWS_MAX).await?;
        }
        loaded += batch.len() as u64;
        progress(loaded);
    };
    transaction.commit().await?;
    Ok(Loaded { customers: customers.ids, summary })
}

/// `persistent` keeps the statement prepared: for the number of rows that comes again and again.
async fn insert_claims<'a>(
    connection: &mut SqliteConnection,
    claims: impl Iterator<Item = (i64, &'a Claim)>,
    persistent: bool,
) -> Result<(), sqlx::Error> {
    let mut insert = QueryBuilder::<Sqlite>::new(
        "INSERT INTO claims (customer_id, payer, cpt_group, outcome, submitted_on, decided_on) ",
    );
    insert.push_values(claims, |mut row, (customer, claim)| {
        row.push_bind(customer)
            .push_bind(String::from(&*claim.payer))
            .push_bind(String::from(&*claim.cpt_group))
            .push_bind(String::from(&*claim.outcome))
            .push_bind(claim.submitted_on.to_string())
            .push_bind(claim.decided_on.map(|day| day.to_string()));
    });
    insert.build().persistent(persistent).execute(connection).await.map(drop)
}
