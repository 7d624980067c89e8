//! How much of anything is kept. With these, the memory of a connection has a bound that no sent byte can move.

use std::time::Duration;

/// The bytes of one message that are looked at. What lies behind them is passed on in pieces, and marked as cut.
pub const UNDERSTOOD_BYTES_MAX: usize = 64 << 10;
/// The bytes of one message of severity LOG that are looked at, where they are kept from the client.
pub const LOG_BYTES_MAX: usize = 128 << 10;
/// The bytes of one unit that are held. A longer unit is judged by its beginning, and its rest streams through.
pub const UNIT_BYTES_MAX: usize = 1 << 20;
/// The bytes that are read at once.
pub const READ_BYTES_MAX: usize = 128 << 10;
/// The bytes of answers that wait for a client that reads slowly.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;
/// The bytes of text that the description of one unit, or of one answer, holds.
pub const DESCRIPTION_BYTES_MAX: usize = 256 << 10;
/// The steps, outcomes or notices of one unit that are described one by one.
pub const DESCRIBED_MAX: usize = 4096;
/// The bytes of prepared statements' texts that are remembered for a connection.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// The columns of a prepared statement whose types and forms are remembered.
pub const COLUMNS_MAX: usize = 256;
/// The answers that a server may owe before no more is read from the client.
pub const OWED_MAX: usize = 64 << 10;
/// The bytes of a start-up packet, as in the server.
pub const STARTUP_BYTES_MAX: usize = 10_000;
/// The bytes of everything that the server says while a session is signed in.
pub const SIGN_IN_BYTES_MAX: usize = 64 << 10;
/// How long one forwarded cancel request may take.
pub const CANCEL_TIME_MAX: Duration = Duration::from_secs(10);
/// The sockets that may be open beyond the sessions: those that are starting, cancelling, or being refused.
pub const SOCKETS_BEYOND_SESSIONS: usize = 100;
