//! Applications: a team's own programs as actors, in a TOML file. What they ask of the database is not in it: that is
//! seen on the wire.

mod code;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use drift_engine::lock::Backend;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::draft;
use super::file::{LoadError, content, document, parse_with};
use super::problem::{Problem, Problems};
use super::read::Section;
use super::script::{self, ACTORS_MAX, FaultKind, NamedQuery, sql, word};
use super::value::{self, Wrong, mistyped};

pub use code::{Code, Done};

/// A commented file to begin with.
pub const TEMPLATE: &str = include_str!("application.toml");

/// The longest command, in bytes.
const COMMAND_BYTES_MAX: usize = 64 << 10;
/// How long a set-up may take if the file does not say, in seconds.
const SETUP_SECONDS: u64 = 120;
/// How long an actor may neither speak to the database nor end, in seconds.
const SILENT_SECONDS: u64 = 30;
/// The most seconds that a file may say.
const SECONDS_MAX: u64 = 3_600;

/// An application, and what must be true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Lower-case words and digits, joined by single hyphens.
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// The directory of its file: where its commands run.
    pub directory: PathBuf,
    /// What makes the state in which everything begins.
    pub setup: Option<SetUp>,
    /// How long that may take.
    pub setup_max: Duration,
    /// A shell command that puts back what is outside of the database, before each execution but the first.
    pub reset: Option<String>,
    /// How long an actor may neither speak to the database nor end.
    pub silent_max: Duration,
    /// The server of those actors that are requests: an instance for each.
    pub server: Option<ServerCommand>,
    /// One at least. Those of a `count` are one after the other.
    pub actors: Vec<AppActor>,
    /// Queries that must return no row at the end.
    pub invariants: Vec<NamedQuery>,
    /// Whether the final state and the answers must be those of some serial order.
    pub serial: bool,
    /// The check that is to be violated; nothing for a pass.
    pub violates: Option<String>,
    /// What `explore` lets fail, where its command line says nothing else.
    pub faults: Vec<FaultKind>,
}

/// What makes the state in which everything begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetUp {
    /// A shell command.
    Command(String),
    /// A Rust function.
    Code(Code),
}

/// How the server of the requests is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCommand {
    /// A shell command, in which `{port}` stands for the port to listen on.
    pub command: String,
    /// The path that answers with less than 500 once it is ready.
    pub ready: String,
    /// How long that may take.
    pub ready_max: Duration,
}

/// One actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppActor {
    /// Its name, which no other has.
    pub name: String,
    /// What it does.
    pub job: Job,
    /// Its environment, beside that of the database.
    pub env: BTreeMap<String, String>,
}

/// What an actor does in each execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Runs a shell command to its end.
    Run {
        /// The command.
        command: String,
        /// The exit codes that are expected.
        exits: Vec<u32>,
    },
    /// Has a process that stays do its job once.
    Worker {
        /// The command that starts it.
        command: String,
        /// The exit codes that are expected, of what it answers.
        exits: Vec<u32>,
    },
    /// Sends a request to the server.
    Http(Request),
    /// Calls a Rust function.
    Code(Code),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET, POST and so on.
    pub method: String,
    /// From the slash on.
    pub path: String,
    /// What is sent with it, and as what.
    pub body: Option<(String, String)>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// The status codes that are expected.
    pub expect: Vec<u32>,
}

impl Application {
    /// Reads an application's file. Its commands run in its directory.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::parse(path, &content(path)?).map_err(LoadError::Wrong)
    }

    /// Reads the content of an application's file that is, or could be, at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Box<Problems>> {
        parse_with(path, bytes, read)
    }
}

/// Whether a file's content is meant as an application: it has a server, or an actor that is a program.
pub fn is_application(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (table, _) = DeTable::parse_recoverable(text);
    let table = table.get_ref();
    let actors = table.get("actor").and_then(|actors| actors.get_ref().as_array());
    let is_program = |actor: &Spanned<DeValue<'_>>| {
        actor.get_ref().as_table().is_some_and(|actor| JOBS.iter().any(|key| actor.contains_key(*key)))
    };
    table.contains_key("server") || actors.is_some_and(|actors| actors.iter().any(is_program))
}

/// Whether there is an application at a path, as far as can be seen.
pub fn is_application_at(path: &Path) -> bool {
    content(path).is_ok_and(|bytes| is_application(&bytes))
}

const JOBS: [&str; 3] = ["run", "worker", "http"];

fn read(text: &str, directory: &Path) -> Result<Application, Vec<Problem>> {
    let (application, problems) = document(text, |section| draft(section, directory))?;
    match application {
        Some(application) if problems.is_empty() => Ok(application),
        _ => Err(problems),
    }
}

