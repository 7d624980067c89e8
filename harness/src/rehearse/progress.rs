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

#[cfg(test)]
mod tests {
    use super::super::migrations::Migrations;
    use super::*;

    #[test]
    fn whoever_listens_hears_of_the_file_and_of_the_statement_under_way() {
        let sql = "SELECT 1;\n  ALTER TABLE t\n ADD a int;";
        let read = Migrations::of_files("m", [("1_a.sql", sql)], crate::sql::Dialect::Postgres).unwrap();
        let (progress, script) = (Progress::default(), &read.list[0].up);
        progress.say("nobody listens yet");
        let said = progress.listen();
        progress.file(Pass::Again, script);
        assert_eq!(*said.borrow(), "up again m/1_a.sql");
        progress.statement(script, 1);
        assert_eq!(*said.borrow(), "m/1_a.sql:2 ALTER TABLE t ADD a int");
        progress.statement(script, 7);
        assert_eq!(*said.borrow(), "m/1_a.sql:2 ALTER TABLE t ADD a int");
    }
}
