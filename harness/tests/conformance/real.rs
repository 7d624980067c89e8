//! Real databases: sessions that carry out one operation at a time, and their server's word on who waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drift_engine::op::{Op, Reply};
use drift_engine::postgres::PgSession;
use drift_engine::session::{DbError, Session, SessionId};
use drift_engine::sqlite::SqliteSession;
use driftlock::sqlite_busy::{self, Busy};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row, SqliteConnection};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::explore::Ended;
use crate::program::Keys;

/// The most sessions of a program.
pub const SESSIONS: usize = 3;

/// No operation takes so long to end or to be seen waiting.
const STILL_MAX: Duration = Duration::from_secs(20);
/// How long an answer is awaited before the server is asked (again) who waits. Only the server's
/// word counts: the pause keeps the questions few.
const ASK_EVERY: Duration = Duration::from_micros(500);
/// How many programs get their customers at a time.
const BATCH: i64 = 500;

/// How to reach a database.
#[derive(Clone, Debug)]
pub enum Address {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions),
}

/// A session in a task of its own.
struct Client {
    to: mpsc::UnboundedSender<Op>,
    from: mpsc::UnboundedReceiver<Result<Reply, DbError>>,
    task: JoinHandle<()>,
}

impl Client {
    /// A client that closes its session in the end, so that nothing of it is left when its task is.
    fn new<S, F>(mut session: S, close: impl FnOnce(S) -> F + Send + 'static) -> Self
    where
        S: Session<Op = Op, Reply = Reply> + 'static,
        F: Future<Output = Result<(), sqlx::Error>> + Send,
    {
        let (to, mut ops) = mpsc::unbounded_channel();
        let (answers, from) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(op) = ops.recv().await {
                // Nobody listens any more when the sessions are being closed.
                let _ = answers.send(session.call(op).await);
            }
            // A terminated session has nothing left to close.
            let _ = close(session).await;
        });
        Self { to, from, task }
    }
}

/// Who says whether a session waits.
enum Witness {
    Postgres(PgConnection),
    Sqlite(SqliteConnection, Vec<Handler>),
}

/// The busy handler of a session.
struct Handler {
    busy: Arc<Busy>,
    /// How many of its parkings are over.
    over: u64,
}

/// A database with three sessions on it.
pub struct Real {
    clients: Vec<Client>,
    ids: Vec<SessionId>,
    witness: Witness,
    under_way: BTreeSet<usize>,
    /// The programs whose customers are there.
    prepared: i64,
}

impl Real {
    pub async fn connect(address: &Address) -> Self {
        match address {
            Address::Postgres(options) => Self::postgres(options).await,
            Address::Sqlite(options) => Self::sqlite(options).await,
        }
    }

    async fn postgres(options: &PgConnectOptions) -> Self {
        let options = options.clone().disable_statement_logging();
        let mut witness = options.connect().await.expect("the server accepts connections");
        let (mut clients, mut ids) = (Vec::new(), Vec::new());
        for _ in 0..SESSIONS {
            let mut connection = options.connect().await.expect("the server accepts connections");
            let set = "SET deadlock_timeout = '1ms'; SET client_min_messages = error";
            sqlx::raw_sql(set).execute(&mut connection).await.expect("a superuser may set it");
            let session = PgSession::open(connection).await.expect("the schema is there");
            ids.push(session.id());
            clients.push(Client::new(session, |session| session.into_inner().close()));
        }
        let prepared: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM customers")
            .fetch_one(&mut witness)
            .await
            .expect("the schema is there");
        Self::of(clients, ids, Witness::Postgres(witness), prepared)
    }

    async fn sqlite(options: &SqliteConnectOptions) -> Self {
        let options = options.clone().disable_statement_logging();
        let mut witness = options.connect().await.expect("the file opens");
        let (mut clients, mut ids, mut handlers) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1.. {
            if clients.len() == SESSIONS {
                break;
            }
            let mut connection = options.connect().await.expect("the file opens");
            let busy = sqlite_busy::install_parked(&mut connection).await.expect("the connection is open");
            handlers.push(Handler { busy, over: 0 });
            ids.push(SessionId(number));
            let session = SqliteSession::new(connection, SessionId(number));
            clients.push(Client::new(session, |session| session.into_inner().close()));
        }
        let prepared: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM customers")
            .fetch_one(&mut witness)
            .await
            .expect("the schema is there");
        Self::of(clients, ids, Witness::Sqlite(witness, handlers), prepared)
    }

    fn of(clients: Vec<Client>, ids: Vec<SessionId>, witness: Witness, customers: i64) -> Self {
        let prepared = customers / (crate::program::CUSTOMERS - 1);
        Self { clients, ids, witness, under_way: BTreeSet::new(), prepared }
    }

    /// The first program's number that nobody has used here.
    pub fn first_number(&self) -> i64 {
        self.prepared
    }

