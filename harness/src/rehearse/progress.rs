//! What is under way, for whoever watches: the file and the statement that is being carried out.

use tokio::sync::watch;

use super::course::Pass;
use super::migrations::Script;

/// How many characters of a statement are shown.
const CHARACTERS: usize = 60;

/// Where a rehearsal says what it does. Nobody needs to listen.
#[derive(Clone, Debug, Default)]
pub struct Progress(watch::Sender<String>);

impl Progress {
    /// What is said from now on.
    pub fn listen(&self) -> watch::Receiver<String> {
        self.0.subscribe()
    }

    /// Something that is no file is under way.
    pub fn say(&self, what: &str) {
        self.0.send_replace(what.to_owned());
    }

    /// A file has begun.
    pub fn file(&self, pass: Pass, script: &Script) {
        self.say(&format!("{} {}", pass.as_str(), script.file));
    }

    /// One of its statements has begun.
    pub fn statement(&self, script: &Script, statement: usize) {
        if let Some(one) = script.statements.get(statement) {
            self.say(&format!("{}:{} {}", script.file, one.line, one.in_short(CHARACTERS)));
        }
    }
}
