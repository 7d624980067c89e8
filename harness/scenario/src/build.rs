//! From a draft in which nothing was wrong to the scenario.

use std::time::Duration;

use drift_engine::lock::{Backend, LockStrategy};
use drift_engine::policy::Policy;
use toml::Spanned;

use super::draft::{ArrivalsDraft, Choice, DataDraft, Draft, ExpectDraft, FaultDraft, TasksDraft};
use super::read::Read;
use super::{
    Arrivals, Data, Expect, Expected, FaultPlan, Journal, Opening, Scenario, SessionSettings, Source, Tasks, Until,
};

/// How long an operation on SQLite waits for the file's lock when the file says nothing of it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many claims a customer has when the file says nothing of it.
pub(super) const CLAIMS_PER_CUSTOMER: u32 = 600;

impl Draft {
    /// The backends, each with its place.
    pub(super) fn chosen_backends(&self) -> Option<&[Spanned<Backend>]> {
        self.backends.as_ref().map(|list| list.get_ref().as_slice())
    }

    /// The strategies that are asked for.
    pub(super) fn chosen_strategies(&self) -> Option<Vec<LockStrategy>> {
        let backends = values(&self.backends)?;
        let on_backends = |strategy: &LockStrategy| backends.contains(&strategy.backend());
        Some(match self.strategies.as_ref()?.get_ref() {
            Choice::Default => backends.iter().map(|backend| backend.default_strategy()).collect(),
            Choice::All => LockStrategy::ALL.into_iter().filter(on_backends).collect(),
            Choice::These(list) => list.iter().map(|strategy| *strategy.get_ref()).collect(),
        })
    }

    /// Whether the opening holds a task, and before what; `None` if it was wrong.
    ///
    /// Contention is arranged unless the file forbids it, or there is nobody to contend.
    pub(super) fn opening(&self) -> Option<Option<Opening>> {
        let usual = Opening { before: drift_engine::session::Kind::Commit, until: Until::OthersWait };
        let Some(draft) = &self.opening else {
            let alone = *self.tasks.workers.as_ref()?.get_ref() < 2 && !*self.antagonist.as_ref()?.get_ref();
            return Some((!alone).then_some(usual));
        };
        let draft = draft.get_ref();
        let until = draft.until.known(usual.until)?;
        let hold = *draft.hold.as_ref()?.get_ref();
        Some(hold.map(|before| Opening { before, until }))
    }

    /// The scenario; `None` if anything was wrong.
    pub(super) fn build(&self) -> Option<Scenario> {
        Some(Scenario {
            name: value(&self.name)?,
            summary: value(&self.summary)?,
            backends: values(&self.backends)?,
            strategies: self.chosen_strategies()?,
            data: self.data.build()?,
            tasks: self.tasks.build()?,
            session: SessionSettings {
                lock_timeout: self.session.lock_timeout.map_known(Some, None)?,
                busy_timeout: self.session.busy_timeout.known(BUSY_TIMEOUT)?,
                journal: self.session.journal.known(Journal::Wal)?,
            },
            opening: self.opening()?,
            arrivals: all(self.arrivals.as_ref(), ArrivalsDraft::build)?,
            fault: all(self.fault.as_ref(), FaultDraft::build)?,
            antagonist: value(&self.antagonist)?,
            checks: values(&self.checks)?,
            expect: self.expect.iter().map(|expect| expect.get_ref().build()).collect::<Option<_>>()?,
        })
    }
}

impl DataDraft {
    fn build(&self) -> Option<Data> {
        let claims_per_customer = self.claims_per_customer.known(CLAIMS_PER_CUSTOMER)?;
        let source = self.csv.map_known(Source::Csv, Source::Generated { claims_per_customer })?;
        let (baseline, current) = (value(&self.baseline_days)?, value(&self.current_days)?);
        let policy = Policy::new(baseline, current, value(&self.min_volume)?);
        Some(Data {
            customers: value(&self.customers)?,
            source,
            seed: value(&self.seed)?,
            before: value(&self.before)?,
            as_of: value(&self.as_of)?,
            policy: policy.expect("each of its numbers was read within the policy's own bounds"),
        })
    }
}

impl TasksDraft {
    fn build(&self) -> Option<Tasks> {
        Some(Tasks {
            count: value(&self.count)?,
            workers: value(&self.workers)?,
            arrival: value(&self.arrival)?,
            keys: value(&self.keys)?,
            run: value(&self.run)?,
            max_attempts: value(&self.max_attempts)?,
        })
    }
}

impl ArrivalsDraft {
    fn build(&self) -> Option<Arrivals> {
        Some(Arrivals { writers: value(&self.writers)?, claims_per_writer: value(&self.claims_per_writer)? })
    }
}

impl FaultDraft {
    fn build(&self) -> Option<FaultPlan> {
        Some(FaultPlan { task: value(&self.task)?, before: value(&self.before)?, action: value(&self.action)? })
    }
}

impl ExpectDraft {
    pub(super) fn build(&self) -> Option<Expect> {
        let verdict = match (value(&self.violation)?, self.check.map_known(Some, None)?) {
            (true, Some(check)) => Expected::Violation { check },
            (false, None) => Expected::Pass,
            (true, None) | (false, Some(_)) => return None,
        };
        Some(Expect {
            backend: self.backend.map_known(Some, None)?,
            strategy: self.strategy.map_known(Some, None)?,
            verdict,
        })
    }
}

fn value<T: Clone>(read: &Read<T>) -> Option<T> {
    read.as_ref().map(|value| value.get_ref().clone())
}

fn values<T: Clone>(read: &Read<Vec<Spanned<T>>>) -> Option<Vec<T>> {
    read.as_ref().map(|list| list.get_ref().iter().map(|value| value.get_ref().clone()).collect())
}

/// `Some(None)` for an absent section, `None` for one in which something was wrong.
fn all<D, T>(draft: Option<&Spanned<D>>, build: impl FnOnce(&D) -> Option<T>) -> Option<Option<T>> {
    draft.map_or(Some(None), |draft| build(draft.get_ref()).map(Some))
}
