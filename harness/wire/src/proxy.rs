//! The proxy itself: its endpoints, who is let in by them, and how all of it ends.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::bounds::{CANCEL_TIME_MAX, SOCKETS_BEYOND_SESSIONS};
use crate::config::{Config, Names};
use crate::endpoint::{Door, Endpoint, Listen, socket_path};
use crate::error::Error;
use crate::gate::{Admission, Connected, Ending, Gate, Ticket};
use crate::keys::Keys;
use crate::relay::Relay;
use crate::reply::{fatal, message};
use crate::scram::Verifier;
use crate::socket::Socket;
use crate::startup::{self, Parameters, Refused, Wish};
use crate::tls::Tls;
use crate::unit::{ConnectionId, EndpointId};
use crate::unix::UnixSocket;
use crate::upstream::{self, BackendKey, Refusal};

/// How long an accept that failed is not tried again, for the system is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a refused client may take to read why.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(5);
/// The number in a Unix socket's name. Each socket has a directory of its own.
const SOCKET_PORT: u16 = 5432;

struct Shared {
    config: Config,
    gate: Arc<dyn Gate>,
    tls: Option<Tls>,
    keys: Keys,
    sessions: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    connections: AtomicU64,
    endpoints: AtomicU32,
    /// Everything that runs; `None` once the proxy was stopped.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// A PostgreSQL proxy on this machine. Ends with its last use: dropping it closes all.
pub struct Proxy {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("upstream", &self.shared.config.upstream).finish_non_exhaustive()
    }
}

/// What one endpoint's clients have to know.
struct Entrance {
    endpoint: Endpoint,
    verifier: Verifier,
}

enum Listener {
    Tcp(TcpListener),
    /// The directory goes with its listener.
    Unix(UnixListener, #[expect(dead_code, reason = "dropping it removes the directory")] tempfile::TempDir),
}

impl Listener {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => Ok(Socket::tcp(listener.accept().await?.0)),
            Listener::Unix(listener, _) => Ok(Socket::Unix(UnixSocket::new(listener.accept().await?.0)?)),
        }
    }
}

impl Proxy {
    /// Makes a proxy without an endpoint. Nothing is asked of the server yet.
    ///
    /// # Errors
    ///
    /// If there is no certificate to be made.
    pub fn new(config: Config, gate: impl Gate) -> Result<Proxy, Error> {
        let tls = if config.tls { Some(Tls::new()?) } else { None };
        let connections_max = config.limits.connections_max.min(Semaphore::MAX_PERMITS - SOCKETS_BEYOND_SESSIONS);
        let shared = Shared {
            gate: Arc::new(gate),
            tls,
            keys: Keys::default(),
            sessions: Arc::new(Semaphore::new(connections_max)),
            sockets: Arc::new(Semaphore::new(connections_max + SOCKETS_BEYOND_SESSIONS)),
            connections: AtomicU64::new(0),
            endpoints: AtomicU32::new(0),
            tasks: Mutex::new(Some(JoinSet::new())),
            config,
        };
        Ok(Proxy { shared: Arc::new(shared) })
    }

    /// Opens an endpoint, with a password of its own. It is served by the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// If there is nothing to listen on, or the proxy was stopped.
    pub async fn open(&self, listen: Listen) -> Result<Endpoint, Error> {
        let (listener, door) = match listen {
            Listen::Tcp => listen_on_loopback().await.map_err(|source| Error::Listen { at: "loopback", source })?,
            Listen::Unix => listen_on_socket().map_err(|source| Error::Listen { at: "a Unix socket", source })?,
        };
        let random = |source| Error::Random { source };
        let password = crate::random::password().map_err(random)?;
        let verifier = Verifier::new(&password).map_err(random)?;
        let upstream = &self.shared.config.upstream;
        let id = EndpointId(self.shared.endpoints.fetch_add(1, Ordering::Relaxed));
        let (user, database) = (upstream.user.clone(), upstream.database.clone());
        let endpoint = Endpoint { id, door, user, password, database };
        let entrance = Arc::new(Entrance { endpoint: endpoint.clone(), verifier });
        let shared = Arc::clone(&self.shared);
        if self.shared.spawn(async move { shared.serve(&listener, &entrance).await }) {
            Ok(endpoint)
        } else {
            Err(Error::Stopped)
        }
    }