fn draft(section: &mut Section<'_>, directory: &Path) -> Option<Application> {
    let seconds = |section: &mut Section<'_>, key, default| {
        section.or(key, default, value::integer(1..=SECONDS_MAX)).map(|read| Duration::from_secs(read.into_inner()))
    };
    let name = section.required("name", draft::name).map(Spanned::into_inner);
    let summary = section.required("summary", value::text).map(Spanned::into_inner);
    let setup = section.optional("setup", command).map_known(|command| Some(SetUp::Command(command)), None);
    let setup_max = seconds(section, "setup-seconds", SETUP_SECONDS);
    let reset = section.optional("reset", command).map_known(Some, None);
    let silent_max = seconds(section, "silent-seconds", SILENT_SECONDS);
    let server = section.optional_section("server", |server| {
        let command = server.required("command", command).map(Spanned::into_inner);
        let ready = server.or("ready", "/".to_owned(), path).map(Spanned::into_inner);
        let ready_max = seconds(server, "ready-seconds", 30);
        Some(ServerCommand { command: command?, ready: ready?, ready_max: ready_max? })
    });
    let server = server.map_or(Some(None), |server| server.into_inner().map(Some));
    let has_server = section.peek("server").is_some();
    let actors = section.sections("actor", |section| actors(section, has_server));
    let query = |query: &mut Section<'_>| {
        let (name, sql) = (query.required("name", word), query.required("sql", sql));
        Some(NamedQuery { name: name?.into_inner(), sql: sql?.into_inner() })
    };
    let invariants: Option<Vec<NamedQuery>> =
        section.sections("invariant", query).into_iter().map(Spanned::into_inner).collect();
    let serial = section.optional("serial", value::boolean).map_known(Some, None);
    let violates = section.optional("violates", value::text).map_known(Some, None);
    let faults = section.or("faults", Vec::new(), faults).map(Spanned::into_inner);
    let groups: Option<Vec<Vec<AppActor>>> = actors.into_iter().map(Spanned::into_inner).collect();
    let actors = groups?.concat();
    let names: BTreeSet<&str> = actors.iter().map(|actor| actor.name.as_str()).collect();
    if names.len() < actors.len() {
        section.refuse("has two actors of one name: names tell them apart");
    }
    if actors.is_empty() || actors.len() > ACTORS_MAX {
        section.refuse(&format!("has {} actors; it must have 1 to {ACTORS_MAX}", actors.len()));
    }
    let invariants = invariants?;
    Some(Application {
        name: name?,
        summary: summary?,
        directory: if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() },
        setup: setup?,
        setup_max: setup_max?,
        reset: reset?,
        silent_max: silent_max?,
        server: server?,
        actors,
        serial: serial?.unwrap_or(invariants.is_empty()),
        invariants,
        violates: violates?,
        faults: faults?,
    })
}

/// Reads `faults`: none that exists on SQLite alone.
fn faults(value: &DeValue<'_>) -> Result<Vec<FaultKind>, Wrong> {
    let mut kinds = script::faults(value)?;
    if let [only] = kinds[..]
        && !only.is_on(Backend::Postgres)
    {
        let names = FaultKind::names_on(Backend::Postgres);
        return Err(Wrong::new(format!("is {only}, and applications are on PostgreSQL: there are {names}")));
    }
    kinds.retain(|kind| kind.is_on(Backend::Postgres));
    Ok(kinds)
}

/// The actors of one `[[actor]]`.
fn actors(section: &mut Section<'_>, has_server: bool) -> Option<Vec<AppActor>> {
    let name = section.required("name", word).map(Spanned::into_inner);
    let count = section.or("count", 1, value::integer(1..=ACTORS_MAX as u64)).map(Spanned::into_inner);
    let given: Vec<&str> = JOBS.into_iter().filter(|key| section.peek(key).is_some()).collect();
    if given.len() != 1 {
        section.refuse("must have one of `run` (a command for each execution), `worker` (a process that stays) and `http` (a request)");
    }
    let run = section.optional("run", command);
    let worker = section.optional("worker", command);
    let is_http = section.peek("http").is_some();
    let http = section.optional("http", request);
    let exits = section.optional("exits", exits);
    if is_http && !has_server {
        section.refuse("has a request, but the file has no `[server]` to send it to");
    }
    if is_http && !exits.is_absent() {
        section.refuse("has `exits`, which a request has not: say `expect` in `http`");
    }
    let env = section.optional("env", environment).map_known(|env| env, BTreeMap::new());
    let exits = exits.map_known(|exits| exits, vec![0])?;
    let run = run.map_known(|command| Some(Job::Run { command, exits: exits.clone() }), None)?;
    let worker = worker.map_known(|command| Some(Job::Worker { command, exits }), None)?;
    let http = http.map_known(|request| Some(Job::Http(request)), None)?;
    let (job, name, count, env) = (run.or(worker).or(http)?, name?, count?, env?);
    let named = |number: u64| if count == 1 { name.clone() } else { format!("{name}-{number}") };
    Some((1..=count).map(|number| AppActor { name: named(number), job: job.clone(), env: env.clone() }).collect())
}

