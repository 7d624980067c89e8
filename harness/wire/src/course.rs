//! The course of one session: which unit is under way, and what is still to come for it. Knows no socket and no buffer;
//! [`crate::conversation`] shows it each message once, in the order of the wire.
//!
//! One unit is under way at a time. That is what makes an answer belong to a unit with certainty, and it changes nothing
//! of what a session does: a server, too, works off a pipeline one by one.

mod heard;

use std::sync::Arc;

use crate::answer::Answer;
use crate::gate::Watch;
use crate::owed::{Debt, Due, Owed};
use crate::reply::Failing;
use crate::request::{self, Steps};
use crate::response::{Collector, Log};
use crate::statements::{Portal, Statements};
use crate::unit::{Kind, Source, Step, Unit};

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Messages of a unit are gathered, or awaited.
    Assembling,
    /// A unit is complete, or as large as may be held, and nobody has decided on it.
    Waiting,
    /// A unit goes to the server; `whole` once its last message was seen.
    UnderWay { whole: bool },
    /// A refused unit is read to its end, and thrown away.
    Refusing,
    /// The client said goodbye, or the gate would have it: nothing more is read from the client.
    Over,
    /// The grammar is lost: bytes are passed both ways, and no unit is made of them.
    Passing,
}

/// A COPY for which the server awaits data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    Simple,
    Extended,
}

/// What a client's message is to its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// More will come.
    More,
    /// The unit ends with it.
    Last,
    /// It belongs to none, and goes to the server as it is.
    Stray,
    /// The client ends the session; the message comes after the unit, if there is one.
    Terminate,
}

/// What becomes of a server's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It goes to the client.
    Pass,
    /// It does not.
    Swallow,
    /// Our refusal goes to the client instead.
    Refusal,
}

/// The unit that is gathered or under way.
#[derive(Debug, Default)]
struct Current {
    kind: Option<Kind>,
    copy: Option<Copy>,
    /// The data of an extended COPY has ended; Sync or Flush is to come.
    copy_ended: bool,
    /// What the server will owe once the unit is admitted.
    owed: Vec<Due>,
    /// After so many results of a simple query what comes is ours.
    results_left: Option<u32>,
    /// Nothing makes the server answer.
    silent: bool,
    ends_with_sync: bool,
    messages: u64,
    unknown: bool,
    steps: Steps,
    query: Option<Source>,
    executed: Vec<(Source, Portal)>,
    bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Course {
    watch: Watch,
    pub(crate) phase: Phase,
    debt: Debt,
    copy: Option<Copy>,
    current: Current,
    unit: Option<Arc<Unit>>,
    collector: Option<Collector>,
    statements: Statements,
    units: u64,
    refusal: Option<(String, String)>,
    /// Answers are swallowed, and the session ends with the next one.
    pub(crate) mute: bool,
    /// The client has left while a unit was under way.
    left: bool,
    answered: bool,
    /// What is spoken now is ours, and not the client's.
    speaks_itself: bool,
    /// Messages of severity LOG are kept from the client.
    keeps_logs: bool,
    logs: Vec<Log>,
}

impl Course {
    pub(crate) fn new(watch: Watch, keeps_logs: bool) -> Course {
        Course {
            watch,
            phase: Phase::Assembling,
            debt: Debt::default(),
            copy: None,
            current: Current::default(),
            unit: None,
            collector: None,
            statements: Statements::default(),
            units: 0,
            refusal: None,
            mute: false,
            left: false,
            answered: false,
            speaks_itself: false,
            keeps_logs,
            logs: Vec::new(),
        }
    }

    /// The messages of severity LOG that came since this was last asked.
    pub(crate) fn take_logs(&mut self) -> Vec<Log> {
        std::mem::take(&mut self.logs)
    }

    fn watched(&self) -> bool {
        self.watch != Watch::Nothing
    }

    /// What comes now is data of a COPY, as far as it is any.
    pub(crate) fn is_in_copy(&self) -> bool {
        self.copy.is_some() && !self.current.copy_ended
    }

    pub(crate) fn is_gathering(&self) -> bool {
        self.current.messages > 0
    }

    /// The server owes so much that nothing should be added.
    pub(crate) fn owes_too_much(&self) -> bool {
        self.debt.len() + self.current.owed.len() >= crate::bounds::OWED_MAX
    }

    #[cfg(test)]
    pub(crate) fn owed_next(&self) -> Option<Owed> {
        self.debt.next()
    }

    #[cfg(test)]
    pub(crate) fn owes_for_itself(&self) -> bool {
        self.debt.next_is_ours()
    }