    /// The certificate, as DER, for clients that want to verify it; `None` without TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8]> {
        self.shared.tls.as_ref().map(|tls| &*tls.der)
    }

    /// The sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.config.limits.connections_max.saturating_sub(self.shared.sessions.available_permits())
    }

    /// Closes every endpoint and every connection, and returns when all are closed.
    pub async fn stop(self) {
        let tasks = self.shared.take_tasks();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Dropped tasks close what they hold.
        drop(self.shared.take_tasks());
    }
}

async fn listen_on_loopback() -> io::Result<(Listener, Door)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    Ok((Listener::Tcp(listener), Door::Tcp(address)))
}

fn listen_on_socket() -> io::Result<(Listener, Door)> {
    // Nobody else may enter a temporary directory.
    let directory = tempfile::Builder::new().prefix("driftlock-").tempdir()?;
    let listener = UnixListener::bind(socket_path(directory.path(), SOCKET_PORT))?;
    let door = Door::Unix { directory: directory.path().to_owned(), port: SOCKET_PORT };
    Ok((Listener::Unix(listener, directory), door))
}

impl Shared {
    fn take_tasks(&self) -> Option<JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs a task until the proxy ends; `false` if it has.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tasks) = tasks.as_mut() else { return false };
        // Those that have ended are not kept.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
        true
    }

    async fn serve(self: Arc<Shared>, listener: &Listener, entrance: &Arc<Entrance>) {
        loop {
            match listener.accept().await {
                Ok(client) => {
                    // Beyond the bound nobody is even told.
                    let Ok(socket) = Arc::clone(&self.sockets).try_acquire_owned() else { continue };
                    let (shared, entrance) = (Arc::clone(&self), Arc::clone(entrance));
                    self.spawn(async move { shared.admit(client, &entrance, socket).await });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Serves one client from its first byte to its last.
    async fn admit(self: Arc<Shared>, client: Socket, entrance: &Entrance, socket: OwnedSemaphorePermit) {
        let (tls, time_max) = (self.tls.as_ref(), self.config.limits.startup_time_max);
        let began = tokio::time::Instant::now();
        match tokio::time::timeout(time_max, startup::wish(client, tls)).await {
            Ok(Ok((client, Wish::Cancel { pid, secret }))) => self.cancel(client, pid, &secret).await,
            Ok(Ok((mut client, Wish::Session(parameters)))) => {
                let left = time_max.saturating_sub(began.elapsed());
                // The gate takes as long as it likes.
                if let Err(refused) = self.entered(entrance).await {
                    return refuse(client, refused).await;
                }
                let starting = self.start(&mut client, entrance, &parameters);
                match tokio::time::timeout(left, starting).await {
                    Ok(Ok(session)) => {
                        // From here on it counts as a session alone.
                        drop(socket);
                        session.run(client, self.watch_over()).await;
                    }
                    Ok(Err(refused)) => refuse(client, refused).await,
                    Err(_) => refuse(client, Refused::Told(fatal("57P05", "the start-up took too long"))).await,
                }
            }
            Ok(Err((Some(client), refused))) => refuse(client, refused).await,
            Ok(Err((None, _))) | Err(_) => {}
        }
    }

    /// Asks the gate whether a client may have a session.
    async fn entered(&self, entrance: &Entrance) -> Result<(), Refused> {
        let admission = match self.gate.enters(entrance.endpoint.id) {
            Ticket::Now(admission) => admission,
            Ticket::Later(admission) => admission.await,
        };
        match admission {
            Admission::Forward => Ok(()),
            Admission::Refuse { sqlstate, message, .. } => Err(Refused::Told(fatal(&sqlstate, &message))),
            Admission::Drop | Admission::SendThenDrop => Err(Refused::Gone),
        }
    }

    fn watch_over(&self) -> Arc<dyn Gate> {
        Arc::clone(&self.gate)
    }

    async fn cancel(&self, client: Socket, pid: i32, secret: &[u8]) {
        if let Some((connection, key)) = self.keys.find(pid, secret) {
            self.gate.cancelled(connection);
            // A cancel request has no answer, whatever comes of it.
            let _ = tokio::time::timeout(CANCEL_TIME_MAX, upstream::cancel(&self.config.upstream.address, &key)).await;
        }
        // Clients wait for this, and then believe that the request has arrived.
        drop(client);
    }

    /// Lets a client in, and makes a session for it.
    async fn start(
        self: &Arc<Shared>,
        client: &mut Socket,
        entrance: &Entrance,
        parameters: &Parameters,
    ) -> Result<Session, Refused> {
        let told = |sqlstate, text: &str| Refused::Told(fatal(sqlstate, text));
        if parameters.replication {
            return Err(told("0A000", "replication connections are not led through driftlock's proxy"));
        }
        let Ok(permit) = Arc::clone(&self.sessions).try_acquire_owned() else {
            return Err(told("53300", "driftlock's proxy has as many connections as it may"));
        };
        if let Some(negotiation) = startup::negotiation(parameters) {
            client.write_all(&negotiation).await?;
        }
        let certificate = match client {
            Socket::Tls(_) => self.tls.as_ref().map(|tls| &*tls.hash),
            Socket::Tcp(_) | Socket::Unix(_) => None,
        };
        startup::authenticate(client, &parameters.user, &entrance.verifier, certificate).await?;
        self.check_names(entrance, parameters)?;
        let unreachable = |why: String| told("08001", &format!("the server behind driftlock's proxy: {why}"));
        let upstream = &self.config.upstream;
        let mut server = upstream::connect(&upstream.address).await.map_err(|error| unreachable(error.to_string()))?;
        let options = &self.config.session;
        let signed_in = match upstream::sign_in(&mut server, upstream, &parameters.others, options).await {
            Ok(signed_in) => signed_in,
            Err(Refusal::Server(message)) => return Err(Refused::Told(message)),
            Err(Refusal::Other(why)) => return Err(unreachable(why)),
        };
        let connection = ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed) + 1);
        let mut greeting = startup::authenticated();
        greeting.extend(signed_in.greeting);
        let server_pid = signed_in.key.as_ref().map(|key| key.pid);
        let key = match signed_in.key {
            Some(key) => Some(self.keys.issue(connection, key, startup::key_bytes(parameters.minor))?),
            None => None,
        };
        if let Some(BackendKey { pid, secret }) = &key {
            greeting.extend(message(b'K', &[&pid.to_be_bytes(), &**secret].concat()));
        }
        greeting.extend(signed_in.ready);
        let connected = Connected { endpoint: entrance.endpoint.id, server_pid, parameters: parameters.others.clone() };
        let shared = Arc::clone(self);
        shared.gate.connected(connection, &connected);
        let pid = key.map(|key| key.pid);
        let seat = Seat { shared, connection, pid, ending: Ending::Stopped, _permit: permit };
        Ok(Session { server, greeting, rest: signed_in.rest, seat })
    }

    fn check_names(&self, entrance: &Entrance, parameters: &Parameters) -> Result<(), Refused> {
        if self.config.names == Names::Any {
            return Ok(());
        }
        let endpoint = &entrance.endpoint;
        if parameters.user != endpoint.user {
            return Err(startup::wrong_password(&parameters.user));
        }
        if parameters.database != endpoint.database {
            let text = format!(
                "database \"{}\" is not behind driftlock's proxy: it leads to \"{}\" alone",
                parameters.database, endpoint.database
            );
            return Err(Refused::Told(fatal("3D000", &text)));
        }
        Ok(())
    }
}

/// A session that has begun. However it ends, the gate is told, and its key is withdrawn.
struct Seat {
    shared: Arc<Shared>,
    connection: ConnectionId,
    pid: Option<i32>,
    ending: Ending,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            self.shared.keys.withdraw(pid);
        }
        self.shared.gate.closed(self.connection, &self.ending);
    }
}

struct Session {
    server: Socket,
    greeting: Vec<u8>,
    rest: BytesMut,
    seat: Seat,
}

impl Session {
    async fn run(self, mut client: Socket, gate: Arc<dyn Gate>) {
        let Session { server, greeting, rest, mut seat } = self;
        let greeted = async {
            client.write_all(&greeting).await?;
            client.flush().await
        };
        seat.ending = match greeted.await {
            Ok(()) => {
                let keeps_logs = seat.shared.config.keeps_logs;
                Relay::new(client, server, gate, keeps_logs, seat.connection).run(rest).await
            }
            Err(_) => Ending::ClientGone,
        };
    }
}

/// Tells a client why, and closes.
async fn refuse(mut client: Socket, refused: Refused) {
    let Refused::Told(message) = refused else { return };
    let telling = async {
        client.write_all(&message).await?;
        client.shutdown().await
    };
    // Who does not listen is not told.
    let _ = tokio::time::timeout(REFUSAL_TIME_MAX, telling).await;
}
