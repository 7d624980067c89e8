//! Has an actor do its job once: runs its command, tells its worker, or sends its request.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinHandle;

use super::code::{Gone, call};
use super::gate::{Happened, Holding};
use super::http;
use super::output::Output;
use super::process::{Launch, Program, exit_code};
use super::quiet::Watched;
use crate::scenario::application::{AppActor, Application, Job, Request, SetUp, filled};

/// The longest line of a worker's.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// How much of an answer is kept, in characters.
pub(super) const ANSWER_CHARS_MAX: usize = 4_000;

/// The greatest exit code that a worker may answer: a process has no greater one, and each code is counted by itself.
const EXIT_MAX: u32 = 255;
/// The exit code of a job that has none.
const NO_EXIT: u32 = 255;

/// How long a function that was cancelled may go on to its next await.
const GONE_MAX: Duration = Duration::from_secs(5);

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code, or the status of the answer.
    pub code: u32,
    /// What was answered, if anything is that is compared.
    pub answer: String,
    /// Whether the code is one that is expected.
    pub met: bool,
    /// Why it has failed, in words, where anything is known of that beside the code.
    pub why: String,
    /// Whether nobody has told a code: the program has ended or was ended, or gives no answer. `code` stands for none then.
    pub gone: bool,
}

impl Outcome {
    /// Of a job that has told no code.
    pub fn gone(code: u32, why: String) -> Self {
        Self { code, answer: String::new(), met: false, why, gone: true }
    }
}

/// Why an actor cannot do anything.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A program cannot be started.
    #[error("`{command}` cannot be started: {source}")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// A command that prepares failed.
    #[error("`{command}` ended with exit code {code}{said}")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        code: u32,
        /// What it printed last.
        said: String,
    },
    /// A command did not end.
    #[error("`{command}` did not end within {seconds} s, and was killed{said}")]
    TooLong {
        /// The command.
        command: String,
        /// The bound.
        seconds: u64,
        /// What it printed last.
        said: String,
    },
    /// A function that was to end goes on.
    #[error(
        "the function of {actor} was to end and goes on, for it blocks its thread: what it does must be awaited, so that it \
         can be ended"
    )]
    Blocks {
        /// Whose.
        actor: String,
    },
    /// A server does not answer.
    #[error("the server of {actor} did not answer GET {path} within {seconds} s{said}")]
    NotReady {
        /// Whose.
        actor: String,
        /// What was asked.
        path: String,
        /// The bound.
        seconds: u64,
        /// What it printed last.
        said: String,
    },
    /// A server ended.
    #[error("the server of {actor} ended with exit code {code} before it answered{said}")]
    ServerEnded {
        /// Whose.
        actor: String,
        /// How.
        code: u32,
        /// What it printed last.
        said: String,
    },
}

/// What a program printed last, for the end of a message.
pub fn said(output: &Output) -> String {
    match output.last_lines(5) {
        last if last.is_empty() => "; it printed nothing".to_owned(),
        last => format!("; it printed: {last}"),
    }
}

/// Where a command prepares something, and within which time.
#[derive(Clone, Copy, Debug)]
pub struct Preparation<'p> {
    /// Where it runs.
    pub directory: &'p Path,
    /// Where the database is.
    pub database: &'p [(&'static str, String)],
    /// How long it may take.
    pub most: Duration,
}