    #[cfg(test)]
    pub(crate) fn awaits_copy_data(&self) -> bool {
        self.copy.is_some() && !(self.current.copy_ended && self.phase == (Phase::UnderWay { whole: true }))
    }

    /// The bytes of a client's message that have to be there before it is shown.
    pub(crate) fn wanted_from_client(&self, tag: u8, length: usize) -> usize {
        match tag {
            b'd' => 0,
            // Its first byte decides what is owed.
            b'D' => length,
            _ if self.watched() => length,
            _ => 0,
        }
    }

    /// The client has sent a message. `length` is that of the whole message, with its header.
    pub(crate) fn spoken(&mut self, tag: u8, body: &[u8], cut: bool, length: u64) -> Spoken {
        if tag == b'X' {
            return Spoken::Terminate;
        }
        if !self.is_gathering() {
            if self.copy.is_none() && matches!(tag, b'd' | b'c' | b'f') {
                // The server ignores these, too: they are the rest of a COPY that has failed.
                return Spoken::Stray;
            }
            self.current.copy = self.copy;
            self.current.kind = self.copy.map(|_| Kind::Copy);
        }
        self.current.messages += 1;
        self.current.bytes += length;
        let last = if self.current.copy.is_some() && !self.current.copy_ended {
            self.spoken_in_copy(tag)
        } else {
            self.spoken_outside(tag, body)
        };
        if self.watched() {
            self.describe(tag, body, cut, length);
        }
        if last { Spoken::Last } else { Spoken::More }
    }

    fn spoken_in_copy(&mut self, tag: u8) -> bool {
        match tag {
            // The server overlooks Flush and Sync within the data.
            b'd' | b'H' | b'S' => false,
            b'c' | b'f' => {
                self.current.copy_ended = true;
                self.current.copy == Some(Copy::Simple)
            }
            _ => {
                self.current.unknown = true;
                true
            }
        }
    }

    fn spoken_outside(&mut self, tag: u8, body: &[u8]) -> bool {
        let (owed, kind, last) = match tag {
            b'P' => (Some(Owed::Parse), Kind::Extended, false),
            b'B' => (Some(Owed::Bind), Kind::Extended, false),
            b'D' if body.first() == Some(&b'P') => (Some(Owed::Describe), Kind::Extended, false),
            b'D' => (Some(Owed::DescribeStatement), Kind::Extended, false),
            b'E' => (Some(Owed::Execute), Kind::Extended, false),
            b'C' => (Some(Owed::Close), Kind::Extended, false),
            b'H' => (None, Kind::Extended, true),
            b'S' => (Some(Owed::Sync), Kind::Extended, true),
            b'Q' => (Some(Owed::Query), Kind::Query, true),
            b'F' => (Some(Owed::Call), Kind::FunctionCall, true),
            b'd' | b'c' | b'f' => (None, Kind::Extended, false),
            _ => {
                self.current.silent = true;
                self.current.unknown = true;
                (None, Kind::Unknown, true)
            }
        };
        self.current.ends_with_sync = tag == b'S';
        if self.current.kind != Some(Kind::Copy) {
            self.current.kind = Some(kind);
        }
        if let Some(owed) = owed {
            self.owe(owed);
        }
        last
    }

    fn owe(&mut self, owed: Owed) {
        let due = Due { owed, is_ours: self.speaks_itself };
        if matches!(self.phase, Phase::UnderWay { .. }) {
            self.debt.owe_to(due);
        } else {
            self.current.owed.push(due);
        }
    }

    /// Whether what is spoken from now on is ours.
    pub(crate) fn speak_itself(&mut self, is_so: bool) {
        self.speaks_itself = is_so;
    }

    /// Of the simple query that comes next, the client sees so many results.
    pub(crate) fn shows_results(&mut self, most: u32) {
        self.current.results_left = Some(most);
    }

    /// The text that an Execute runs which was the last message, if all of it is known.
    pub(crate) fn executed(&self) -> Option<&str> {
        // Where something was left out, the last that is there is another one.
        let last = self.current.steps.steps.last().filter(|_| self.current.steps.left_out == 0);
        let Some(Step::Execute { statement: Source::Known(text), .. }) = last else {
            return None;
        };
        (!text.cut).then_some(&*text.text)
    }

    fn describe(&mut self, tag: u8, body: &[u8], cut: bool, length: u64) {
        if tag == b'd' {
            self.current.steps.push_copy_data(length.saturating_sub(5));
            return;
        }
        let step = request::step(tag, body, cut, length, &mut self.statements);
        match &step {
            Step::Query { text } => self.current.query = Some(Source::Known(text.clone())),
            Step::Execute { statement, .. } => {
                let portal = body.split(|byte| *byte == 0).next().unwrap_or_default();
                let executed = (statement.clone(), self.statements.portal(portal));
                match &mut self.collector {
                    Some(collector) if matches!(self.phase, Phase::UnderWay { .. }) => collector.will_execute(executed),
                    _ => self.current.executed.push(executed),
                }
            }
            Step::Unknown { .. } => self.current.unknown = true,
            _ => {}
        }
        self.current.steps.push(step);
    }

