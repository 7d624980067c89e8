//! A session that is told, before each operation, whether its next wait may close a circle of waits.

use std::sync::Mutex;

use drift_engine::op::{Op, Reply};
use drift_engine::session::{DbError, Session, SessionId};
use sqlx::{AssertSqlSafe, raw_sql};

use crate::database::Driver;
use crate::explore::postgres::victim::Setting;

/// What is known of a session's `deadlock_timeout`, and of its next wait.
#[derive(Debug, Default)]
pub(super) struct Closing {
    state: Mutex<(Setting, bool)>,
}

impl Closing {
    /// Of a session that was opened just now.
    pub(super) fn new(allowed: bool) -> Self {
        Self { state: Mutex::new((Setting::late(allowed), false)) }
    }

    /// Says whether the next operation's wait may close a circle.
    pub(super) fn tell(&self, may_close: bool) {
        self.state.lock().expect("nobody panics with it").1 = may_close;
    }

    fn before(&self) -> Option<String> {
        let mut state = self.state.lock().expect("nobody panics with it");
        let may_close = state.1;
        state.0.before(may_close)
    }

    fn between(&self) -> Option<String> {
        self.state.lock().expect("nobody panics with it").0.between()
    }
}

/// A driver whose session looks for deadlocks soon or late.
pub(super) struct Looking<'a> {
    driver: &'a mut Driver,
    closing: &'a Closing,
}

impl<'a> Looking<'a> {
    /// For one execution, which begins outside of a transaction.
    pub(super) async fn begin(driver: &'a mut Driver, closing: &'a Closing) -> Self {
        let looking = Self { driver, closing };
        if let (Driver::Postgres(session), Some(set)) = (&mut *looking.driver, closing.between()) {
            // Where it fails, the first operation will tell why.
            let _ = raw_sql(AssertSqlSafe(set)).execute(session.connection()).await;
        }
        looking
    }
}

impl Session for Looking<'_> {
    type Op = Op;
    type Reply = Reply;

    fn id(&self) -> SessionId {
        self.driver.id()
    }

    async fn call(&mut self, op: Op) -> Result<Reply, DbError> {
        if let (Driver::Postgres(session), Some(set)) = (&mut *self.driver, self.closing.before()) {
            // In a failed transaction it fails, and nothing can wait.
            let _ = raw_sql(AssertSqlSafe(set)).execute(session.connection()).await;
        }
        self.driver.call(op).await
    }
}
