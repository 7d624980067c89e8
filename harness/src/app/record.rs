//! What a program does with its database: nothing is held, but that COMMIT waits until its transaction's locks are read.
//! Under load even that is not: locks are not read then.

pub mod account;
pub mod sessions;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driftlock_wire::{Admission, Answer, Connected, ConnectionId, Ending, EndpointId, Gate, Ticket, Unit, Watch};
use tokio::time::Instant;
use tokio_postgres::{Client, Statement};

use self::account::{Account, Recorded};
use super::units::keeps;
use crate::database::waiting::WAITERS;

/// How often the server is asked who waits.
pub const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long reading a transaction's locks may hold up its COMMIT.
const LOCKS_WITHIN: Duration = Duration::from_secs(1);

/// The relations that a session has locked, and how.
const LOCKS: &str = "\
    SELECT DISTINCT pg_catalog.concat(n.nspname, '.', c.relname), l.mode FROM pg_catalog.pg_locks l \
    JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE l.pid = $1 AND l.locktype = 'relation' AND l.granted AND c.relkind IN ('r', 'p', 'm') AND c.oid >= 16384";

/// Looks on. Its clones are the same.
#[derive(Clone)]
pub struct Recorder {
    account: Arc<Mutex<Account>>,
    begun: Instant,
    control: Arc<Client>,
    /// The question for a transaction's locks; `None` where they are not read.
    locks: Option<Statement>,
    waits: Statement,
    /// Whose connections are recorded.
    endpoints: Arc<Mutex<BTreeSet<EndpointId>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Begins; `control` is a session of ours in the same database.
    ///
    /// # Errors
    /// The server does not take the questions.
    pub async fn begin(control: Client) -> Result<Self, tokio_postgres::Error> {
        let locks = control.prepare(LOCKS).await?;
        let account = Arc::new(Mutex::new(Account::over_time()));
        Ok(Self { account, locks: Some(locks), ..Self::holding_nothing(control).await? })
    }

    /// The same, and no COMMIT waits: which relations transactions lock is not recorded.
    ///
    /// # Errors
    /// The server does not take the question.
    pub async fn holding_nothing(control: Client) -> Result<Self, tokio_postgres::Error> {
        let waits = control.prepare(WAITERS).await?;
        let (account, endpoints) = (Arc::default(), Arc::default());
        Ok(Self { account, begun: Instant::now(), control: Arc::new(control), locks: None, waits, endpoints })
    }

    /// Records whoever comes in by this endpoint.
    pub fn records(&self, endpoint: EndpointId) {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint);
    }

    /// Asks the server who waits, again and again, until this is dropped.
    ///
    /// # Errors
    /// The server no longer answers.
    pub async fn watch_waits(&self, every: Duration) -> tokio_postgres::Error {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = self.now();
        loop {
            ticks.tick().await;
            let rows = match self.control.query(&self.waits, &[]).await {
                Ok(rows) => rows,
                Err(error) => return error,
            };
            let now = self.now();
            let mut account = self.account();
            for row in rows {
                account.waits(row.get(0), &row.get::<_, Vec<i32>>(1), now - last, now);
            }
            last = now;
        }
    }

    /// Forgets what was recorded so far; sessions that are open stay known.
    pub fn count_anew(&self) {
        let now = self.now();
        self.account().count_anew(now);
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.account().recorded(self.now())
    }

    /// What was recorded so far, of programs that go on.
    pub fn so_far(&self) -> Recorded {
        self.account().so_far(self.now())
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Gate for Recorder {
    fn watch(&self) -> Watch {
        Watch::Units
    }

    fn connected(&self, connection: ConnectionId, client: &Connected) {
        if self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).contains(&client.endpoint) {
            let now = self.now();
            self.account().connected(connection, client.server_pid, now);
        }
    }

    fn admit(&self, connection: ConnectionId, unit: &Arc<Unit>) -> Ticket {
        let now = self.now();
        let pid = self.account().arrived(connection, unit, now);
        let asks = self.locks.clone().zip(pid).filter(|_| keeps(unit));
        let Some((locks, pid)) = asks else { return Ticket::Now(Admission::Forward) };
        let recorder = self.clone();
        Ticket::later(async move {
            let asked = async { recorder.control.query(&locks, &[&pid]).await };
            if let Ok(Ok(rows)) = tokio::time::timeout(LOCKS_WITHIN, asked).await {
                let locks = rows.iter().map(|row| (row.get(0), row.get(1)));
                recorder.account().locks(locks);
            }
            Admission::Forward
        })
    }

    fn answered(&self, connection: ConnectionId, unit: &Arc<Unit>, answer: &Answer) {
        let now = self.now();
        self.account().answered(connection, unit, answer, now);
    }

    fn closed(&self, connection: ConnectionId, _: &Ending) {
        let now = self.now();
        self.account().closed(connection, now);
    }
}
