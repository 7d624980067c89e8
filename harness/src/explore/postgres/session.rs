//! An actor's session: how it is opened, what is known of it, and how it is emptied between executions.

use std::pin::Pin;
use std::sync::Arc;

use tokio_postgres::{Client, Config, SimpleQueryMessage};

use super::answer::is_gone;
use super::notices::Notices;
use super::printed::{NOT_LOGGED, PRINTS, Printed};
use super::{Answer, connect_with, said, victim};
use crate::explore::world::{Lost, Note, Settings};
use crate::scenario::script::{Progress, ScriptActor};

pub(super) type Reply = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What is asked of a session for [`Settings`]. `SHOW` takes no snapshot.
const SHOW: &str = "SHOW transaction_isolation; SHOW lock_timeout; SHOW statement_timeout; \
                    SHOW idle_in_transaction_session_timeout";

/// An actor, and its session.
pub(super) struct Actor {
    pub client: Arc<Client>,
    pub pid: i32,
    pub progress: Progress,
    pub reply: Option<Reply>,
    pub victim: victim::Setting,
    pub waits_for: Vec<usize>,
    /// It is for a snapshot that it waits.
    pub for_snapshot: bool,
    pub note: Note,
    pub notices: Notices,
    /// What the server said in the course of this transition.
    pub told: Vec<String>,
    /// What it printed since the actor's step was sent.
    pub trees: Vec<String>,
    /// How many messages of ours were sent just before the step: each may have printed a tree.
    pub preludes: usize,
    /// What its step runs may have been planned before, so that not all of it is printed.
    pub is_unprinted: bool,
    /// What gives the session its own settings back when the step has ended.
    pub give_back: Option<String>,
    /// When its step has been carried out, its connection is lost before the answer is read.
    pub loses_answer: bool,
    /// It has sent something in this execution, so that its program has a session.
    pub began: bool,
    /// Its session has ended, and its program will learn of it when it sends something.
    pub is_gone: bool,
    /// What a new session's statements are run under.
    settings: Settings,
}

impl Actor {
    /// Opens a session.
    pub async fn open(config: &Config, actor: &ScriptActor, superuser: bool) -> Result<Self, Lost> {
        let name = &actor.name;
        let set = if superuser { format!("{NOT_LOGGED} {}", victim::LATE_OPTION) } else { String::new() };
        let (client, notices) = connect_with(config, name, &format!("{PRINTS} {set}")).await?;
        let row = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
        let pid = row.and_then(|row| row.try_get(0)).map_err(|error| said("ask a session's name", &error))?;
        let mut opened = Self {
            client: Arc::new(client),
            pid,
            progress: Progress::of(actor),
            reply: None,
            victim: victim::Setting::late(superuser),
            waits_for: Vec::new(),
            for_snapshot: false,
            note: Note::default(),
            notices,
            told: Vec::new(),
            trees: Vec::new(),
            preludes: 0,
            is_unprinted: false,
            give_back: None,
            loses_answer: false,
            began: false,
            is_gone: false,
            settings: Settings::default(),
        };
        opened.settings = opened.ask_settings().await?;
        opened.note.settings = opened.settings;
        Ok(opened)
    }

    /// Ends whatever its last execution has left: the transaction, settings, temporary tables, locks, plans.
    ///
    /// Answers whether the session is still there: a step may have ended it.
    pub async fn empty(&mut self, actor: &ScriptActor) -> Result<bool, Lost> {
        self.reply = None;
        let ended = futures_util::future::try_join(
            self.client.batch_execute("ROLLBACK"),
            self.client.batch_execute("DISCARD ALL"),
        );
        match ended.await {
            Err(error) if is_gone(&error) => return Ok(false),
            ended => ended.map_err(|error| said("end a session's transaction", &error))?,
        };
        self.victim = victim::Setting::late(self.victim.allowed);
        self.progress = Progress::of(actor);
        self.note = Note { settings: self.settings, ..Note::default() };
        self.waits_for.clear();
        (self.give_back, self.loses_answer, self.for_snapshot) = (None, false, false);
        (self.began, self.is_gone) = (false, false);
        self.forget();
        Ok(true)
    }

    /// Takes what the server has said since the last look.
    pub fn listen(&mut self) {
        let (notices, trees) = self.notices.take_all();
        self.told.extend(notices);
        self.trees.extend(trees);
    }

    /// What the statements of its step were printed as so far.
    pub fn printed(&self) -> Printed {
        Printed::of(self.trees.get(self.preludes..).unwrap_or_default())
    }

    /// Forgets what the server has said.
    pub fn forget(&mut self) {
        drop(self.notices.take_all());
        self.told.clear();
    }

    /// What its next statement would be run under. The session does nothing, and its transaction has not failed.
    pub async fn ask_settings(&mut self) -> Result<Settings, Lost> {
        let asking = |error| said("ask for a session's settings", &error);
        let messages = self.client.simple_query(SHOW).await.map_err(asking)?;
        // What was printed of the question is nobody's.
        drop(self.notices.take_all());
        let values: Vec<&str> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            })
            .collect();
        let [isolation, lock, statement, idle] = values[..] else {
            return Err(Lost::new("the server does not say what a session's settings are"));
        };
        Ok(Settings {
            snapshot: matches!(isolation, "repeatable read" | "serializable"),
            serializable: isolation == "serializable",
            lock_timeout_ms: milliseconds(lock),
            statement_timeout_ms: milliseconds(statement),
            idle_timeout_ms: milliseconds(idle),
        })
    }
}

/// A time as the server shows it: `0`, `5ms`, `2s`, `1min`, `1h`, `1d`. What is not understood is taken for
/// a time that may come.
fn milliseconds(text: &str) -> u64 {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return 1,
    };
    number.parse::<u64>().map_or(1, |number| number.saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_server_shows_them() {
        for (text, expected) in [("0", 0), ("5ms", 5), ("2s", 2_000), ("1min", 60_000), ("1d", 86_400_000), ("x", 1)] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }
}
