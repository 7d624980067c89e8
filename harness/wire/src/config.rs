//! What a proxy is given: the server behind it, and its bounds.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::Error;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On a host and a port.
    Tcp {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// On a Unix socket.
    Unix(PathBuf),
}

/// The server behind a proxy, and as whom sessions are signed in there.
///
/// The connection to it is not encrypted: it is meant for a server on the same machine, or in a container on it.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: Address,
    /// The role.
    pub user: String,
    /// Its password, where the server asks for one.
    pub password: Option<String>,
    /// The database.
    pub database: String,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

fn decoded(text: &str) -> Result<String, Error> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| wrong("it is not UTF-8"))?;
    Ok(text.into_owned())
}

fn wrong(why: &str) -> Error {
    Error::Url { why: why.to_owned() }
}

impl Upstream {
    /// Reads a URL like `postgresql://user:password@host:5432/database`. A Unix socket's directory is the host,
    /// percent-encoded, or the parameter `host`; other parameters are refused.
    ///
    /// # Errors
    ///
    /// If it is no such URL.
    ///
    /// ```
    /// use driftlock_wire::{Address, Upstream};
    ///
    /// let upstream = Upstream::parse("postgresql://shop@/orders?host=/run/postgresql")?;
    /// assert_eq!(upstream.address, Address::Unix("/run/postgresql/.s.PGSQL.5432".into()));
    /// # Ok::<(), driftlock_wire::Error>(())
    /// ```
    pub fn parse(url: &str) -> Result<Upstream, Error> {
        // The parser knows no empty host beside a user.
        let url = url.replacen("@/", "@localhost/", 1);
        let url = Url::parse(&url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong("its scheme is not postgresql"));
        }
        let mut host = decoded(url.host_str().unwrap_or("localhost"))?;
        let mut port = url.port().unwrap_or(5432);
        let mut user = decoded(url.username())?;
        let mut password = url.password().map(decoded).transpose()?;
        for (name, value) in url.query_pairs() {
            match &*name {
                "host" => host = value.into_owned(),
                "port" => port = value.parse().map_err(|_| wrong("its port is no number"))?,
                "user" => user = value.into_owned(),
                "password" => password = Some(value.into_owned()),
                _ => return Err(Error::Url { why: format!("the parameter {name:?} is not known") }),
            }
        }
        if user.is_empty() {
            return Err(wrong("it names no user"));
        }
        let database = decoded(url.path().trim_start_matches('/'))?;
        let address = if host.starts_with('/') {
            Address::Unix(PathBuf::from(host).join(format!(".s.PGSQL.{port}")))
        } else {
            Address::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port }
        };
        let database = if database.is_empty() { user.clone() } else { database };
        Ok(Upstream { address, user, password, database })
    }
}

/// What becomes of the user and the database that a client asks for. It is led to the upstream's in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// Others than the upstream's are refused, so that nobody works in another database than he believes.
    #[default]
    Exact,
    /// They do not matter: for applications in which they are written down.
    Any,
}

/// The bounds that may be chosen. The others are in [`crate::bounds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at the same time, over all endpoints.
    pub connections_max: usize,
    /// From a client's first byte until its session is ready.
    pub startup_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections_max: 500, startup_time_max: Duration::from_secs(60) }
    }
}

/// What a proxy is given.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server.
    pub upstream: Upstream,
    /// Whether clients may speak TLS, to a self-signed certificate.
    pub tls: bool,
    /// What becomes of the names that clients give.
    pub names: Names,
    /// Bounds.
    pub limits: Limits,
    /// Options that each session is opened with at the server, as in `-c deadlock_timeout=250`; before those that its
    /// client asks for, which prevail.
    pub session: String,
    /// Messages of severity LOG go to [`crate::Gate::logged`], and not to the client. A server sends them where
    /// `client_min_messages` is `log` or lower, which [`Config::session`] may ask for.
    pub keeps_logs: bool,
}

impl Config {
    /// Without TLS, and with the default bounds.
    #[must_use]
    pub fn new(upstream: Upstream) -> Config {
        let (names, limits) = (Names::default(), Limits::default());
        Config { upstream, tls: false, names, limits, session: String::new(), keeps_logs: false }
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Upstream};

    #[test]
    fn urls_are_read_as_other_clients_read_them() {
        let upstream = Upstream::parse("postgres://me:p%40ss@db.example:6000/shop").expect("a URL");
        assert_eq!(upstream.address, Address::Tcp { host: "db.example".to_owned(), port: 6000 });
        assert_eq!((&*upstream.user, upstream.password.as_deref()), ("me", Some("p@ss")));
        assert_eq!(upstream.database, "shop");
        let socket = Upstream::parse("postgres://me@%2Ftmp%2Fpg:6000").expect("a URL");
        assert_eq!(socket.address, Address::Unix("/tmp/pg/.s.PGSQL.6000".into()));
        assert_eq!(socket.database, "me");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in ["", "http://me@host/", "postgres://host/db", "postgres://me:secret@host/db?x=y"] {
            let said = Upstream::parse(url).expect_err(url).to_string();
            assert!(!said.contains("secret"), "{said}");
        }
        let upstream = Upstream::parse("postgres://me:secret@host/db").expect("a URL");
        assert!(!format!("{upstream:?}").contains("secret"));
    }
}
