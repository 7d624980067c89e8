//! What the server says to a session beside its answers: notices, warnings.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::{AsyncMessage, Connection};

use super::printed::PRINTED_MAX;

/// The most notices that are kept of one session between two looks at them.
const NOTICES_MAX: usize = 100;

/// What a session was told that nobody has looked at yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    notices: Vec<String>,
    /// Trees of statements: see [`super::printed`].
    trees: Vec<String>,
    bytes: usize,
}

impl Notices {
    /// Takes the notices.
    pub fn take(&self) -> Vec<String> {
        self.take_all().0
    }

    /// Takes the notices, and the trees that were printed.
    pub fn take_all(&self) -> (Vec<String>, Vec<String>) {
        let kept = std::mem::take(&mut *self.0.lock().expect("nobody panics while listening"));
        (kept.notices, kept.trees)
    }

    fn add(&self, notice: &DbError) {
        let mut kept = self.0.lock().expect("nobody panics while listening");
        // What is meant for the log is nothing that a program would be told.
        if matches!(notice.parsed_severity(), Some(Severity::Log)) {
            let tree = notice.detail().unwrap_or_default();
            kept.bytes += tree.len();
            match kept.bytes {
                0..=PRINTED_MAX => kept.trees.push(tree.to_owned()),
                // A tree that cannot be read stands for anything.
                _ => kept.trees = vec![":funcid ?".to_owned()],
            }
        } else {
            drop(kept);
            self.keep(format!("{}: {}", notice.severity(), notice.message()));
        }
    }

    fn keep(&self, notice: String) {
        let mut kept = self.0.lock().expect("nobody panics while listening");
        if kept.notices.len() < NOTICES_MAX {
            kept.notices.push(notice);
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
            match message {
                AsyncMessage::Notice(notice) => self.add(&notice),
                AsyncMessage::Notification(one) => self.keep(format!("NOTIFY {}: {}", one.channel(), one.payload())),
                _ => {}
            }
        }
    }
}
