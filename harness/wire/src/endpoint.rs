//! One door of a proxy: who comes in by it is known by that.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::unit::EndpointId;

/// Where an endpoint listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listen {
    /// On a free port of the loopback interface.
    #[default]
    Tcp,
    /// On a Unix socket in a directory that only its owner may enter.
    Unix,
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// To this address.
    Tcp(SocketAddr),
    /// To the socket in this directory.
    Unix {
        /// The directory; clients are given this as their host.
        directory: PathBuf,
        /// The number in the socket's name; no port is open.
        port: u16,
    },
}

/// One door of a proxy, and what a client needs to come in by it.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Which one it is.
    pub id: EndpointId,
    /// Where it is.
    pub door: Door,
    /// The user that clients name.
    pub user: String,
    /// The password that was made for this endpoint.
    pub password: String,
    /// The database that clients name.
    pub database: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("id", &self.id).field("door", &self.door).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The URL that an application is given. It holds the password.
    #[must_use]
    pub fn url(&self) -> String {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (user, database) = (encoded(&self.user), encoded(&self.database));
        let password = &self.password;
        match &self.door {
            Door::Tcp(address) => format!("postgresql://{user}:{password}@{address}/{database}"),
            Door::Unix { directory, port } => {
                let host = encoded(&directory.to_string_lossy());
                format!("postgresql://{user}:{password}@/{database}?host={host}&port={port}")
            }
        }
    }

    /// The variables that libpq, and those who follow it, look at. One of them is the password.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let (host, port) = match &self.door {
            Door::Tcp(address) => (address.ip().to_string(), address.port()),
            Door::Unix { directory, port } => (directory.to_string_lossy().into_owned(), *port),
        };
        vec![
            ("DATABASE_URL", self.url()),
            ("PGHOST", host),
            ("PGPORT", port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGPASSWORD", self.password.clone()),
            ("PGDATABASE", self.database.clone()),
        ]
    }

    /// The socket itself, where it is one in the file system.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        match &self.door {
            Door::Tcp(_) => None,
            Door::Unix { directory, port } => Some(socket_path(directory, *port)),
        }
    }
}

pub(crate) fn socket_path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

#[cfg(test)]
mod tests {
    use super::{Door, Endpoint};
    use crate::config::{Address, Upstream};
    use crate::unit::EndpointId;

    fn endpoint(door: Door) -> Endpoint {
        let (user, database) = ("my app".to_owned(), "a/b".to_owned());
        Endpoint { id: EndpointId(0), door, user, password: "00ff".to_owned(), database }
    }

    #[test]
    fn a_url_is_read_back_as_what_it_was_made_of() {
        let upstream = Upstream::parse(&endpoint(Door::Tcp(([127, 0, 0, 1], 4000).into())).url()).expect("a URL");
        assert_eq!(upstream.address, Address::Tcp { host: "127.0.0.1".to_owned(), port: 4000 });
        assert_eq!((&*upstream.user, &*upstream.database), ("my app", "a/b"));
        let door = Door::Unix { directory: "/tmp/x y".into(), port: 5432 };
        let upstream = Upstream::parse(&endpoint(door).url()).expect("a URL");
        assert_eq!(upstream.address, Address::Unix("/tmp/x y/.s.PGSQL.5432".into()));
    }

    #[test]
    fn a_password_is_not_in_the_debug_form() {
        assert!(!format!("{:?}", endpoint(Door::Tcp(([127, 0, 0, 1], 1).into()))).contains("00ff"));
    }
}