    /// The unit's last message was seen, or as much of it as may be held.
    pub(crate) fn gathered(&mut self, whole: bool, silent: bool) -> &Arc<Unit> {
        self.units += 1;
        self.phase = Phase::Waiting;
        self.current.silent |= silent;
        let steps = std::mem::take(&mut self.current.steps);
        self.unit.insert(Arc::new(Unit {
            number: self.units,
            kind: self.current.kind.unwrap_or(Kind::Extended),
            steps: steps.steps,
            steps_left_out: steps.left_out,
            bytes: self.current.bytes,
            whole,
            unknown: self.current.unknown,
        }))
    }

    /// As [`Course::gathered`], where nobody looks.
    pub(crate) fn gathered_unseen(&mut self, silent: bool) {
        self.current.silent |= silent;
        self.phase = Phase::Waiting;
    }

    /// The unit goes to the server.
    pub(crate) fn depart(&mut self, whole: bool) {
        for due in self.current.owed.drain(..) {
            self.debt.owe_to(due);
        }
        self.collect();
        self.phase = Phase::UnderWay { whole: false };
        if whole {
            self.departed();
        }
    }

    fn collect(&mut self) {
        if self.watched() {
            let mut collector = Collector::new(self.watch);
            self.current.executed.drain(..).for_each(|executed| collector.will_execute(executed));
            self.collector = Some(collector);
        }
    }

    /// The last of the unit's messages goes to the server.
    pub(crate) fn departed(&mut self) {
        if matches!(self.phase, Phase::UnderWay { .. }) {
            self.phase = Phase::UnderWay { whole: true };
            if self.current.silent {
                self.debt.forgive();
            }
            if self.debt.is_empty()
                && let Some(collector) = &mut self.collector
            {
                collector.answer().skipped = true;
            }
            self.settle();
        }
    }

    /// The unit was refused, and all of it has been read: what goes to the server in its place.
    pub(crate) fn refuse(&mut self, refusal: (String, String), first: Option<String>) -> Failing {
        let mut sync = self.current.ends_with_sync;
        self.current.owed.clear();
        let is_answered_to_the_end = sync || matches!(self.current.kind, Some(Kind::Query | Kind::FunctionCall));
        // A server that skips would not look at a simple query, and would miss the Sync that it replaces.
        let is_heard = is_answered_to_the_end && self.copy.is_none() && !self.debt.is_skipping();
        let first = first.filter(|_| is_heard);
        let failing = match (self.current.kind, self.copy) {
            _ if let Some(first) = first => {
                // A simple query is answered to its end too, so that nothing more is owed.
                sync = false;
                self.debt.owe(Owed::Query);
                Failing::After(first)
            }
            (Some(Kind::Copy), Some(Copy::Simple)) => Failing::Copy { sync: false },
            (Some(Kind::Copy), Some(Copy::Extended)) => Failing::Copy { sync },
            // The COPY has failed in the meantime, and the client knows.
            (Some(Kind::Copy), None) => Failing::Nothing { sync },
            (Some(Kind::Query | Kind::FunctionCall), _) => {
                self.debt.owe(Owed::Query);
                Failing::Query
            }
            _ => {
                self.debt.owe(Owed::Parse);
                Failing::Extended { sync }
            }
        };
        if sync {
            self.debt.owe(Owed::Sync);
        }
        self.refusal = Some(refusal);
        self.collect();
        self.phase = Phase::UnderWay { whole: false };
        self.current.silent = false;
        self.departed();
        failing
    }

    /// What the client is told where the server has failed in place of a refused unit.
    pub(crate) fn take_refusal(&mut self) -> Option<(String, String)> {
        let refusal = self.refusal.take();
        if let (Some((sqlstate, message)), Some(collector)) = (&refusal, &mut self.collector) {
            collector.refused(sqlstate, message);
        }
        refusal
    }

    /// Ends the unit if all of it has gone, and nothing is owed for it.
    fn settle(&mut self) {
        if self.phase == (Phase::UnderWay { whole: true }) && self.debt.is_empty() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.answered = true;
        // A refusal that the server did not have to speak: it was skipping already.
        self.refusal = None;
        self.current = Current::default();
        self.phase = if self.mute || self.left { Phase::Over } else { Phase::Assembling };
    }

    /// Whether a unit was answered and nobody was told.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered
    }

