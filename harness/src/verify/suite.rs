//! Runs cases one after another, and hands each result over as soon as it is there.

use std::collections::BTreeMap;
use std::time::Duration;

use drift_engine::lock::Backend;
use tokio_util::sync::CancellationToken;

use super::execute::execute;
use super::judge::{Judged, judge};
use super::plan::Case;
use crate::clock::Clock;
use crate::fixture::{Databases, PrepareError, Template};
use crate::history::History;

/// Why a suite ended before its last case.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Somebody said so.
    #[error("interrupted")]
    Interrupted,
    /// A database could not be prepared, or was lost.
    #[error("{scenario} on {backend}: {source}")]
    Prepare {
        /// The scenario that was to be run.
        scenario: String,
        /// Where.
        backend: Backend,
        /// What is wrong.
        #[source]
        source: PrepareError,
    },
}

/// What a suite tells whoever runs it.
pub trait Observer {
    /// What an observer may fail with.
    type Error;

    /// A case begins.
    fn begins(&mut self, case: &Case<'_>);

    /// A case has ended.
    ///
    /// # Errors
    /// The observer could not take it.
    fn ended(&mut self, case: &Case<'_>, judged: Judged, history: &History) -> Result<(), Self::Error>;
}

/// Runs the cases in order, until `time_limit` has passed; returns how many have not come to an end.
///
/// # Errors
/// The suite could not go on, or the observer could not.
pub async fn run<O: Observer>(
    cases: &[Case<'_>],
    databases: &mut BTreeMap<Backend, Databases>,
    time_limit: Option<Duration>,
    cancel: &CancellationToken,
    observer: &mut O,
) -> Result<Result<usize, SuiteError>, O::Error> {
    let clock = Clock::start();
    let mut templates: BTreeMap<(Backend, String), Template> = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        if time_limit.is_some_and(|limit| clock.elapsed() >= limit) {
            return Ok(Ok(cases.len() - index));
        }
        let Some(databases) = databases.get_mut(&case.backend) else { continue };
        observer.begins(case);
        let left = time_limit.map_or(Duration::MAX, |limit| limit.saturating_sub(clock.elapsed()));
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Err(SuiteError::Interrupted)),
            () = tokio::time::sleep(left) => return Ok(Ok(cases.len() - index)),
            outcome = run_case(case, databases, &mut templates) => outcome,
        };
        match outcome {
            Ok((judged, history)) => observer.ended(case, judged, &history)?,
            Err(source) => {
                let scenario = case.scenario.name.clone();
                return Ok(Err(SuiteError::Prepare { scenario, backend: case.backend, source }));
            }
        }
    }
    Ok(Ok(0))
}

async fn run_case(
    case: &Case<'_>,
    databases: &mut Databases,
    templates: &mut BTreeMap<(Backend, String), Template>,
) -> Result<(Judged, History), PrepareError> {
    let clock = Clock::start();
    let key = (case.backend, case.scenario.name.clone());
    if !templates.contains_key(&key) {
        templates.insert(key.clone(), databases.template(case.scenario, case.seed).await?);
    }
    let template = &templates[&key];
    let copy = databases.copy(template, case.scenario).await?;
    let executed = execute(case, copy.database.clone(), template.base.clone()).await?;
    databases.discard(copy).await?;
    let judged = judge(case, &executed, clock.elapsed());
    Ok((judged, executed.history))
}
