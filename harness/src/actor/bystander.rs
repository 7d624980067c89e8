//! A bystander inserts claims, each in a transaction of its own: traffic that should not be blocked.

use std::sync::Arc;
use std::time::Duration;

use drift_engine::claim::{Claim, CustomerId};
use drift_engine::op::Op;
use drift_engine::session::Session;

use super::{Stage, Trail};
use crate::database::Driver;
use crate::history::ActorId;
use crate::lens::gate::Gated;
use crate::lens::trace::Trace;

/// How long it rests between two claims, so that they arrive while the tasks run, and not before: a few
/// claims must last as long as a dozen tasks that wait for each other.
const REST: Duration = Duration::from_millis(5);

/// Inserts these claims of one customer. A claim that is refused is not tried again: the record says so.
pub async fn insert(
    stage: &Stage,
    actor: ActorId,
    mut driver: Driver,
    customer: CustomerId,
    claims: impl IntoIterator<Item = Claim, IntoIter: Send>,
) -> Trail {
    let mut log = stage.log(actor);
    for claim in claims {
        let traced = Trace::new(&mut driver, &mut log, None);
        let mut session = Gated::new(traced, &stage.opening, actor, None, customer);
        let _ = session.call(Op::InsertClaim { customer, claim: Arc::new(claim) }).await;
        tokio::time::sleep(REST).await;
    }
    stage.opening.finished(actor);
    Trail { entries: log.into_entries(), tasks: Vec::new() }
}
