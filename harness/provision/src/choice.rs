//! How the person wants PostgreSQL to be provided.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::ProvisionError;

/// The value of `--postgres`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PostgresChoice {
    /// The server of `DRIFTLOCK_POSTGRES_URL` if that is set, else local binaries, else a container.
    #[default]
    Auto,
    /// A throw-away cluster from local server binaries.
    Local,
    /// A throw-away container.
    Docker,
    /// A server that is already there.
    Url(GivenUrl),
}

impl FromStr for PostgresChoice {
    type Err = ProvisionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "local" => Ok(Self::Local),
            "docker" => Ok(Self::Docker),
            _ => text.parse().map(Self::Url),
        }
    }
}

/// What a replay command can repeat: never a password.
impl fmt::Display for PostgresChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Local => f.write_str("local"),
            Self::Docker => f.write_str("docker"),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// The URL of a PostgreSQL server, complete enough to be used. Its password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct GivenUrl(Url);

/// The parameters that are understood (those of sqlx). Any other one is an error here, since sqlx
/// would log it with its value, and the value could be a misspelt password.
const PARAMETERS: [&str; 11] = [
    "sslmode",
    "ssl-mode",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

impl GivenUrl {
    /// Whether the environment names one, which [`PostgresChoice::Auto`] takes.
    pub fn is_set() -> bool {
        std::env::var(super::server::URL_VARIABLE).is_ok_and(|text| !text.is_empty())
    }

    /// The name of a parameter's last value, as sqlx reads them.
    fn parameter(&self, name: &str) -> Option<String> {
        self.0.query_pairs().filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
    }

    /// The database that it names.
    pub fn database(&self) -> String {
        self.parameter("dbname").unwrap_or_else(|| self.0.path().trim_start_matches('/').to_owned())
    }

    /// Every password in it, as written and decoded: what must not appear in any text.
    pub(super) fn passwords(&self) -> Vec<String> {
        let mut found: Vec<String> = self.parameter("password").into_iter().collect();
        // A query is written anew where the database is another one.
        found.extend(found.first().map(|password| url::form_urlencoded::byte_serialize(password.as_bytes()).collect()));
        let written = self.0.query().into_iter().flat_map(|query| query.split('&'));
        found.extend(written.filter_map(|pair| pair.strip_prefix("password=").map(str::to_owned)));
        if let Some(written) = self.0.password() {
            found.push(written.to_owned());
            // The one decoder at hand: a password that is put into a query is read back decoded.
            let pair = format!("p={}", written.replace('+', "%2B"));
            found.extend(url::form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()));
        }
        found.extend(std::env::var("PGPASSWORD").ok());
        found.retain(|p| !p.is_empty());
        // One that is part of another comes later: what is left of the other would be shown.
        found.sort_by_key(|password| std::cmp::Reverse(password.len()));
        found.dedup();
        found
    }

    /// Takes every password out of a text.
    pub(super) fn scrub(&self, text: &str) -> String {
        scrub(&self.passwords(), text)
    }

    /// The options that connect to the database it names.
    pub(super) fn options(&self) -> Result<PgConnectOptions, ProvisionError> {
        let bad = |problem: String| ProvisionError::BadUrl { problem };
        let options = PgConnectOptions::from_str(self.0.as_str()).map_err(|e| bad(self.scrub(&e.to_string())))?;
        // Without TLS compiled in, sqlx would fail late and in its own words. PGSSLMODE counts too.
        match options.get_ssl_mode() {
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => Ok(match options.get_application_name() {
                Some(_) => options,
                None => options.application_name("driftlock"),
            }),
            demanded => Err(bad(format!(
                "sslmode {demanded:?} (of the URL or PGSSLMODE) demands an encrypted connection, and driftlock is \
                 built without TLS: use a server on a trusted network with sslmode=disable, or a tunnel"
            ))),
        }
    }

    /// The same server with another database, and with its password.
    pub(super) fn with_database(&self, database: &str) -> Url {
        let mut url = self.0.clone();
        let kept: Vec<(String, String)> =
            self.0.query_pairs().into_owned().filter(|(key, _)| key != "dbname").collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        url.set_path(database);
        url
    }

    /// Host and port, or the socket, for messages.
    pub(super) fn place(options: &PgConnectOptions) -> String {
        match options.get_socket() {
            Some(socket) => format!("{}/.s.PGSQL.{}", socket.display(), options.get_port()),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        }
    }
}

