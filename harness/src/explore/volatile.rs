//! Values that are no outcome: they differ between two runs of the same serial order, as random ones, generated
//! ones and those of a clock do. They are left out of comparison, and told.

use std::collections::BTreeSet;

use super::search::Execution;
use super::world::{Done, Rows, What};

/// What stands for a value that is not compared.
const ANY: &str = "…";

/// Columns whose values are not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volatile {
    /// Of a step's rows: actor, step, column, all from 0.
    steps: BTreeSet<(usize, usize, usize)>,
    /// Of a query's rows: query, column.
    queries: BTreeSet<(usize, usize)>,
}

impl Volatile {
    /// What differs between two executions of the same order.
    pub fn between(one: &Execution, other: &Execution) -> Self {
        let mut volatile = Self::default();
        let events = |execution: &Execution| execution.taken.iter().flat_map(|t| t.events.clone()).collect::<Vec<_>>();
        for (a, b) in events(one).iter().zip(&events(other)) {
            if let (What::Done(one), What::Done(other)) = (&a.what, &b.what) {
                let columns = differing(&one.rows, &other.rows);
                volatile.steps.extend(columns.into_iter().map(|column| (a.actor, a.step, column)));
            }
        }
        for (query, (one, other)) in one.ended.answers.iter().zip(&other.ended.answers).enumerate() {
            if let (Ok(one), Ok(other)) = (one, other) {
                volatile.queries.extend(differing(one, other).into_iter().map(|column| (query, column)));
            }
        }
        volatile
    }

    /// Adds what differs elsewhere.
    pub fn add(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.queries.extend(other.queries);
    }

    /// What a step came to, as far as it is compared.
    pub fn of_step(&self, actor: usize, step: usize, done: &Done) -> Done {
        let is_left_out = |column| self.steps.contains(&(actor, step, column));
        Done { rows: without(&done.rows, is_left_out), ..done.clone() }
    }

    /// What a query answered, as far as it is compared.
    pub fn of_query(&self, query: usize, rows: &Rows) -> Rows {
        without(rows, |column| self.queries.contains(&(query, column)))
    }

    /// Whether all of the columns of a query are left out; one that never had a row leaves nothing out.
    pub fn leaves_out(&self, query: usize, columns: usize) -> bool {
        columns > 0 && (0..columns).all(|column| self.queries.contains(&(query, column)))
    }

    /// What is not compared: the numbers of actor, step and column, then those of query and column, from 0.
    pub fn parts(&self) -> (impl Iterator<Item = &(usize, usize, usize)>, impl Iterator<Item = &(usize, usize)>) {
        (self.steps.iter(), self.queries.iter())
    }
}

/// The columns in which rows differ. Where their number differs, that is an outcome of its own.
fn differing(one: &Rows, other: &Rows) -> BTreeSet<usize> {
    let columns = one.iter().chain(other).map(Vec::len).max().unwrap_or(0);
    let of = |rows: &Rows, column: usize| {
        let mut values: Vec<Option<String>> = rows.iter().map(|row| row.get(column).cloned()).collect();
        values.sort_unstable();
        values
    };
    match one.len() == other.len() {
        true => (0..columns).filter(|column| of(one, *column) != of(other, *column)).collect(),
        false => BTreeSet::new(),
    }
}

fn without(rows: &Rows, is_left_out: impl Fn(usize) -> bool) -> Rows {
    let value = |(column, value): (usize, &String)| if is_left_out(column) { ANY.to_owned() } else { value.clone() };
    let mut rows: Rows = rows.iter().map(|row| row.iter().enumerate().map(value).collect()).collect();
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Rows {
        rows.iter().map(|row| row.iter().map(|value| (*value).to_owned()).collect()).collect()
    }

    #[test]
    fn a_column_that_differs_is_left_out_and_the_others_are_not() {
        let (one, other) = (rows(&[&["1", "x"], &["2", "y"]]), rows(&[&["2", "z"], &["1", "v"]]));
        let columns = differing(&one, &other);
        assert_eq!(columns, [1].into());
        assert_eq!(without(&one, |c| columns.contains(&c)), without(&other, |c| columns.contains(&c)));
        assert_ne!(without(&one, |_| false), without(&other, |_| false));
    }

    #[test]
    fn another_number_of_rows_is_an_outcome() {
        assert!(differing(&rows(&[&["1"]]), &rows(&[])).is_empty());
        assert!(differing(&rows(&[&["1"]]), &rows(&[&["1"]])).is_empty());
    }
}
