//! What an operation of a task is as SQL with parameters in their text form: for whoever wants to know
//! what the statements take without the engine and its driver.

use super::{
    CLOSE_RUN, LOCK_ADVISORY, OPEN_RUN, READ_CLAIMS, WRITE_EVENTS_ERROR, WRITE_EVENTS_NOTHING, WRITE_EVENTS_UPDATE,
    advisory_key, int, lock_row,
};
use crate::drift::Signal;
use crate::op::{Isolation, Lock, OnConflict, Op, Scope};
use crate::rows::dates;

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The SQL that the session sends.
    pub sql: &'static str,
    /// Its parameters, in order.
    pub parameters: Vec<String>,
}

/// The statement of an operation that a task consists of; `None` for any other one.
pub fn text(op: &Op) -> Option<Text> {
    let (sql, parameters) = match op {
        Op::Begin { immediate: true, .. } => return None,
        Op::Begin { isolation, .. } => (begin(*isolation), Vec::new()),
        Op::Lock(Lock::Row { customer, strength, wait }) => (lock_row(*strength, *wait), vec![customer.0.to_string()]),
        Op::Lock(Lock::Advisory { customer, scope: Scope::Transaction }) => {
            (LOCK_ADVISORY, vec![advisory_key(*customer).to_string()])
        }
        Op::OpenRun { identity, id, fresh } => {
            let policy = identity.policy;
            let numbers = [policy.baseline_days(), policy.current_days(), policy.min_volume()].map(int);
            let mut parameters =
                vec![id.as_str().to_owned(), identity.customer.0.to_string(), identity.as_of.to_string()];
            parameters.extend(numbers.map(|number| number.to_string()));
            parameters.push(fresh.to_string());
            (OPEN_RUN, parameters)
        }
        Op::ReadClaims { customer, windows } => {
            (READ_CLAIMS, [vec![customer.0.to_string()], dates(windows).to_vec()].concat())
        }
        Op::WriteEvents { customer, run, windows, signals, on_conflict } => {
            let sql = match on_conflict {
                OnConflict::Update => WRITE_EVENTS_UPDATE,
                OnConflict::Nothing => WRITE_EVENTS_NOTHING,
                OnConflict::Error => WRITE_EVENTS_ERROR,
            };
            let [baseline_start, current_start, current_end] = dates(windows);
            let mut parameters = vec![customer.0.to_string(), run.as_str().to_owned(), baseline_start];
            parameters.extend([current_start.clone(), current_start, current_end]);
            let texts: [fn(&Signal) -> &str; 3] = [|s| &s.payer, |s| &s.cpt_group, |s| s.drift_type.as_str()];
            parameters.extend(texts.map(|of| array(signals.iter().map(|signal| quoted(of(signal))))));
            let numbers: [fn(&Signal) -> f64; 5] =
                [|s| s.baseline_value, |s| s.current_value, |s| s.delta, |s| s.severity, |s| s.confidence];
            parameters.extend(numbers.map(|of| array(signals.iter().map(|signal| of(signal).to_string()))));
            (sql, parameters)
        }
        Op::CloseRun { run } => (CLOSE_RUN, vec![run.as_str().to_owned()]),
        Op::Commit => ("COMMIT", Vec::new()),
        _ => return None,
    };
    Some(Text { sql, parameters })
}

/// The statement that begins a transaction.
pub(super) fn begin(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "BEGIN ISOLATION LEVEL READ COMMITTED",
        Isolation::RepeatableRead => "BEGIN ISOLATION LEVEL REPEATABLE READ",
        Isolation::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE",
    }
}

fn array(elements: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", elements.collect::<Vec<_>>().join(","))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_s_elements_are_quoted() {
        let elements = ["a,b", "\"c\\", ""].into_iter().map(quoted);
        assert_eq!(array(elements), r#"{"a,b","\"c\\",""}"#);
        assert_eq!(text(&Op::Rollback), None);
        assert_eq!(text(&Op::Commit).map(|text| text.sql), Some("COMMIT"));
    }
}
