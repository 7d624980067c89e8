//! What can go wrong before there is a session. Within one, errors are messages of the protocol.

use std::io;

/// Why a proxy, or an endpoint of its, could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address could not be read. The address itself may hold a password, so it is not repeated.
    #[error("read the server's URL: {why}")]
    Url {
        /// What is wrong with it.
        why: String,
    },
    /// There was no socket to listen on.
    #[error("listen on {at}")]
    Listen {
        /// The kind of place.
        at: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("draw random bytes")]
    Random {
        /// Why.
        source: io::Error,
    },
    /// There was no certificate to be made.
    #[error("make a self-signed certificate: {why}")]
    Certificate {
        /// Why.
        why: String,
    },
    /// The proxy was stopped.
    #[error("open an endpoint of a proxy that was stopped")]
    Stopped,
}