fn command(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("a shell command", value))?;
    if text.trim().is_empty() || text.len() > COMMAND_BYTES_MAX || text.contains('\0') {
        return Err(Wrong::new(format!("must be a shell command of 1 to {COMMAND_BYTES_MAX} bytes without NUL")));
    }
    Ok(text.trim().to_owned())
}

fn path(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("a path", value))?;
    if !text.starts_with('/') || text.len() > 2_000 || text.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Err(Wrong::new("must be a path that begins with `/`, without spaces"));
    }
    Ok(text.to_owned())
}

fn exits(value: &DeValue<'_>) -> Result<Vec<u32>, Wrong> {
    numbers(value, 0, 255, "exit codes")
}

fn numbers(value: &DeValue<'_>, least: u32, most: u32, what: &str) -> Result<Vec<u32>, Wrong> {
    let items = value.as_array().ok_or_else(|| mistyped(&format!("a list of {what}"), value))?;
    let read: Vec<u32> =
        items.iter().map(|item| value::number(least..=most)(item.get_ref())).collect::<Result<_, _>>()?;
    if read.is_empty() { Err(Wrong::new("must name one at least")) } else { Ok(read) }
}

/// Names and texts.
fn environment(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, Wrong> {
    let table = value.as_table().ok_or_else(|| mistyped("a table of names and texts", value))?;
    let text = |value: &DeValue<'_>| value.as_str().filter(|text| !text.contains('\0')).map(str::to_owned);
    table
        .iter()
        .map(|(name, value)| {
            let name = &**name.get_ref();
            let read = text(value.get_ref()).ok_or_else(|| mistyped("a text", value.get_ref()).inside(name))?;
            Ok((name.to_owned(), read))
        })
        .collect()
}

fn request(value: &DeValue<'_>) -> Result<Request, Wrong> {
    let table = value.as_table().ok_or_else(|| mistyped("a table with a `path`", value))?;
    let (mut method, mut target, mut body, mut expect) = (None, None, None, vec![200]);
    let mut headers = BTreeMap::new();
    for (key, value) in table {
        let (key, value) = (&**key.get_ref(), value.get_ref());
        let read = match key {
            "method" => self::method(value).map(|read| method = Some(read)),
            "path" => path(value).map(|read| target = Some(read)),
            "json" => json(value, 0).map(|read| body = Some(("application/json".to_owned(), read.to_string()))),
            "body" => value.as_str().ok_or_else(|| mistyped("a text", value)).map(|text| {
                body = Some(("application/x-www-form-urlencoded".to_owned(), text.to_owned()));
            }),
            "headers" => environment(value).map(|read| headers = read),
            "expect" => numbers(value, 100, 599, "status codes").map(|read| expect = read),
            _ => Err(Wrong::new("is not known").help("Known keys: method, path, json, body, headers, expect.")),
        };
        read.map_err(|wrong| wrong.inside(key))?;
    }
    let path = target.ok_or_else(|| Wrong::new("must have a `path`"))?;
    let method = method.unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
    Ok(Request { method, path, body, headers, expect })
}

fn method(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| mistyped("a method", value))?;
    let fits = !text.is_empty() && text.len() <= 16 && text.chars().all(|c| c.is_ascii_uppercase());
    if fits { Ok(text.to_owned()) } else { Err(Wrong::new("must be a method in capitals, as in POST")) }
}

/// The same as JSON.
fn json(value: &DeValue<'_>, depth: usize) -> Result<serde_json::Value, Wrong> {
    use serde_json::Value;
    if depth > 32 {
        return Err(Wrong::new("is nested too deep"));
    }
    Ok(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            read.map(Value::from).map_err(|_| Wrong::new("has a number that is too large"))?
        }
        DeValue::Float(number) => {
            let read: Option<f64> = number.as_str().parse().ok();
            read.map(Value::from).ok_or_else(|| Wrong::new("has a number that is none"))?
        }
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| json(item.get_ref(), depth + 1)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let member = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                json(value.get_ref(), depth + 1).map(|value| (key.to_string(), value))
            };
            Value::Object(table.iter().map(member).collect::<Result<_, _>>()?)
        }
        DeValue::Datetime(when) => Value::String(when.to_string()),
    })
}

