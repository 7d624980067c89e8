//! The prepared statements and portals of a session, as far as they can be seen from outside of the server.
//!
//! What a message asks for counts for the rest of its unit at once, and for good when the server has confirmed it: a
//! Parse that fails leaves the statement that had its name. The texts are bounded; the oldest are forgotten first, and
//! it is told of a name that it may have been forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use crate::bounds::{COLUMNS_MAX, DESCRIBED_MAX, STATEMENT_BYTES_MAX};
use crate::unit::{Source, Text};

type Name = Box<[u8]>;

/// A statement that was parsed.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) text: Text,
    /// What Parse named; zero where the server is to find out.
    named: Vec<u32>,
    /// What the server found.
    found: OnceLock<Vec<u32>>,
    /// The types of its columns, once the server has described them.
    row: OnceLock<Vec<u32>>,
}

impl Statement {
    /// The type of a parameter, or zero.
    pub(crate) fn type_of(&self, parameter: usize) -> u32 {
        let found = self.found.get().and_then(|types| types.get(parameter));
        found.or(self.named.get(parameter)).copied().unwrap_or(0)
    }
}

/// What a portal was bound to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Portal {
    pub(crate) statement: Option<Arc<Statement>>,
    /// Whether its columns come in binary form: none are, all are as the one, or each has its own.
    formats: Arc<[bool]>,
}

impl Portal {
    /// Whether a column comes in binary form.
    pub(crate) fn is_binary(&self, column: usize) -> bool {
        let at = if self.formats.len() == 1 { 0 } else { column };
        self.formats.get(at).copied().unwrap_or(false)
    }

    /// The types of its columns, where its statement was described.
    pub(crate) fn row(&self) -> Option<&[u32]> {
        self.statement.as_ref()?.row.get().map(Vec::as_slice)
    }
}

#[derive(Debug)]
enum Pending {
    Parse(Name, Arc<Statement>),
    Bind(Name, Portal),
    Describe(Option<Arc<Statement>>),
    CloseStatement(Name),
    ClosePortal(Name),
}

/// The response that confirms something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confirmed {
    Parse,
    Bind,
    Close,
}

/// What a session has prepared.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    statements: HashMap<Name, Arc<Statement>>,
    /// Names in the order in which they were confirmed; some may be gone by now.
    order: VecDeque<Name>,
    portals: HashMap<Name, Portal>,
    pending: VecDeque<Pending>,
    /// The statement whose parameters were described last: its columns come next.
    described: Option<Arc<Statement>>,
    bytes: usize,
    forgotten: bool,
}

/// What a name and its entry cost besides the text.
const ENTRY_BYTES: usize = 128;

fn cost(name: &[u8], statement: &Statement) -> usize {
    2 * name.len() + statement.text.text.len() + 4 * statement.named.len() + ENTRY_BYTES
}

impl Statements {
    pub(crate) fn parse(&mut self, name: &[u8], text: Text, types: Vec<u32>) {
        let statement = Arc::new(Statement { text, named: types, found: OnceLock::new(), row: OnceLock::new() });
        self.await_confirmation(Pending::Parse(name.into(), statement));
    }

    /// A portal is bound to a statement that was looked up; its columns come in these forms.
    pub(crate) fn bind(&mut self, portal: &[u8], statement: Option<Arc<Statement>>, formats: Vec<bool>) {
        let bound = Portal { statement, formats: formats.into() };
        self.await_confirmation(Pending::Bind(portal.into(), bound));
    }

    pub(crate) fn describe_statement(&mut self, name: &[u8]) {
        let statement = self.statement(name);
        self.await_confirmation(Pending::Describe(statement));
    }

    pub(crate) fn close(&mut self, portal: bool, name: &[u8]) {
        let name = name.into();
        self.await_confirmation(if portal { Pending::ClosePortal(name) } else { Pending::CloseStatement(name) });
    }

    /// What a portal was bound to.
    pub(crate) fn portal(&self, portal: &[u8]) -> Portal {
        for pending in self.pending.iter().rev() {
            match pending {
                Pending::Bind(name, bound) if **name == *portal => return bound.clone(),
                Pending::ClosePortal(name) if **name == *portal => return Portal::default(),
                _ => {}
            }
        }
        self.portals.get(portal).cloned().unwrap_or_default()
    }