    /// What the server calls a session.
    pub fn id(&self, session: usize) -> SessionId {
        self.ids[session]
    }

    /// Makes sure that a program's customers are there.
    pub async fn prepare(&mut self, keys: Keys) {
        if keys.number < self.prepared {
            return;
        }
        let each = crate::program::CUSTOMERS - 1;
        let (from, until) = (self.prepared * each + 1, (self.prepared + BATCH) * each);
        let insert = format!(
            "WITH RECURSIVE n(id) AS (SELECT {from} UNION ALL SELECT id + 1 FROM n WHERE id < {until}) \
             INSERT INTO customers (id, name) SELECT id, 'customer ' || id FROM n"
        );
        let insert = sqlx::raw_sql(AssertSqlSafe(insert));
        match &mut self.witness {
            Witness::Postgres(witness) => drop(insert.execute(witness).await.expect("new customers")),
            Witness::Sqlite(witness, _) => drop(insert.execute(witness).await.expect("new customers")),
        }
        self.prepared += BATCH;
    }

    /// Sends an operation, and returns what has ended when all is still: the rest waits, by the server's word.
    pub async fn step(&mut self, session: usize, op: Op) -> Ended {
        assert!(self.under_way.insert(session), "session {session} has an operation under way");
        self.clients[session].to.send(op).expect("the session's task runs as long as it is asked");
        let still = match self.witness {
            Witness::Postgres(_) => tokio::time::timeout(STILL_MAX, self.still_on_postgres()).await,
            Witness::Sqlite(..) => tokio::time::timeout(STILL_MAX, self.still_on_sqlite(session)).await,
        };
        still.unwrap_or_else(|_| panic!("after {STILL_MAX:?} sessions {:?} neither end nor wait", self.under_way))
    }

    /// Takes the answers that are there.
    fn collect(&mut self, ended: &mut Ended) {
        for session in self.under_way.clone() {
            if let Ok(result) = self.clients[session].from.try_recv() {
                self.under_way.remove(&session);
                ended.insert(self.ids[session], result);
            }
        }
    }

    async fn next_answer(&mut self, ended: &mut Ended) {
        let under_way = self.under_way.clone();
        let clients = self.clients.iter_mut().enumerate().filter(|(session, _)| under_way.contains(session));
        let answers = clients.map(|(session, client)| Box::pin(async move { (session, client.from.recv().await) }));
        let ((session, result), ..) = futures_util::future::select_all(answers).await;
        self.under_way.remove(&session);
        ended.insert(self.ids[session], result.expect("the session's task runs as long as it is asked"));
    }

    /// Still is when each operation under way was waiting in one and the same picture of the lock
    /// manager, without a circle, and no answer had come meanwhile: then nothing can move.
    async fn still_on_postgres(&mut self) -> Ended {
        let mut ended = Ended::new();
        let mut idle = BTreeSet::new();
        loop {
            self.have_undone(&ended, &mut idle).await;
            if self.under_way.is_empty() {
                break;
            }
            let answer = tokio::time::timeout(ASK_EVERY, self.next_answer(&mut ended));
            if answer.await.is_ok() {
                continue;
            }
            let before = self.under_way.clone();
            let waits = self.waits_on_postgres().await;
            self.collect(&mut ended);
            let pids: BTreeSet<i64> = before.iter().map(|session| self.ids[*session].0).collect();
            let all_wait = pids.iter().all(|pid| waits.contains_key(pid));
            if before == self.under_way && all_wait && !has_circle(&waits) {
                break;
            }
        }
        ended
    }

    /// Waits until the server has undone what each new failure undoes: it sends an error before it
    /// aborts the transaction and lets go of its locks, and the driver hands the error over at once.
    async fn have_undone(&mut self, ended: &Ended, idle: &mut BTreeSet<SessionId>) {
        let Witness::Postgres(witness) = &mut self.witness else { unreachable!("it is PostgreSQL") };
        for (id, _) in ended.iter().filter(|(_, result)| result.is_err()) {
            while !idle.contains(id) {
                let is_active = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1::int";
                let is_active = sqlx::query_scalar::<_, bool>(is_active).bind(i32::try_from(id.0).unwrap_or(0));
                if !is_active.fetch_one(&mut *witness).await.expect("the server answers") {
                    idle.insert(*id);
                }
            }
        }
    }

