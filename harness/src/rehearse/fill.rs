//! The data in which a migration is rehearsed: claims for the traffic, and an archive of events that gives the tables
//! a size. The archive belongs to a customer of its own, which the traffic never touches.

use std::sync::Arc;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::drift::aggregate;

use super::target::Counted;
use super::traffic::{CUSTOMERS, windows};
use crate::load::LoadError;
use crate::load::reader::Rows;
use crate::load::row::Row;
use crate::scenario::data;

/// Whose the archive is.
pub const ARCHIVE: i64 = 1_000_001;
/// How many claims each customer has.
const CLAIMS_PER_CUSTOMER: u32 = 600;
/// How many events a run of the archive has.
pub(super) const EVENTS_PER_RUN: u32 = 100;
/// Where nothing forbids it, every so manieth event of the archive is there twice.
pub(super) const DUPLICATE_EVERY: u32 = 1_000;

pub(super) fn claims_of(seed: u64, customer: u32) -> impl Iterator<Item = Claim> + Send {
    data::claims(seed, windows(), CustomerId(i64::from(customer)), CLAIMS_PER_CUSTOMER)
}

/// The claims of all customers, to be loaded.
pub(super) fn rows(seed: u64) -> Result<Rows, LoadError> {
    let rows = (1..=CUSTOMERS).flat_map(move |customer| {
        let name: Arc<str> = format!("customer-{customer}").into();
        claims_of(seed, customer).map(move |claim| Row { customer: name.clone(), claim })
    });
    Rows::made(rows).map_err(|error| LoadError::Database(sqlx::Error::Io(error)))
}

/// The claims of each customer, counted without the database's help.
pub fn counted(seed: u64) -> Counted {
    let count = |customer| {
        let claims: Vec<Claim> = claims_of(seed, customer).collect();
        (CustomerId(i64::from(customer)), aggregate(&claims, &windows()))
    };
    (1..=CUSTOMERS).map(count).collect()
}
