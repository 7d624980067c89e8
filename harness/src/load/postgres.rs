//! Loads claims into PostgreSQL with COPY.

use std::fmt::Write;

use drift_engine::claim::Claim;
use sqlx::{Connection, PgConnection};

use super::reader::{Rows, Step};
use super::{Customers, LoadError, Loaded};

/// Loads everything into an empty schema, in one transaction; `progress` is told the number of rows
/// so far.
///
/// Cancellation: dropping the future leaves an open transaction; close the connection.
///
/// # Errors
/// The file is wrong, or the database refuses; then nothing was loaded.
pub async fn load(
    connection: &mut PgConnection,
    rows: &mut Rows,
    mut progress: impl FnMut(u64) + Send,
) -> Result<Loaded, LoadError> {
    let mut transaction = connection.begin().await?;
    let mut customers = Customers::default();
    let (mut text, mut loaded) = (String::new(), 0);
    let summary = loop {
        let batch = match rows.next().await? {
            Step::Rows(batch) => batch,
            Step::End(summary) => break summary,
        };
        text.clear();
        for (id, name) in customers.add(&batch) {
            let _ = write!(text, "{id}\t");
            push_escaped(&mut text, &name);
            text.push('\n');
        }
        if !text.is_empty() {
            copy(&mut transaction, "COPY customers (id, name) FROM STDIN", &text).await?;
        }
        text.clear();
        for row in &batch {
            push_claim(&mut text, customers.id(row), &row.claim);
        }
        // One COPY a batch: the customers of the next one have to go in between, and the server keeps
        // the foreign keys that it has yet to check in memory until the end of a statement.
        copy(
            &mut transaction,
            "COPY claims (customer_id, payer, cpt_group, outcome, submitted_on, decided_on) FROM STDIN",
            &text,
        )
        .await?;
        loaded += batch.len() as u64;
        progress(loaded);
    };
    transaction.commit().await?;
    Ok(Loaded { customers: customers.ids, summary })
}

async fn copy(connection: &mut PgConnection, statement: &str, text: &str) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(statement).await?;
    match copy.send(text.as_bytes()).await {
        Ok(_) => copy.finish().await.map(drop),
        Err(error) => {
            let _ = copy.abort("the client failed").await;
            Err(error)
        }
    }
}

fn push_claim(text: &mut String, customer: i64, claim: &Claim) {
    let _ = write!(text, "{customer}");
    for field in [&claim.payer, &claim.cpt_group, &claim.outcome] {
        text.push('\t');
        push_escaped(text, field);
    }
    let _ = write!(text, "\t{}\t", claim.submitted_on);
    match claim.decided_on {
        Some(day) => _ = writeln!(text, "{day}"),
        None => text.push_str("\\N\n"),
    }
}

/// Writes a value in COPY's text format.
fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            other => text.push(other),
        }
    }
}
