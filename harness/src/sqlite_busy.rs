//! SQLite's own word on who waits: a busy handler that says so. The one module with unsafe code.
//!
//! SQLite calls the handler of a connection exactly while another connection holds the lock that it
//! needs (sqlite.org/c3ref/busy_handler.html). The handler sleeps as long as SQLite's own one would
//! (`sqliteDefaultBusyCallback`), so that contention is as unfair as it is in production; or it parks
//! the connection until it is told to try again ([`install_parked`]), so that nothing depends on time.
#![expect(unsafe_code, reason = "SQLite's busy handler is a C callback")]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sqlx::SqliteConnection;
use tokio::sync::watch;

/// What a busy handler does before it lets SQLite try again.
#[derive(Debug)]
enum Patience {
    /// Sleeps, ever longer, until so much time has gone by.
    Sleeps { timeout_ms: u64 },
    /// Stays until it is told.
    Parks(Parking),
}

/// Where a connection is parked.
#[derive(Debug, Default)]
struct Parking {
    told: Mutex<Told>,
    changed: Condvar,
    /// How often the connection has been parked.
    parked: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Told {
    /// How many of its parkings are over.
    over: u64,
    gives_up: bool,
}

impl Parking {
    /// Parks the connection; returns whether it is to try again.
    fn park(&self) -> bool {
        let mut told = self.told.lock().expect("nobody panics while telling");
        self.parked.send_modify(|parked| *parked += 1);
        let parked = *self.parked.borrow();
        while told.over < parked && !told.gives_up {
            told = self.changed.wait(told).expect("nobody panics while telling");
        }
        !told.gives_up
    }
}

/// What a connection's busy handler has to tell.
#[derive(Debug)]
pub struct Busy {
    patience: Patience,
    waiting: AtomicBool,
    waits: AtomicU64,
}

impl Busy {
    /// Whether the connection waits for the file's lock.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Hears that the operation has ended: SQLite does not say when the wait is over.
    pub fn ended(&self) {
        self.waiting.store(false, Ordering::SeqCst);
    }

    /// Hears of each time that the connection is parked, by their number so far; never, if it sleeps.
    pub fn parkings(&self) -> watch::Receiver<u64> {
        match &self.patience {
            Patience::Sleeps { .. } => watch::Sender::new(0).subscribe(),
            Patience::Parks(parking) => parking.parked.subscribe(),
        }
    }

    /// Lets a parked connection try again.
    pub fn try_again(&self) {
        self.tell(|told, parked| told.over = parked);
    }

    /// Lets a parked connection, and from now on this one at every wait, end with SQLITE_BUSY.
    pub fn give_up(&self) {
        self.tell(|told, _| told.gives_up = true);
    }

    fn tell(&self, what: impl FnOnce(&mut Told, u64)) {
        if let Patience::Parks(parking) = &self.patience {
            let mut told = parking.told.lock().expect("nobody panics while telling");
            what(&mut told, *parking.parked.borrow());
            parking.changed.notify_all();
        }
    }

    /// How often the connection began to wait.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::SeqCst)
    }

    /// What SQLite asks: it has called `count` times before for this lock; whether to try again.
    fn ask(&self, count: usize) -> bool {
        match &self.patience {
            Patience::Sleeps { timeout_ms } => self.sleep(count, *timeout_ms),
            Patience::Parks(parking) => {
                self.waits.fetch_add(u64::from(count == 0), Ordering::SeqCst);
                self.waiting.store(true, Ordering::SeqCst);
                parking.park()
            }
        }
    }

