//! From the words of a file to a [`Spec`], or to what is wrong with it, with its place.
//!
//! The syntax is parsed up to its first mistake; what names refer to is checked in [`super::link`],
//! which reports every mistake.

use std::ops::Range;

use super::lexer::{self, Keyword, Token, Word};
use super::link::link;
use super::spec::Spec;

/// One thing that is wrong with a specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Mistake {
    /// Where, in bytes.
    pub at: Range<usize>,
    /// What it is.
    pub message: String,
}

/// A name and its place.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub name: String,
    pub at: Range<usize>,
}

/// A file as it was written: names refer to nothing yet.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub setups: Vec<String>,
    pub teardown: Option<String>,
    pub sessions: Vec<DraftSession>,
    pub permutations: Vec<Vec<DraftBegin>>,
}

#[derive(Debug)]
pub(super) struct DraftSession {
    pub name: String,
    pub setup: Option<String>,
    pub steps: Vec<(Named, String)>,
    pub teardown: Option<String>,
}

#[derive(Debug)]
pub(super) struct DraftBegin {
    pub step: Named,
    pub blockers: Vec<DraftBlocker>,
}

#[derive(Debug)]
pub(super) enum DraftBlocker {
    Once,
    Step(Named),
    Notices(Named, u32),
}

/// Parses a specification.
///
/// # Errors
/// What is wrong with it, one mistake at least, in the order of their places.
pub fn parse(text: &str) -> Result<Spec, Vec<Mistake>> {
    let words = lexer::words(text).map_err(|(error, at)| vec![Mistake { at, message: error.to_string() }])?;
    let draft = Parser { words: &words, next: 0 }.draft().map_err(|mistake| vec![mistake])?;
    link(draft)
}

struct Parser<'a> {
    words: &'a [Token],
    next: usize,
}