/// Takes passwords out of a text, in this order.
pub(super) fn scrub(passwords: &[String], text: &str) -> String {
    passwords.iter().fold(text.to_owned(), |text, password| text.replace(password, "***"))
}

impl FromStr for GivenUrl {
    type Err = ProvisionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No message here repeats the text: it may hold a password, wherever it is cut.
        let bad = |problem: &str| ProvisionError::BadUrl { problem: problem.to_owned() };
        let url = Url::parse(text).map_err(|e| match e {
            url::ParseError::RelativeUrlWithoutBase => bad("it is none of auto, local, docker, and not a URL either"),
            other => bad(&other.to_string()),
        })?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(bad("its scheme is neither postgres nor postgresql"));
        }
        for (key, _) in url.query_pairs() {
            if !PARAMETERS.contains(&&*key) && !key.starts_with("options[") {
                return Err(bad(&format!("its parameter {key:?} is unknown, or has no use without TLS")));
            }
        }
        let given = Self(url);
        if given.0.host_str().is_none_or(str::is_empty)
            && given.parameter("host").is_none()
            && given.parameter("hostaddr").is_none()
        {
            return Err(bad("it names no host"));
        }
        if given.database().is_empty() {
            return Err(bad("it names no database (end it with /postgres, for example)"));
        }
        given.options().map(|_| given)
    }
}

impl fmt::Display for GivenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // A URL with a host can always lose its password; one without has none.
        let _ = shown.set_password(None);
        let kept: Vec<(String, String)> = shown
            .query_pairs()
            .filter(|(key, _)| key != "password")
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        shown.set_query(None);
        if !kept.is_empty() {
            shown.query_pairs_mut().extend_pairs(kept);
        }
        shown.fmt(f)
    }
}

impl fmt::Debug for GivenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        text.parse::<PostgresChoice>().unwrap_err().to_string()
    }

    #[test]
    fn the_three_words_and_a_url_are_understood() {
        assert_eq!("auto".parse::<PostgresChoice>().unwrap(), PostgresChoice::Auto);
        assert_eq!("local".parse::<PostgresChoice>().unwrap(), PostgresChoice::Local);
        assert_eq!("docker".parse::<PostgresChoice>().unwrap(), PostgresChoice::Docker);
        let url = "postgres://ann:s3cr%2Ft@db.example:5433/app?application_name=x".parse::<PostgresChoice>().unwrap();
        assert_eq!(url.to_string(), "postgres://ann@db.example:5433/app?application_name=x");
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_repeating_it() {
        for (text, expected) in [
            ("lokal", "none of auto, local, docker"),
            ("mysql://u:hunter2@h/d", "its scheme"),
            ("postgres://u:hunter2@h", "names no database"),
            ("postgres://u:hunter2@h/", "names no database"),
            ("postgres:///d?password=hunter2", "names no host"),
            ("postgres://u:hunter2@h:99999/d", "invalid port"),
            ("postgres://u@h/d?passwrd=hunter2", "\"passwrd\" is unknown"),
            ("postgres://u:hunter2@h/d?sslmode=require", "without TLS"),
            ("postgres://u:hunter2@h/d?port=hunter2", "invalid digit"),
        ] {
            let problem = problem(text);
            assert!(problem.contains(expected), "{text}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn no_way_of_showing_a_url_shows_its_password() {
        for text in ["postgres://u:hunt%3Aer2@h/d", "postgres://u@h/d?password=hunt%3Aer2&options=-cwork_mem%3D1MB"] {
            let choice: PostgresChoice = text.parse().unwrap();
            let shown = format!("{choice} {choice:?} {choice:#?}");
            assert!(!shown.contains("er2"), "{shown}");
            let PostgresChoice::Url(url) = choice else { panic!("a URL is a URL") };
            assert_eq!(url.scrub("x hunt:er2 y"), "x *** y");
            assert_eq!(url.scrub(url.with_database("other").as_str()).matches("***").count(), 1);
            assert!(!url.scrub(url.with_database("other").as_str()).contains("er2"));
        }
    }

    #[test]
    fn a_password_is_taken_out_as_it_was_written_and_whole() {
        let url: GivenUrl = "postgres://u:hunt@h/d?password=%68unter%21".parse().unwrap();
        assert_eq!(url.scrub("%68unter%21, hunter!, hunter%21, hunt"), "***, ***, ***, ***");
    }
}