/// The URL among what says where a database is.
fn url(database: &[(&'static str, String)]) -> String {
    let url = database.iter().find(|(name, _)| *name == "DATABASE_URL");
    url.map(|(_, url)| url.clone()).unwrap_or_default()
}

/// Makes the state in which everything begins, by a command or a function.
///
/// Cancellation: it is killed, or cancelled.
///
/// # Errors
/// It cannot be started, fails, or takes too long.
pub async fn set_up(by: &SetUp, preparation: &Preparation<'_>) -> Result<(), WorkError> {
    let code = match by {
        SetUp::Command(command) => return prepare(command, preparation, &Output::default()).await,
        SetUp::Code(code) => code,
    };
    let (command, most) = ("the set-up's function", preparation.most);
    let (call, ..) = call(code, url(preparation.database)).map_err(Worker::unable(command))?;
    let command = command.to_owned();
    match tokio::time::timeout(most, call.ended()).await {
        Ok(outcome) if outcome.met => Ok(()),
        Ok(outcome) => Err(WorkError::Failed { command, code: outcome.code, said: format!(": {}", outcome.why) }),
        Err(_) => Err(WorkError::TooLong { command, seconds: most.as_secs(), said: String::new() }),
    }
}

/// Runs a command that prepares something, to its end.
///
/// Cancellation: it is killed.
///
/// # Errors
/// It cannot be started, fails, or takes too long.
pub async fn prepare(command: &str, preparation: &Preparation<'_>, output: &Output) -> Result<(), WorkError> {
    let (env, Preparation { directory, database, most }) = (Default::default(), *preparation);
    let launch = Launch { command, directory, database, env: &env };
    let owned = || command.to_owned();
    let mut program = launch.run(output).map_err(|source| WorkError::Start { command: owned(), source })?;
    match tokio::time::timeout(most, program.ended()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(WorkError::Failed { command: owned(), code: exit_code(status), said: said(output) }),
        Ok(Err(source)) => Err(WorkError::Start { command: owned(), source }),
        Err(_) => Err(WorkError::TooLong { command: owned(), seconds: most.as_secs(), said: said(output) }),
    }
}

/// A worker's process, and how to speak with it.
#[derive(Debug)]
struct Conversation {
    program: Program,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

type Worked = (Outcome, Option<Conversation>);

/// An actor's programs.
#[derive(Debug)]
pub struct Worker {
    number: usize,
    actor: AppActor,
    app: Arc<Application>,
    database: Vec<(&'static str, String)>,
    gate: Holding,
    /// What its programs have printed since the execution began.
    pub output: Output,
    conversation: Option<Conversation>,
    server: Option<(Program, u16)>,
    job: Option<JoinHandle<Worked>>,
    /// How many jobs were begun, or ended before their time.
    jobs: u64,
    watched: Watched,
    /// When the threads of its last call have ended.
    gone: Option<Gone>,
}

impl Worker {
    /// An actor that has done nothing yet; `database` says where its database is.
    pub fn new(app: &Arc<Application>, number: usize, database: Vec<(&'static str, String)>, gate: Holding) -> Self {
        Self {
            number,
            actor: app.actors[number].clone(),
            app: app.clone(),
            database,
            gate,
            output: Output::default(),
            conversation: None,
            server: None,
            job: None,
            jobs: 0,
            watched: Watched::Nobody,
            gone: None,
        }
    }

    /// Whose threads say whether it computes.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// The number of its job: an end that is told of an earlier one is of no interest.
    pub fn job(&self) -> u64 {
        self.jobs
    }

    /// Whether a job is under way.
    pub fn is_at_work(&self) -> bool {
        self.job.is_some()
    }

    /// Whether it has a process that stays from one execution to the next.
    pub fn stays(&self) -> bool {
        !matches!(self.actor.job, Job::Run { .. } | Job::Code(_))
    }

    fn launch<'l>(&'l self, command: &'l str) -> Launch<'l> {
        Launch { command, directory: &self.app.directory, database: &self.database, env: &self.actor.env }
    }

    fn unable(command: &str) -> impl FnOnce(io::Error) -> WorkError {
        let command = command.to_owned();
        move |source| WorkError::Start { command, source }
    }

    /// Begins the job; its end is told to the gate.
    ///
    /// # Errors
    /// A program cannot be started, or a server does not answer.
    pub async fn begin(&mut self, execution: u64) -> Result<(), WorkError> {
        self.output.clear();
        self.jobs += 1;
        let (gate, number, job) = (self.gate.clone(), self.number, self.jobs);
        let told = move |worked: Worked| {
            gate.tell(number, Happened::Ended(job));
            worked
        };
        let name = self.actor.name.clone();
        match self.actor.job.clone() {
            Job::Run { command, exits } => {
                let command = filled(&command, &name, None);
                let mut program = self.launch(&command).run(&self.output).map_err(Self::unable(&command))?;
                self.watched = Watched::Group(program.group());
                self.job = Some(tokio::spawn(async move {
                    let outcome = of_exit(program.ended().await.map(exit_code), &exits);
                    drop(program);
                    told((outcome, None))
                }));
            }
            Job::Worker { command, exits } => {
                let conversation = match self.conversation.take() {
                    Some(conversation) => conversation,
                    None => {
                        let command = filled(&command, &name, None);
                        let started = self.launch(&command).converse(&self.output).map_err(Self::unable(&command))?;
                        let (program, streams) = started;
                        let stdout = BufReader::new(streams.stdout);
                        Conversation { program, stdin: streams.stdin, stdout }
                    }
                };
                self.watched = Watched::Group(conversation.program.group());
                let order = Order { actor: name, execution };
                self.job = Some(tokio::spawn(async move { told(tell(conversation, &order, &exits).await) }));
            }
            Job::Http(request) => {
                let (group, port) = match &self.server {
                    Some((program, port)) => (program.group(), *port),
                    None => {
                        // What it asks to become ready is nobody's turn.
                        self.gate.free(number, true);
                        let served = self.serve().await;
                        self.gate.free(number, false);
                        served?
                    }
                };
                let request = request.filled(&name);
                self.watched = Watched::Group(group);
                self.job = Some(tokio::spawn(async move { told((of_answer(port, &request).await, None)) }));
            }
            Job::Code(code) => {
                if self.gone.as_mut().is_some_and(|gone| matches!(gone.try_recv(), Err(TryRecvError::Empty))) {
                    return Err(WorkError::Blocks { actor: name });
                }
                let (call, threads, gone) = call(&code, url(&self.database)).map_err(Self::unable(&name))?;
                (self.watched, self.gone) = (Watched::Threads(threads), Some(gone));
                self.job = Some(tokio::spawn(async move { told((call.ended().await, None)) }));
            }
        }
        Ok(())
    }

    /// Starts the server, and waits until it answers.
    async fn serve(&mut self) -> Result<(i32, u16), WorkError> {
        let server = self.app.server.clone().expect("the file has one where it has requests");
        let port = http::free_port().map_err(Self::unable(&server.command))?;
        let command = filled(&server.command, &self.actor.name, Some(port));
        let mut program = self.launch(&command).run(&self.output).map_err(Self::unable(&command))?;
        let (actor, group) = (self.actor.name.clone(), program.group());
        tokio::select! {
            ready = http::is_ready(port, &server.ready, server.ready_max) => {
                if !ready {
                    let (path, seconds) = (server.ready.clone(), server.ready_max.as_secs());
                    return Err(WorkError::NotReady { actor, path, seconds, said: said(&self.output) });
                }
            }
            ended = program.ended() => {
                let code = ended.map(exit_code).unwrap_or(255);
                return Err(WorkError::ServerEnded { actor, code, said: said(&self.output) });
            }
        }
        self.server = Some((program, port));
        Ok((group, port))
    }

    /// What came of the job, once the gate was told of its end.
    pub async fn ended(&mut self) -> Outcome {
        let lost = || Outcome::gone(NO_EXIT, "it was killed".to_owned());
        let Some(job) = self.job.take() else { return lost() };
        match job.await {
            Ok((outcome, conversation)) => {
                self.conversation = conversation;
                outcome
            }
            Err(_) => lost(),
        }
    }

    /// Ends everything that it has started.
    pub async fn kill(&mut self) {
        self.jobs += 1;
        if let Some(job) = self.job.take() {
            job.abort();
            // Its end is the end of what it holds.
            let _ = job.await;
        }
        if let Some(gone) = &mut self.gone
            && tokio::time::timeout(GONE_MAX, gone).await.is_ok()
        {
            self.gone = None;
        }
        (self.conversation, self.server) = (None, None);
    }
}

fn of_exit(code: io::Result<u32>, exits: &[u32]) -> Outcome {
    match code {
        Ok(code) => {
            Outcome { code, answer: String::new(), met: exits.contains(&code), why: String::new(), gone: false }
        }
        Err(error) => Outcome::gone(NO_EXIT, error.to_string()),
    }
}

async fn of_answer(port: u16, request: &Request) -> Outcome {
    match http::send(port, request).await {
        Ok(http::Answer { status, body }) => {
            let code = u32::from(status);
            let answer = body.chars().take(ANSWER_CHARS_MAX).collect();
            Outcome { code, answer, met: request.expect.contains(&code), why: String::new(), gone: false }
        }
        Err(why) => Outcome::gone(0, why),
    }
}

/// What a worker is told: one line of JSON.
#[derive(Serialize)]
struct Order {
    actor: String,
    execution: u64,
}

/// What a worker answers: one line of JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    ok: bool,
    error: Option<String>,
    exit: Option<u32>,
    answer: Option<serde_json::Value>,
}

/// Tells a worker to do its job, and waits for its answer. Of one that has failed to answer nothing is kept.
async fn tell(mut conversation: Conversation, order: &Order, exits: &[u32]) -> Worked {
    let lost = |why: String| (Outcome::gone(NO_EXIT, why), None);
    let mut line = match serde_json::to_vec(order) {
        Ok(line) => line,
        Err(error) => return lost(error.to_string()),
    };
    line.push(b'\n');
    let sent = async {
        conversation.stdin.write_all(&line).await?;
        conversation.stdin.flush().await
    };
    if let Err(error) = sent.await {
        return lost(format!("the worker does not listen: {error}"));
    }
    let mut reply = String::new();
    let read = (&mut conversation.stdout).take(LINE_BYTES_MAX).read_line(&mut reply).await;
    match read {
        Ok(0) => {
            let code = conversation.program.ended().await.map(exit_code).unwrap_or(255);
            return lost(format!("the worker ended with exit code {code} and gave no answer"));
        }
        Ok(_) => {}
        Err(error) => return lost(format!("the worker's answer cannot be read: {error}")),
    }
    match of_reply(reply.trim(), exits) {
        Ok(outcome) => (outcome, Some(conversation)),
        Err(why) => lost(why),
    }
}

/// What came of a worker's job by its own answer; why that is none, in words.
fn of_reply(line: &str, exits: &[u32]) -> Result<Outcome, String> {
    let wrong = |meant: &str| {
        let shown: String = line.chars().take(80).collect();
        format!("the worker answered {shown:?} on its standard output, and {meant}")
    };
    let reply: Reply =
        serde_json::from_str(line).map_err(|_| wrong(r#"not {"ok":true}, or {"ok":false,"error":"why"}"#))?;
    let code = reply.exit.unwrap_or(u32::from(!reply.ok));
    if code > EXIT_MAX {
        return Err(wrong(&format!("`exit` is at most {EXIT_MAX}")));
    }
    let bounded = |text: String| text.chars().take(ANSWER_CHARS_MAX).collect::<String>();
    let answer = bounded(reply.answer.map(|answer| answer.to_string()).unwrap_or_default());
    let why = bounded(reply.error.unwrap_or_default());
    Ok(Outcome { code, answer, met: exits.contains(&code), why, gone: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_s_answer_has_the_code_of_a_process_or_is_none() {
        let of = |line: &str| of_reply(line, &[0, 7]);
        let code = |line: &str| of(line).map(|outcome| (outcome.code, outcome.met, outcome.gone));
        assert_eq!(code(r#"{"ok":true}"#), Ok((0, true, false)));
        assert_eq!(code(r#"{"ok":false,"exit":7}"#), Ok((7, true, false)));
        assert_eq!(code(r#"{"ok":false,"exit":255,"error":"x"}"#), Ok((255, false, false)));
        let why = of(r#"{"ok":false,"exit":256}"#).unwrap_err();
        assert!(why.ends_with("and `exit` is at most 255"), "{why}");
        assert!(of("done").unwrap_err().contains("and not {"));
        let long = format!(r#"{{"ok":false,"error":"{}"}}"#, "x".repeat(2 * ANSWER_CHARS_MAX));
        assert_eq!(of(&long).map(|outcome| outcome.why.len()), Ok(ANSWER_CHARS_MAX));
    }
}