    /// Who waits, and for whom.
    async fn waits_on_postgres(&mut self) -> BTreeMap<i64, BTreeSet<i64>> {
        let Witness::Postgres(witness) = &mut self.witness else { unreachable!("it is PostgreSQL") };
        let pids: Vec<i32> = self.ids.iter().filter_map(|id| i32::try_from(id.0).ok()).collect();
        let rows = sqlx::query(
            "SELECT pid, granted, concat_ws('.', locktype, database, relation, page, tuple, transactionid, classid, \
                    objid, objsubid) FROM pg_locks \
             WHERE pid = ANY($1::int[]) AND locktype IN ('transactionid', 'tuple', 'advisory')",
        )
        .bind(pids)
        .fetch_all(witness)
        .await
        .expect("the server answers");
        let rows: Vec<(i64, bool, String)> =
            rows.iter().map(|row| (i64::from(row.get::<i32, _>(0)), row.get(1), row.get(2))).collect();
        let waiting = rows.iter().filter(|(_, is_granted, _)| !is_granted);
        waiting
            .map(|(pid, _, lock)| {
                let holders = rows.iter().filter(|(holder, is_granted, l)| *is_granted && l == lock && holder != pid);
                (*pid, holders.map(|(holder, ..)| *holder).collect())
            })
            .collect()
    }

    /// Whoever waits is told to try again, one after another, until nobody gets any further.
    async fn still_on_sqlite(&mut self, sent: usize) -> Ended {
        let mut ended = Ended::new();
        self.ended_or_parked(sent, &mut ended).await;
        let mut to_try: BTreeSet<usize> = self.under_way.iter().copied().filter(|session| *session != sent).collect();
        while !to_try.is_empty() {
            let before = ended.len();
            for session in to_try {
                self.try_again(session);
                self.ended_or_parked(session, &mut ended).await;
            }
            to_try = if ended.len() == before { BTreeSet::new() } else { self.under_way.clone() };
        }
        ended
    }

    fn try_again(&mut self, session: usize) {
        let Witness::Sqlite(_, handlers) = &mut self.witness else { unreachable!("it is SQLite") };
        let Handler { busy, over } = &mut handlers[session];
        *over = *busy.parkings().borrow();
        busy.try_again();
    }

    /// Returns when a session's operation has ended or is parked, since it was last told to try again.
    async fn ended_or_parked(&mut self, session: usize, ended: &mut Ended) {
        let Witness::Sqlite(_, handlers) = &mut self.witness else { unreachable!("it is SQLite") };
        let Handler { busy, over } = &mut handlers[session];
        let mut parkings = busy.parkings();
        tokio::select! {
            biased;
            answer = self.clients[session].from.recv() => {
                busy.ended();
                *over = *busy.parkings().borrow();
                self.under_way.remove(&session);
                ended.insert(self.ids[session], answer.expect("the session's task runs as long as it is asked"));
            }
            parked = parkings.wait_for(|parked| *parked > *over) => {
                drop(parked.expect("the handler lives as long as its connection"));
            }
        }
    }

    /// What is left of a program, as text.
    pub async fn left(&mut self, keys: Keys) -> Vec<String> {
        let ids = keys.customers().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let runs = keys.runs().iter().map(|run| format!("'{run}'")).collect::<Vec<_>>().join(", ");
        let query = format!(
            "SELECT 'run ' || id || ' of ' || customer_id || ' ' || status || ' ' || coalesce(failure, '-') AS line \
             FROM drift_runs WHERE customer_id IN ({ids}) \
             UNION ALL SELECT 'event ' || run_id || ' of ' || customer_id || ' ' || payer || ' ' \
                || CAST(CAST(delta * 8 AS integer) AS text) FROM drift_events WHERE run_id IN ({runs}) \
             UNION ALL SELECT 'claim of ' || customer_id FROM claims WHERE customer_id IN ({ids})"
        );
        let query = AssertSqlSafe(query);
        let mut lines: Vec<String> = match &mut self.witness {
            Witness::Postgres(witness) => sqlx::query_scalar(query).persistent(false).fetch_all(witness).await,
            Witness::Sqlite(witness, _) => sqlx::query_scalar(query).persistent(false).fetch_all(witness).await,
        }
        .expect("the server answers");
        lines.sort();
        lines
    }

    /// Ends every session, whatever it is doing.
    pub async fn close(mut self) {
        if let Witness::Postgres(witness) = &mut self.witness {
            let pids: Vec<i32> = self.ids.iter().filter_map(|id| i32::try_from(id.0).ok()).collect();
            let end = sqlx::query("SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) AS t(pid)");
            let _ = end.bind(pids).execute(witness).await;
        }
        if let Witness::Sqlite(_, handlers) = &self.witness {
            handlers.iter().for_each(|handler| handler.busy.give_up());
        }
        for client in self.clients {
            drop(client.to);
            let _ = client.task.await;
        }
        let _ = match self.witness {
            Witness::Postgres(witness) => witness.close().await,
            Witness::Sqlite(witness, _) => witness.close().await,
        };
    }
}

fn has_circle(waits: &BTreeMap<i64, BTreeSet<i64>>) -> bool {
    waits.keys().any(|start| {
        let (mut reached, mut to_do) = (BTreeSet::new(), vec![*start]);
        while let Some(next) = to_do.pop() {
            for other in waits.get(&next).into_iter().flatten() {
                if reached.insert(*other) {
                    to_do.push(*other);
                }
            }
        }
        reached.contains(start)
    })
}