impl Request {
    /// With an actor's name in place of `{actor}`, wherever it stands.
    pub fn filled(&self, actor: &str) -> Self {
        let fill = |text: &String| filled(text, actor, None);
        Self {
            method: self.method.clone(),
            path: fill(&self.path),
            body: self.body.as_ref().map(|(kind, body)| (kind.clone(), fill(body))),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
            expect: self.expect.clone(),
        }
    }
}

/// Puts an actor's name in place of `{actor}`, and a port in place of `{port}`.
pub fn filled(command: &str, actor: &str, port: Option<u16>) -> String {
    let filled = command.replace("{actor}", actor);
    port.map_or(filled.clone(), |port| filled.replace("{port}", &port.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"
        name = "booking"
        summary = "One seat, one booking."
        setup = "psql -f schema.sql"

        [server]
        command = "serve --port {port}"
        ready = "/health"

        [[actor]]
        name = "customer"
        count = 2
        run = "python book.py --for {actor}"
        exits = [0, 3]
        env = { SEAT = "1" }

        [[actor]]
        name = "checkout"
        http = { path = "/checkout", json = { cart = 1, codes = ["a"] }, expect = [200, 409] }

        [[invariant]]
        name = "sold-once"
        sql = "SELECT 1 WHERE false"
    "#;

    fn wrong(from: &str, to: &str) -> String {
        assert!(SOUND.contains(from), "{from}");
        let problems = Application::parse(Path::new("x/app.toml"), SOUND.replace(from, to).as_bytes());
        problems.expect_err("it is wrong").iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_file_is_read_and_its_actors_are_counted() {
        let app = Application::parse(Path::new("x/app.toml"), SOUND.as_bytes()).expect("sound");
        let names: Vec<&str> = app.actors.iter().map(|actor| actor.name.as_str()).collect();
        assert_eq!(names, ["customer-1", "customer-2", "checkout"]);
        assert_eq!((app.directory.as_path(), app.serial), (Path::new("x"), false));
        let Job::Http(request) = &app.actors[2].job else { panic!("a request") };
        assert_eq!((request.method.as_str(), request.expect.as_slice()), ("POST", &[200, 409][..]));
        assert_eq!(request.body.as_ref().expect("a body").1, r#"{"cart":1,"codes":["a"]}"#);
        assert!(is_application(SOUND.as_bytes()));
        assert!(!is_application(b"[[actor]]\nname = 'x'\nsteps = ['SELECT 1']"));
        let serial = SOUND.split("[[invariant]]").next().expect("a beginning");
        assert!(Application::parse(Path::new("app.toml"), serial.as_bytes()).expect("sound").serial);
    }

    #[test]
    fn the_template_is_sound_and_so_is_what_it_has_in_comments() {
        assert!(is_application(TEMPLATE.as_bytes()));
        let parse = |text: &str| Application::parse(Path::new("a.toml"), text.as_bytes());
        let plain = parse(TEMPLATE).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!((plain.actors.len(), plain.invariants.len(), plain.serial), (2, 1, false));
        let server =
            TEMPLATE.replace("# [server]", "[server]").replace("# command", "command").replace("# ready", "ready");
        let run = "run = \"python book.py --seat 1 --for {actor}\"";
        let http = server.lines().find_map(|line| line.strip_prefix("#   http = ")).expect("a request");
        let http = server.replace(run, &format!("http = {http}")).replace("exits = [0, 3]\n", "");
        assert!(matches!(parse(&http).expect("sound").actors[0].job, Job::Http(_)));
        let worker = TEMPLATE.replace(run, "worker = \"python worker.py\"").replace("# serial", "serial");
        assert!(parse(&worker).expect("sound").serial);
    }

    #[test]
    fn every_mistake_is_named() {
        assert!(wrong("run = \"python book.py --for {actor}\"", "").contains("must have one of `run`"));
        assert!(wrong("count = 2", "count = 0").contains("must be 1 to 32"));
        assert!(wrong("exits = [0, 3]", "exits = [256]").contains("must be 0 to 255"));
        assert!(wrong("path = \"/checkout\", ", "").contains("must have a `path`"));
        assert!(wrong("path = \"/checkout\"", "path = \"checkout\"").contains("begins with `/`"));
        assert!(wrong("[server]", "[srver]").contains("unknown key `srver`"));
        assert!(wrong("name = \"checkout\"", "name = \"customer-1\"").contains("two actors of one name"));
        assert!(wrong("env = { SEAT = \"1\" }", "env = { SEAT = 1 }").contains("a text"));
    }
}