    /// Whether a unit was answered since this was last asked; and where it is watched, which one and how.
    pub(crate) fn take_answered(&mut self) -> Option<Option<(Arc<Unit>, Answer)>> {
        if !std::mem::take(&mut self.answered) {
            return None;
        }
        let unit = self.unit.take();
        Some(unit.zip(self.collector.take()).map(|(unit, collector)| (unit, collector.into_answer())))
    }

    /// Nothing in the unit makes the server answer.
    pub(crate) fn fall_silent(&mut self) {
        self.current.silent = true;
    }

    /// The client has left. A unit that is under way is still answered.
    pub(crate) fn leave(&mut self) {
        match self.phase {
            Phase::UnderWay { whole: true } => self.left = true,
            _ => self.withdraw(),
        }
    }

    /// Nothing more is read from the client.
    pub(crate) fn is_over(&self) -> bool {
        self.left || self.phase == Phase::Over
    }

    /// Forgets the unit on which nobody has decided.
    pub(crate) fn withdraw(&mut self) {
        self.unit = None;
        self.current = Current::default();
        self.phase = Phase::Over;
    }
}

/// A refusal, as the client reads it.
pub(crate) fn refusal((sqlstate, message): &(String, String)) -> Vec<u8> {
    crate::reply::error("ERROR", sqlstate, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit has been sent and answered: its messages, and the server's.
    fn unit(course: &mut Course, messages: &[(u8, &[u8])], answers: &[(u8, &[u8])]) {
        gather(course, messages);
        course.depart(true);
        for (tag, body) in answers {
            course.heard(*tag, body, false, 0);
        }
    }

    fn gather(course: &mut Course, messages: &[(u8, &[u8])]) {
        for (tag, body) in messages {
            course.spoken(*tag, body, false, 0);
        }
        course.gathered(true, false);
    }

    const COMMIT: [(u8, &[u8]); 4] =
        [(b'P', b"\0COMMIT\0\0\0"), (b'B', b"\0\0\0\0\0\0\0\0"), (b'E', b"\0\0\0\0\0"), (b'S', b"")];

    #[test]
    fn nothing_is_carried_out_before_a_refusal_where_the_server_skips() {
        let refusal = || (("40001".to_owned(), "not now".to_owned()), Some("ROLLBACK".to_owned()));
        let mut course = Course::new(Watch::Units, false);
        gather(&mut course, &COMMIT);
        let (why, first) = refusal();
        assert_eq!(course.refuse(why, first), Failing::After("ROLLBACK".to_owned()));

        let mut course = Course::new(Watch::Units, false);
        let failing: [(u8, &[u8]); 2] = [(b'P', b"\0SELEC\0\0\0"), (b'H', b"")];
        unit(&mut course, &failing, &[(b'E', b"SERROR\0C42601\0Msyntax\0\0")]);
        gather(&mut course, &COMMIT);
        let (why, first) = refusal();
        // The Sync makes the server listen again; a simple query would be skipped, and it with it.
        assert_eq!(course.refuse(why, first), Failing::Extended { sync: true });
    }

    #[test]
    fn what_is_carried_out_before_a_refusal_shows_nothing_to_the_client() {
        let mut course = Course::new(Watch::Units, false);
        gather(&mut course, &[(b'Q', b"SHOW a; UPDATE t SET v = 1\0")]);
        course.refuse(("40001".to_owned(), "not now".to_owned()), Some("SHOW a".to_owned()));
        for tag in *b"TDC" {
            assert_eq!(course.heard(tag, b"\0\0", false, 0), Heard::Swallow, "{}", char::from(tag));
        }
        assert_eq!(course.heard(b'E', b"SERROR\0C26000\0Mno\0\0", false, 0), Heard::Refusal);
    }

    #[test]
    fn a_statement_that_was_skipped_does_not_hide_the_one_that_is_there() {
        let mut course = Course::new(Watch::Units, false);
        let parse = |text: &'static [u8]| [(b'P', text), (b'S', &b""[..])];
        unit(&mut course, &parse(b"s\0SELECT 1\0\0\0"), &[(b'1', b""), (b'Z', b"I")]);
        let failing: [(u8, &[u8]); 2] = [(b'P', b"\0SELEC\0\0\0"), (b'H', b"")];
        unit(&mut course, &failing, &[(b'E', b"SERROR\0C42601\0Msyntax\0\0")]);
        // The server skips this one up to its Sync.
        unit(&mut course, &parse(b"s\0SELECT 2\0\0\0"), &[(b'Z', b"I")]);
        let statement = course.statements.statement(b"s");
        assert_eq!(statement.expect("it was prepared").text.to_string(), "SELECT 1");
    }
}
