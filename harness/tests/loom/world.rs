//! The database that the tasks find: few claims, a policy that few claims satisfy, and a model of the
//! database that holds them.

use std::collections::BTreeSet;
use std::sync::Arc;

use drift_engine::claim::CustomerId;
use drift_engine::drift::Cell;
use drift_engine::lock::LockStrategy;
use drift_engine::op::{Op, Reply};
use drift_engine::protocol::{Task, recompute};
use drift_engine::session::{DbError, Session, SessionId};
use driftlock::model::rule::{Rule, Rules};
use driftlock::model::{Model, Progress};
use driftlock::oracle;
use driftlock::scenario::Before;
use futures_util::FutureExt;

use driftlock::setting::Setting;
pub use driftlock::setting::work::{claims, identity, task, windows};

/// Whoever works while nobody else does.
const ALONE: SessionId = SessionId(1_000);

/// A database before the tasks, and what is known of it.
#[derive(Clone, Debug)]
pub struct World {
    pub model: Model,
    /// The claims of each customer, counted by the oracle.
    pub base: Vec<(CustomerId, Vec<Cell>)>,
}

impl World {
    pub fn of(setting: &Setting) -> Self {
        let rules = if setting.constrained { Rules::default() } else { Rules::without(Rule::UniqueViolationFails) };
        let customers: BTreeSet<CustomerId> = setting.customers.iter().copied().map(CustomerId).collect();
        // A mutant may lock the row of a customer who has no tasks.
        let rows = [1, 2].map(CustomerId);
        assert!(customers.iter().all(|customer| rows.contains(customer)), "there are two customers");
        let model = Model::new(setting.strategy.backend(), rules, rows);
        let mut alone = Alone { model };
        let mut base = Vec::new();
        for customer in customers {
            for claim in claims() {
                alone.must(Op::InsertClaim { customer, claim: Arc::new(claim) });
            }
            base.push((customer, oracle::cells(&claims(), &identity(customer))));
            let task = task(customer, default_strategy(setting));
            let (id, fresh) = (task.run.id_for(&task.identity), task.run.is_fresh());
            match setting.before {
                Before::Nothing => {}
                Before::Failed => {
                    let reason = "an earlier task failed".into();
                    alone.must(Op::FailRun { identity: task.identity, id, fresh, reason });
                }
                Before::Recomputed => {
                    let done = alone.recompute(&task).0;
                    done.expect("nobody is in the way");
                }
            }
        }
        Self { model: alone.model, base }
    }
}

fn default_strategy(setting: &Setting) -> LockStrategy {
    setting.strategy.backend().default_strategy()
}

/// The only session of a model.
pub struct Alone {
    pub model: Model,
}

impl Alone {
    fn must(&mut self, op: Op) {
        let ended = self.model.submit(ALONE, &op);
        assert!(matches!(ended, Progress::Done(Ok(_))), "{op} alone: {ended:?}");
    }

    /// Runs a task, and returns what it read too.
    pub fn recompute(
        &mut self,
        task: &Task,
    ) -> (Result<drift_engine::protocol::Recomputed, drift_engine::protocol::TaskError>, Vec<Cell>) {
        let mut reader = Reader { alone: self, cells: Vec::new() };
        let result = recompute(&mut reader, task).now_or_never().expect("the model answers at once");
        (result, reader.cells)
    }
}

/// Notes what is read.
struct Reader<'a> {
    alone: &'a mut Alone,
    cells: Vec<Cell>,
}

impl Session for Reader<'_> {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        ALONE
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        let Progress::Done(result) = self.alone.model.submit(ALONE, &op) else {
            panic!("{op} waits although everybody else has ended: somebody left a lock behind");
        };
        if let Ok(Reply::Claims(cells)) = &result {
            self.cells = cells.to_vec();
        }
        result
    }
}
