//! Claims from a CSV file into a database: streamed, checked, and all or nothing.
//!
//! [`reader::Rows`] reads and checks on a thread of its own, a few batches ahead; [`postgres::load`]
//! and [`sqlite::load`] write them in one transaction, which ends in a rollback if the file turns out
//! to be wrong. Memory is bounded by the batches and by the number of customers.

pub mod fields;
pub mod header;
pub mod postgres;
pub mod reader;
pub mod row;
pub mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;

use drift_engine::claim::CustomerId;

use reader::{ReadError, Summary};

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Every customer of the file, by name.
    pub customers: BTreeMap<Arc<str>, CustomerId>,
    /// What the file held.
    pub summary: Summary,
}

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is wrong.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database refused.
    #[error("failed to load the claims: {0}")]
    Database(#[from] sqlx::Error),
}

/// The customers so far; ids are given by the order of first appearance, the same on every backend.
#[derive(Default)]
struct Customers {
    ids: BTreeMap<Arc<str>, CustomerId>,
}

impl Customers {
    /// Numbers the customers that a batch names for the first time, and returns them.
    fn add(&mut self, rows: &[row::Row]) -> Vec<(i64, Arc<str>)> {
        let mut new = Vec::new();
        for row in rows {
            if !self.ids.contains_key(&row.customer) {
                let id = i64::try_from(self.ids.len() + 1).expect("fewer customers than fit into memory");
                self.ids.insert(row.customer.clone(), CustomerId(id));
                new.push((id, row.customer.clone()));
            }
        }
        new
    }

    fn id(&self, row: &row::Row) -> i64 {
        self.ids[&row.customer].0
    }
}
