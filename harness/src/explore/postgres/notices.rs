//! What the server says to a session beside its answers: notices, warnings.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Connection};

/// The most notices that are kept of one session between two looks at them.
const NOTICES_MAX: usize = 100;

/// The notices of a session that nobody has looked at yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    /// Takes them.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics while listening"))
    }

    fn add(&self, notice: String) {
        let mut kept = self.0.lock().expect("nobody panics while listening");
        if kept.len() < NOTICES_MAX {
            kept.push(notice);
        }
    }

    /// Works a connection until its client is dropped. A notice is kept before the answer arrives that
    /// follows it.
    pub async fn listen<S, T>(self, mut connection: Connection<S, T>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notice(notice) = message {
                self.add(format!("{}: {}", notice.severity(), notice.message()));
            }
        }
    }
}
