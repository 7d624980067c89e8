//! Whoever sends operations in a run: workers that perform tasks, bystanders, the antagonist; and the
//! actors of scripts.

pub mod antagonist;
pub mod bystander;
pub mod script;
pub mod worker;

use std::sync::atomic::AtomicU64;

use drift_engine::op::{Op, Reply};

use crate::clock::Clock;
use crate::database::Database;
use crate::history::{ActorId, Entry, TaskRecord};
use crate::lens::mutant::Rewrite;
use crate::lens::trace::Log;
use crate::schedule::opening::Opening;

/// What the actors of one run share.
#[derive(Debug)]
pub struct Stage {
    /// Where they send their operations.
    pub database: Database,
    /// Who lets them through.
    pub opening: Opening,
    /// What they take the time from.
    pub clock: Clock,
    /// How the protocol is broken, if it is.
    pub rewrite: Option<Rewrite>,
    /// How many operations were altered.
    pub altered: AtomicU64,
}

impl Stage {
    fn log(&self, actor: ActorId) -> Log<Op, Reply> {
        Log::new(actor, self.clock.clone())
    }
}

/// What one actor leaves.
#[derive(Debug, Default)]
pub struct Trail {
    /// Its operations, in order.
    pub entries: Vec<Entry>,
    /// Its tasks, in order.
    pub tasks: Vec<TaskRecord>,
}