    fn sleep(&self, count: usize, timeout_ms: u64) -> bool {
        const DELAYS_MS: [u64; 12] = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];
        let last = DELAYS_MS.len() - 1;
        let before: u64 =
            DELAYS_MS.iter().take(count).sum::<u64>() + DELAYS_MS[last] * count.saturating_sub(DELAYS_MS.len()) as u64;
        let delay = DELAYS_MS[count.min(last)].min(timeout_ms.saturating_sub(before));
        if delay == 0 {
            return false;
        }
        if count == 0 {
            self.waits.fetch_add(1, Ordering::SeqCst);
        }
        self.waiting.store(true, Ordering::SeqCst);
        #[expect(
            clippy::disallowed_methods,
            reason = "SQLite expects its busy handler to sleep, on the driver's thread"
        )]
        std::thread::sleep(Duration::from_millis(delay));
        true
    }
}

extern "C" fn on_busy(state: *mut c_void, count: c_int) -> c_int {
    // SAFETY: `state` is the pointer that `install` handed over with one reference of its own, which
    // is given back only by `forget`, when the connection is closed and calls no handler any more.
    let busy = unsafe { &*state.cast::<Busy>() };
    c_int::from(busy.ask(usize::try_from(count).unwrap_or(0)))
}

extern "C" fn forget(state: *mut c_void) {
    // SAFETY: `state` came from `Arc::into_raw` in `install`, and SQLite calls this once.
    drop(unsafe { Arc::from_raw(state.cast_const().cast::<Busy>()) });
}

/// Replaces the connection's busy handler; an operation gives up after `timeout`.
///
/// # Errors
/// The connection is closed.
pub async fn install(connection: &mut SqliteConnection, timeout: Duration) -> Result<Arc<Busy>, sqlx::Error> {
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    install_with(connection, Patience::Sleeps { timeout_ms }).await
}

/// Replaces the connection's busy handler by one that parks it, whenever it has to wait, until
/// [`Busy::try_again`] or [`Busy::give_up`]. Who drops the connection while it is parked must give up first.
///
/// # Errors
/// The connection is closed.
pub async fn install_parked(connection: &mut SqliteConnection) -> Result<Arc<Busy>, sqlx::Error> {
    install_with(connection, Patience::Parks(Parking::default())).await
}

/// Makes this the connection's busy handler again: `PRAGMA busy_timeout` replaces it by SQLite's own.
///
/// # Errors
/// The connection is closed.
pub async fn put_back(connection: &mut SqliteConnection, busy: &Arc<Busy>) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let raw = handle.as_raw_handle().as_ptr();
    let state = Arc::as_ptr(busy).cast_mut().cast::<c_void>();
    // SAFETY: the handle is locked. The state is what `install_with` stored with this connection, if it has stored that;
    // otherwise nothing is changed. Stored, it lives until SQLite closes the connection.
    unsafe {
        if libsqlite3_sys::sqlite3_get_clientdata(raw, c"driftlock.busy".as_ptr()) == state {
            libsqlite3_sys::sqlite3_busy_handler(raw, Some(on_busy), state);
        }
    }
    Ok(())
}

async fn install_with(connection: &mut SqliteConnection, patience: Patience) -> Result<Arc<Busy>, sqlx::Error> {
    let busy = Arc::new(Busy { patience, waiting: AtomicBool::new(false), waits: AtomicU64::new(0) });
    let mut handle = connection.lock_handle().await?;
    let raw = handle.as_raw_handle().as_ptr();
    let state = Arc::into_raw(Arc::clone(&busy)).cast_mut().cast::<c_void>();
    // SAFETY: the handle is locked, so no other thread uses the connection; the name is a C string
    // with static lifetime; the state lives until SQLite closes the connection and calls `forget`
    // (sqlite.org/c3ref/get_clientdata.html), which it also does at once when it fails to store it.
    let stored =
        unsafe { libsqlite3_sys::sqlite3_set_clientdata(raw, c"driftlock.busy".as_ptr(), state, Some(forget)) };
    if stored != libsqlite3_sys::SQLITE_OK {
        return Err(sqlx::Error::Configuration("SQLite has no memory for a busy handler".into()));
    }
    // SAFETY: as above; the state outlives every call of the handler.
    unsafe { libsqlite3_sys::sqlite3_busy_handler(raw, Some(on_busy), state) };
    Ok(busy)
}
