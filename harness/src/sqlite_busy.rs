//! SQLite's own word on who waits: a busy handler that says so. The one module with unsafe code.
//!
//! SQLite calls the handler of a connection exactly while another connection holds the lock that it
//! needs (sqlite.org/c3ref/busy_handler.html). The handler sleeps as long as SQLite's own one would
//! (`sqliteDefaultBusyCallback`), so that contention is as unfair as it is in production.
#![expect(unsafe_code, reason = "SQLite's busy handler is a C callback")]

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::SqliteConnection;

/// What a connection's busy handler has to tell.
#[derive(Debug)]
pub struct Busy {
    timeout_ms: u64,
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

    /// How often the connection began to wait.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::SeqCst)
    }

    /// What SQLite asks: it has called `count` times before for this lock; whether to try again.
    fn ask(&self, count: usize) -> bool {
        const DELAYS_MS: [u64; 12] = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];
        let last = DELAYS_MS.len() - 1;
        let before: u64 =
            DELAYS_MS.iter().take(count).sum::<u64>() + DELAYS_MS[last] * count.saturating_sub(DELAYS_MS.len()) as u64;
        let delay = DELAYS_MS[count.min(last)].min(self.timeout_ms.saturating_sub(before));
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
    let busy = Arc::new(Busy { timeout_ms, waiting: AtomicBool::new(false), waits: AtomicU64::new(0) });
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
