//! One file's way up or down: its statements, and what its tool does about transactions.

use super::layout::Layout;
use super::part::Part;
use crate::sql::{self, Dialect, Statement};

/// What a tool does about the transaction of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// It opens one around all of the file.
    One,
    /// It opens none, and sends the file as one message: of several statements the server makes one transaction, unless
    /// they say BEGIN themselves.
    Message,
    /// It opens none, and sends one statement after the other.
    Each,
}

impl Transaction {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::One => "one transaction",
            Self::Message => "one message",
            Self::Each => "no transaction",
        }
    }
}

/// One file's way up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its path, as it is shown.
    pub file: String,
    /// What it says: the file, with empty lines in place of what belongs to the other way.
    pub text: String,
    /// What its tool does about a transaction.
    pub transaction: Transaction,
    /// Its statements.
    pub statements: Vec<Statement>,
    /// Whose file it is.
    pub layout: &'static Layout,
}

impl Script {
    /// Reads one; what is wrong with it is handed to `wrong`.
    pub(super) fn parse(
        part: Part,
        layout: &'static Layout,
        dialect: Dialect,
        wrong: &mut impl FnMut(Option<(u32, u32)>, String, &'static str),
    ) -> Self {
        let Part { file, text, transaction, messages } = part;
        let statements = sql::split_as(&text, dialect).unwrap_or_else(|flaws| {
            for flaw in flaws {
                wrong(
                    Some((flaw.line, flaw.column)),
                    flaw.message,
                    "A migration's file holds SQL for the server only.",
                );
            }
            Vec::new()
        });
        // Outside of a transaction a file may have its own, as SQLite's way to rebuild a table needs.
        for statement in statements.iter().filter(|one| transaction == Transaction::One && controls_transaction(one)) {
            wrong(
                Some((statement.line, statement.column)),
                format!("{} in a migration's file", statement.words.first().map_or("", String::as_str)),
                layout.own_transaction,
            );
        }
        for statement in statements.iter().filter(|one| transaction == Transaction::Message && one.data.is_some()) {
            wrong(
                Some((statement.line, statement.column)),
                format!(
                    "COPY FROM STDIN in a file that {} sends as one message, with which no data can go",
                    layout.tool
                ),
                "Write INSERT, or load the data in another way than in a migration.",
            );
        }
        Self { file, statements: together(statements, &text, &messages), text, transaction, layout }
    }

    /// Whether its tool opens a transaction around it.
    pub fn in_transaction(&self) -> bool {
        self.transaction == Transaction::One
    }

    /// Whether several statements are sent as one message.
    pub fn is_message(&self) -> bool {
        self.transaction == Transaction::Message
    }

    /// Whether the server makes one transaction of it: the tool's own, or that of a message of several statements. Sent
    /// one by one within BEGIN and COMMIT they take the same locks, and what cannot run in a transaction fails alike.
    pub fn is_one_transaction(&self) -> bool {
        let has_own = || self.statements.iter().any(controls_transaction);
        let is_one_message = || self.is_message() && self.statements.len() > 1 && !has_own();
        self.in_transaction() || self.has_own_block() || is_one_message()
    }

    /// Whether all of it stands between a BEGIN and a COMMIT of its own.
    pub fn has_own_block(&self) -> bool {
        let controls = self.statements.iter().filter(|one| controls_transaction(one)).count();
        let (Some(first), Some(last)) = (self.statements.first(), self.statements.last()) else { return false };
        let ends = last.begins(&["COMMIT"]) || last.begins(&["END"]);
        controls == 2 && begins_transaction(first) && ends && !last.has("PREPARED") && !last.has("CHAIN")
    }

    /// Whether one of its statements begins or ends a transaction.
    pub fn controls_transaction(&self, statement: usize) -> bool {
        self.statements.get(statement).is_some_and(controls_transaction)
    }

    /// The statement at whose end the locks of another one are let go: the end of the transaction that it belongs to.
    pub fn lets_go(&self, statement: usize) -> usize {
        let last = self.statements.len().saturating_sub(1);
        let (mut open, whole) = (self.is_one_transaction(), self.is_one_transaction());
        for (number, one) in self.statements.iter().enumerate().filter(|_| !whole) {
            open = begins_transaction(one) || (open && !controls_transaction(one));
            if number >= statement && !open {
                return number;
            }
        }
        last
    }

    /// The statement at which an error in the whole file's message is shown.
    pub fn first(&self) -> Option<&Statement> {
        self.statements.iter().find(|statement| statement.has("CONCURRENTLY")).or(self.statements.first())
    }
}

fn begins_transaction(statement: &Statement) -> bool {
    statement.begins(&["BEGIN"]) || statement.begins(&["START", "TRANSACTION"])
}

/// Whether a statement begins or ends a transaction.
pub(super) fn controls_transaction(statement: &Statement) -> bool {
    let alone = |word: &str| statement.begins(&[word]);
    (alone("BEGIN") || alone("COMMIT") || alone("END") || alone("ABORT") || statement.begins(&["START", "TRANSACTION"]))
        || (alone("ROLLBACK") && !statement.has("TO"))
        || statement.begins(&["PREPARE", "TRANSACTION"])
}

/// Joins the statements that the tool sends in one message: those within the same lines, from and to.
fn together(statements: Vec<Statement>, text: &str, messages: &[(u32, u32)]) -> Vec<Statement> {
    let mut joined: Vec<Statement> = Vec::new();
    let mut open = None;
    for statement in statements {
        let within = messages.iter().find(|(from, to)| (*from..=*to).contains(&statement.line));
        match (joined.last_mut(), within) {
            (Some(last), Some(lines)) if open == Some(*lines) => {
                let skipped = usize::try_from(last.line - 1).unwrap_or_default();
                let end = usize::try_from(lines.1).unwrap_or(usize::MAX);
                let whole = text.lines().take(end).skip(skipped).collect::<Vec<_>>().join("\n");
                let from = whole.char_indices().nth(last.column as usize - 1).map_or(0, |(at, _)| at);
                whole[from..].trim_end().clone_into(&mut last.text);
                last.words.extend(statement.words);
            }
            _ => {
                open = within.copied();
                joined.push(statement);
            }
        }
    }
    joined
}