impl Parser<'_> {
    fn draft(mut self) -> Result<Draft, Mistake> {
        let mut draft = Draft::default();
        while let Some(sql) = self.block(Keyword::Setup)? {
            draft.setups.push(sql);
        }
        draft.teardown = self.block(Keyword::Teardown)?;
        while self.take(&Word::Keyword(Keyword::Session)) {
            let session = self.session()?;
            draft.sessions.push(session);
        }
        if draft.sessions.is_empty() {
            return Err(self.unexpected("session"));
        }
        while self.take(&Word::Keyword(Keyword::Permutation)) {
            let order = self.permutation()?;
            draft.permutations.push(order);
        }
        match self.peek().word {
            Word::End => Ok(draft),
            _ if draft.permutations.is_empty() => Err(self.unexpected("step, session, permutation or the end")),
            _ => Err(self.unexpected("a step's name, permutation or the end")),
        }
    }

    fn session(&mut self) -> Result<DraftSession, Mistake> {
        let name = self.name("the session's name")?.name;
        let setup = self.block(Keyword::Setup)?;
        let mut steps = Vec::new();
        while self.take(&Word::Keyword(Keyword::Step)) {
            steps.push((self.name("the step's name")?, self.sql()?));
        }
        if steps.is_empty() {
            return Err(self.unexpected("step"));
        }
        let teardown = self.block(Keyword::Teardown)?;
        Ok(DraftSession { name, setup, steps, teardown })
    }

    fn permutation(&mut self) -> Result<Vec<DraftBegin>, Mistake> {
        let mut begins = Vec::new();
        while begins.is_empty() || matches!(self.peek().word, Word::Name(_)) {
            let step = self.name("a step's name")?;
            let blockers = if self.take(&Word::Sign('(')) { self.blockers()? } else { Vec::new() };
            begins.push(DraftBegin { step, blockers });
        }
        Ok(begins)
    }

    /// The markers, after the opening parenthesis.
    fn blockers(&mut self) -> Result<Vec<DraftBlocker>, Mistake> {
        let mut blockers = Vec::new();
        loop {
            blockers.push(self.blocker()?);
            if self.take(&Word::Sign(')')) {
                return Ok(blockers);
            }
            if !self.take(&Word::Sign(',')) {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
    }

    fn blocker(&mut self) -> Result<DraftBlocker, Mistake> {
        if self.take(&Word::Sign('*')) {
            return Ok(DraftBlocker::Once);
        }
        let step = self.name("a step's name or `*`")?;
        if !self.take(&Word::Keyword(Keyword::Notices)) {
            return Ok(DraftBlocker::Step(step));
        }
        match self.peek().word {
            Word::Number(count) => {
                self.next += 1;
                Ok(DraftBlocker::Notices(step, count))
            }
            _ => Err(self.unexpected("the number of notices")),
        }
    }

    /// A keyword and its SQL, if the keyword is next.
    fn block(&mut self, keyword: Keyword) -> Result<Option<String>, Mistake> {
        if self.take(&Word::Keyword(keyword)) { self.sql().map(Some) } else { Ok(None) }
    }

    fn sql(&mut self) -> Result<String, Mistake> {
        match &self.peek().word {
            Word::Sql(sql) => {
                let sql = sql.clone();
                self.next += 1;
                Ok(sql)
            }
            _ => Err(self.unexpected("an SQL block in braces")),
        }
    }

    fn name(&mut self, what: &str) -> Result<Named, Mistake> {
        let Token { word, at } = self.peek();
        match word {
            Word::Name(name) => {
                let named = Named { name: name.clone(), at: at.clone() };
                self.next += 1;
                Ok(named)
            }
            Word::Keyword(keyword) => Err(Mistake {
                at: at.clone(),
                message: format!("expected {what}: to use `{0}` as a name, write \"{0}\"", keyword.as_str()),
            }),
            _ => Err(self.unexpected(what)),
        }
    }

    fn take(&mut self, word: &Word) -> bool {
        let taken = self.peek().word == *word;
        self.next += usize::from(taken);
        taken
    }

    fn peek(&self) -> &Token {
        self.words.get(self.next).unwrap_or_else(|| self.words.last().expect("the last word is the end"))
    }

    fn unexpected(&self, expected: &str) -> Mistake {
        let Token { word, at } = self.peek();
        let found = match word {
            Word::Keyword(keyword) => format!("`{}`", keyword.as_str()),
            Word::Name(name) => format!("the name {name}"),
            Word::Sql(_) => "an SQL block".to_owned(),
            Word::Number(number) => format!("the number {number}"),
            Word::Sign(sign) => format!("`{sign}`"),
            Word::End => "the end".to_owned(),
        };
        Mistake { at: at.clone(), message: format!("expected {expected}, found {found}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Begin, Blocker};

    const SESSIONS: &str = "session s1 step a {} step b {} session s2 step c {} ";

    fn mistakes(text: &str) -> Vec<(usize, String)> {
        parse(text).unwrap_err().into_iter().map(|mistake| (mistake.at.start, mistake.message)).collect()
    }

    #[test]
    fn every_part_of_a_specification_is_read() {
        let text = "setup { one } setup { two } teardown { down }\n\
                    session \"s 1\" setup { s } step a { A } teardown { t }\n\
                    session s2 step b { B } permutation a b(a, *, a notices 2) permutation b";
        let spec = parse(text).unwrap();
        assert_eq!(spec.setups, ["one", "two"]);
        assert_eq!(spec.teardown.as_deref(), Some("down"));
        assert_eq!((spec.sessions[0].name.as_str(), spec.sessions[0].setup.as_deref()), ("s 1", Some("s")));
        assert_eq!(spec.sessions[0].teardown.as_deref(), Some("t"));
        assert_eq!((spec.steps[1].name.as_str(), spec.steps[1].session), ("b", 1));
        let blockers = vec![Blocker::Step(0), Blocker::Once, Blocker::Notices { step: 0, count: 2 }];
        let first = vec![Begin { step: 0, blockers: vec![] }, Begin { step: 1, blockers }];
        assert_eq!(spec.permutations[0].steps, first);
        assert_eq!(spec.permutations.len(), 2);
    }

    #[test]
    fn a_mistake_says_what_was_expected_and_where() {
        assert_eq!(mistakes("setup {} step"), [(9, "expected session, found `step`".to_owned())]);
        assert_eq!(mistakes("session s"), [(9, "expected step, found the end".to_owned())]);
        let keyword = "expected the session's name: to use `step` as a name, write \"step\"";
        assert_eq!(mistakes("session step"), [(8, keyword.to_owned())]);
        let text = format!("{SESSIONS}permutation a(b c)");
        assert_eq!(mistakes(&text)[0].1, "expected `,` or `)`, found the name c");
    }

    #[test]
    fn every_name_that_refers_to_nothing_is_reported() {
        let text = format!("{SESSIONS}permutation a x(b) c(y) permutation b(a) c(b)");
        let found: Vec<String> = mistakes(&text).into_iter().map(|(_, message)| message).collect();
        assert_eq!(
            found,
            [
                "there is no step x",
                "this permutation has no step y that c could wait for",
                "this permutation has no step a that b could wait for"
            ]
        );
    }

    #[test]
    fn a_step_cannot_wait_for_its_own_session_nor_share_a_name() {
        let text = format!("{SESSIONS}permutation a b(a) c");
        assert_eq!(mistakes(&text)[0].1, "b cannot wait for a, a step of its own session");
        assert_eq!(mistakes("session s step a {} step a {}"), [(25, "there is a step a already".to_owned())]);
    }
}
