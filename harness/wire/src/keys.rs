//! Which cancel key belongs to which session. Clients get keys of ours: a key of the server's would let whoever has it
//! past the proxy.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use subtle::ConstantTimeEq;

use crate::random;
use crate::unit::ConnectionId;
use crate::upstream::BackendKey;

struct Entry {
    secret: Vec<u8>,
    connection: ConnectionId,
    server: BackendKey,
}

/// The keys of all sessions, by the process id that a client was told.
#[derive(Default)]
pub(crate) struct Keys(Mutex<HashMap<i32, Entry>>);

impl Keys {
    /// Makes a key for a client.
    pub(crate) fn issue(&self, connection: ConnectionId, server: BackendKey, bytes: usize) -> io::Result<BackendKey> {
        let secret = random::bytes::<32>()?[..bytes.min(32)].to_vec();
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let pid = i32::from_be_bytes(random::bytes()?) & i32::MAX;
            if pid != 0 && !keys.contains_key(&pid) {
                keys.insert(pid, Entry { secret: secret.clone(), connection, server });
                return Ok(BackendKey { pid, secret });
            }
        }
    }

    pub(crate) fn withdraw(&self, pid: i32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }

    /// The session that a key was made for.
    pub(crate) fn find(&self, pid: i32, secret: &[u8]) -> Option<(ConnectionId, BackendKey)> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = keys.get(&pid)?;
        bool::from(entry.secret.ct_eq(secret)).then(|| (entry.connection, entry.server.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;
    use crate::unit::ConnectionId;
    use crate::upstream::BackendKey;

    #[test]
    fn only_the_key_that_was_issued_finds_its_session() {
        let keys = Keys::default();
        let server = BackendKey { pid: 7, secret: vec![1, 2, 3, 4] };
        let key = keys.issue(ConnectionId(3), server.clone(), 4).expect("random bytes");
        assert_eq!(key.secret.len(), 4);
        let (connection, found) = keys.find(key.pid, &key.secret).expect("it was issued");
        assert!(connection == ConnectionId(3) && found == server);
        assert!(keys.find(key.pid, &[0; 3]).is_none());
        assert!(keys.find(key.pid.wrapping_add(1), &key.secret).is_none());
        keys.withdraw(key.pid);
        assert!(keys.find(key.pid, &key.secret).is_none());
    }
}