    /// What can be said of a statement that was looked up.
    pub(crate) fn source(&self, statement: Option<&Arc<Statement>>) -> Source {
        match statement {
            Some(statement) => Source::Known(statement.text.clone()),
            None if self.forgotten => Source::Forgotten,
            None => Source::NotSeen,
        }
    }

    /// The statement of this name.
    pub(crate) fn statement(&self, name: &[u8]) -> Option<Arc<Statement>> {
        for pending in self.pending.iter().rev() {
            match pending {
                Pending::Parse(of, statement) if **of == *name => return Some(statement.clone()),
                Pending::CloseStatement(of) if **of == *name => return None,
                _ => {}
            }
        }
        self.statements.get(name).cloned()
    }

    fn await_confirmation(&mut self, pending: Pending) {
        // Looking a name up goes through these, so a batch of many messages is confirmed blindly beyond the bound.
        if self.pending.len() >= DESCRIBED_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            self.apply(oldest);
            self.forgotten = true;
        }
        self.pending.push_back(pending);
    }

    pub(crate) fn confirm(&mut self, confirmed: Confirmed) {
        let fits = match self.pending.front() {
            Some(Pending::Parse(..)) => confirmed == Confirmed::Parse,
            Some(Pending::Bind(..)) => confirmed == Confirmed::Bind,
            Some(Pending::CloseStatement(_) | Pending::ClosePortal(_)) => confirmed == Confirmed::Close,
            Some(Pending::Describe(_)) | None => false,
        };
        if fits && let Some(pending) = self.pending.pop_front() {
            self.apply(pending);
        }
    }

    /// The server has described a statement's parameters.
    pub(crate) fn describe(&mut self, types: Vec<u32>) {
        if matches!(self.pending.front(), Some(Pending::Describe(_)))
            && let Some(Pending::Describe(Some(statement))) = self.pending.pop_front()
        {
            // The first word stays: a statement's types do not change.
            let _ = statement.found.set(types);
            self.described = Some(statement);
        }
    }

    /// The server has described columns, or has said that there are none: those of the statement whose parameters it has
    /// described before, if of any.
    pub(crate) fn describe_row(&mut self, mut types: Vec<u32>) {
        types.truncate(COLUMNS_MAX);
        if let Some(statement) = self.described.take() {
            let _ = statement.row.set(types);
        }
    }

    /// An error came: what is not confirmed will not be.
    pub(crate) fn fail(&mut self) {
        self.pending.clear();
        self.described = None;
    }

    /// The session is ready: what of the unit is not confirmed was skipped.
    pub(crate) fn ready(&mut self) {
        self.fail();
    }

    /// The session is ready, and in no transaction: portals do not outlive one.
    pub(crate) fn end_transaction(&mut self) {
        self.portals.clear();
    }

    /// A command that ended may have thrown statements away.
    pub(crate) fn command(&mut self, tag: &str) {
        if matches!(tag, "DISCARD ALL" | "DEALLOCATE ALL") {
            self.statements.clear();
            self.order.clear();
            self.bytes = 0;
        }
    }

    fn apply(&mut self, pending: Pending) {
        match pending {
            Pending::Parse(name, statement) => self.keep(name, statement),
            Pending::Bind(portal, bound) => {
                if self.portals.len() < DESCRIBED_MAX {
                    self.portals.insert(portal, bound);
                } else {
                    self.forgotten = true;
                }
            }
            Pending::Describe(_) => {}
            Pending::CloseStatement(name) => self.remove(&name),
            Pending::ClosePortal(name) => {
                self.portals.remove(&name);
            }
        }
    }

    fn keep(&mut self, name: Name, statement: Arc<Statement>) {
        self.remove(&name);
        self.bytes += cost(&name, &statement);
        self.order.push_back(name.clone());
        self.statements.insert(name, statement);
        while self.bytes > STATEMENT_BYTES_MAX
            && let Some(oldest) = self.order.front().cloned()
        {
            self.remove(&oldest);
            self.forgotten = true;
        }
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some(statement) = self.statements.remove(name) {
            self.bytes -= cost(name, &statement);
            // The unnamed statement comes and goes most often, and is found at the end.
            if let Some(at) = self.order.iter().rposition(|of| **of == *name) {
                self.order.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Confirmed, Statements};
    use crate::bounds::STATEMENT_BYTES_MAX;
    use crate::unit::{Source, Text};

    fn text(text: &str) -> Text {
        Text::new(text.as_bytes(), false)
    }

    fn bound(statements: &mut Statements, name: &str) -> Source {
        let statement = statements.statement(name.as_bytes());
        statements.bind(b"", statement.clone(), Vec::new());
        statements.confirm(Confirmed::Bind);
        statements.source(statement.as_ref())
    }

    #[test]
    fn a_parse_that_fails_leaves_the_statement_that_had_its_name() {
        let mut statements = Statements::default();
        statements.parse(b"s", text("SELECT 1"), Vec::new());
        statements.confirm(Confirmed::Parse);
        statements.parse(b"s", text("SELECT 2"), Vec::new());
        statements.fail();
        assert_eq!(bound(&mut statements, "s"), Source::Known(text("SELECT 1")));
        assert_eq!(bound(&mut statements, "t"), Source::NotSeen);
    }

    #[test]
    fn what_is_parsed_counts_for_the_rest_of_its_unit() {
        let mut statements = Statements::default();
        statements.parse(b"", text("SELECT 1"), vec![23]);
        let statement = statements.statement(b"").expect("it was parsed");
        assert_eq!(statement.type_of(0), 23);
        assert_eq!(statement.type_of(1), 0);
        statements.bind(b"p", Some(statement), Vec::new());
        assert_eq!(statements.portal(b"p").statement.expect("it was bound").text, text("SELECT 1"));
        statements.close(true, b"p");
        assert!(statements.portal(b"p").statement.is_none());
    }

    #[test]
    fn the_oldest_texts_are_forgotten_and_it_is_told() {
        let mut statements = Statements::default();
        let long = "x".repeat(STATEMENT_BYTES_MAX / 4);
        for name in ["a", "b", "c", "d", "e"] {
            statements.parse(name.as_bytes(), text(&long), Vec::new());
            statements.confirm(Confirmed::Parse);
        }
        assert!(statements.bytes <= STATEMENT_BYTES_MAX);
        assert_eq!(bound(&mut statements, "a"), Source::Forgotten);
        assert_eq!(bound(&mut statements, "e"), Source::Known(text(&long)));
    }

    #[test]
    fn the_server_s_word_on_types_is_kept() {
        let mut statements = Statements::default();
        statements.parse(b"s", text("SELECT $1"), vec![0]);
        statements.describe_statement(b"s");
        statements.confirm(Confirmed::Parse);
        statements.describe(vec![20]);
        assert_eq!(statements.statement(b"s").expect("it was parsed").type_of(0), 20);
    }

    #[test]
    fn a_portal_knows_the_columns_of_its_statement_and_their_forms() {
        let mut statements = Statements::default();
        statements.parse(b"s", text("SELECT a, b FROM t"), Vec::new());
        statements.describe_statement(b"s");
        statements.confirm(Confirmed::Parse);
        statements.describe(Vec::new());
        statements.describe_row(vec![16, 23]);
        // The columns of a portal that is described are not a statement's.
        statements.describe_row(vec![25]);
        let statement = statements.statement(b"s");
        for (formats, binary) in
            [(vec![], [false, false]), (vec![true], [true, true]), (vec![false, true], [false, true])]
        {
            statements.bind(b"", statement.clone(), formats);
            let portal = statements.portal(b"");
            assert_eq!(portal.row(), Some(&[16, 23][..]));
            assert_eq!([0, 1].map(|column| portal.is_binary(column)), binary);
        }
    }

    #[test]
    fn discarding_everything_forgets_what_was_prepared() {
        let mut statements = Statements::default();
        statements.parse(b"s", text("SELECT 1"), Vec::new());
        statements.confirm(Confirmed::Parse);
        statements.command("DISCARD ALL");
        assert_eq!(statements.bytes, 0);
        assert_eq!(bound(&mut statements, "s"), Source::NotSeen);
    }
}
