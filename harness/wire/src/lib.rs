//! A PostgreSQL proxy behind which an unmodified application becomes an actor: each thing that it asks of the server is
//! held until somebody lets it through, and each answer is told to somebody before the application reads it.
//!
//! What is held at once is a [`Unit`]: the smallest thing after which the server speaks again. A simple query; messages
//! of the extended protocol up to Sync or Flush, each fetch of a portal among them; the data of a COPY up to its end; a
//! function call. A [`Gate`] decides on each: forward, refuse, drop, or send and then drop. It may also have other SQL
//! asked in the place of what a client sends ([`Gate::rewritten`]), or right after it ([`Gate::followed`]).
//!
//! ```
//! use driftlock_wire::{Config, Listen, Open, Proxy, Record, Upstream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), driftlock_wire::Error> {
//! let upstream = Upstream::parse("postgresql://shop:secret@localhost/orders")?;
//! let record = Record::around(Open, 10_000);
//! let proxy = Proxy::new(Config::new(upstream), record.clone())?;
//! // One for each actor, so that who sent what is never guessed.
//! let endpoint = proxy.open(Listen::Tcp).await?;
//! assert!(endpoint.url().starts_with("postgresql://shop:"));
//! // An application that is given this URL works as ever, and `record` says what it did.
//! assert!(record.events().is_empty());
//! proxy.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is guaranteed
//!
//! - The bytes that reach the server are those that the client sent, in their order, except for the start-up, for units
//!   that the gate refused or dropped, and for texts that it wrote anew; and so for the way back.
//! - None of a unit's bytes reach the server before it is admitted, and one unit of a connection is under way at a time.
//!   [`Gate::answered`] returns before the client can read the answer's end.
//! - Memory has a bound for each connection whatever anybody sends (see [`bounds`]): messages are passed on in pieces,
//!   and only so much is held and described. What was left out is counted or marked.
//! - Only who knows an endpoint's password is let in. Passwords and the server's cancel keys are in no message and in no
//!   `Debug` form.
//!
//! # What it does not do
//!
//! - A unit of more than [`bounds::UNIT_BYTES_MAX`] is judged by its beginning, and is not `whole`.
//! - A client that leaves is noticed at once, unless it has sent a whole buffer more than it awaited answers for. Its
//!   units that nobody had admitted are dropped, though a server would have read them.
//! - Statements that SQL itself prepares (`PREPARE`, `DECLARE`) are seen as the SQL that they are; a portal of such a
//!   statement has no text.
//! - Replication, GSSAPI encryption, `sslnegotiation=direct`, and TLS towards the server.
//!
//! # Why its own framing
//!
//! `pgwire` and `postgres-protocol` turn bytes into messages and back. Here the bytes themselves go on, in pieces if
//! they are many, so messages are cut by their headers alone and read where somebody looks. `postgres-protocol` builds
//! what the proxy itself says to a server, and has the client's side of SCRAM.

pub mod bounds;

mod answer;
mod config;
mod conversation;
mod course;
mod endpoint;
mod error;
mod fields;
mod gate;
mod keys;
mod owed;
mod parameter;
mod proxy;
mod random;
mod record;
mod relay;
mod reply;
mod request;
mod response;
mod rewrite;
mod scram;
mod socket;
mod startup;
mod statements;
mod tls;
mod unit;
mod unix;
mod upstream;

pub use answer::{Answer, Column, Outcome, Report, Transaction};
pub use config::{Address, Config, Limits, Names, Upstream};
pub use endpoint::{Door, Endpoint, Listen};
pub use error::Error;
pub use gate::{Admission, Connected, Ending, Gate, Open, Ticket, Watch};
pub use parameter::decoded;
pub use proxy::Proxy;
pub use record::{Event, Record};
pub use unit::{ConnectionId, EndpointId, Kind, Parameter, Shown, Source, Step, Text, Unit};
