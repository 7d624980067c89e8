//! The bytes of one session, both ways. Cuts them into messages wherever they were split, shows each message to the
//! [`Course`], and says which bytes may go on. The bytes themselves are never made anew: what is sent is what was read,
//! except for the texts that a gate has exchanged.
//!
//! Knows no socket, so that every cut and every order can be tested.

use std::sync::Arc;

use bytes::{Buf, BytesMut};

use crate::answer::Answer;
use crate::bounds::{ANSWER_BYTES_MAX, LOG_BYTES_MAX, READ_BYTES_MAX, UNDERSTOOD_BYTES_MAX, UNIT_BYTES_MAX};
use crate::course::{Course, Heard, Phase, Spoken, refusal};
use crate::gate::{Admission, Watch};
use crate::response::Log;
use crate::rewrite::{self, FOLLOWING_MESSAGES, Rewrite};
use crate::unit::Unit;

/// A tag and a length.
const HEADER_BYTES: usize = 5;
/// Terminate is a header alone.
const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// A side sent what has no length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Client,
    Server,
}

/// A unit on which somebody has to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It was described.
    Seen(Arc<Unit>),
    /// Nobody looks.
    Unseen,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Conversation {
    course: Course,
    watched: bool,
    pub(crate) from_client: BytesMut,
    /// The bytes at the beginning of `from_client` that may go to the server.
    pub(crate) sendable: usize,
    /// The bytes of `from_client` that were looked at, those that may go among them.
    scanned: usize,
    /// What is left of the client's message, and what it is.
    client_left: u64,
    spoken: Spoken,
    whole: bool,
    /// So many of the messages that come next are ours.
    following: u32,
    /// The message that is passed over runs what was prepared.
    executes: bool,
    asked: Option<Asked>,
    refused: Option<((String, String), Option<String>)>,
    pub(crate) terminated: bool,
    pub(crate) dropped: bool,
    pub(crate) from_server: BytesMut,
    /// The bytes at the beginning of `from_server` that may go to the client.
    pub(crate) deliverable: usize,
    server_left: u64,
    swallowing: bool,
}

/// Splits a header into its tag and the bytes of the whole message.
fn header(bytes: &[u8]) -> Option<(u8, Option<u64>)> {
    let (tag, length) = bytes.first_chunk::<HEADER_BYTES>()?.split_first()?;
    let length = i32::from_be_bytes(length.try_into().ok()?);
    Some((*tag, u64::try_from(length).ok().filter(|length| *length >= 4).map(|length| length + 1)))
}

/// The bytes of a body that are looked at.
fn looked_at(total: u64, most: usize, wanted: impl FnOnce(usize) -> usize) -> usize {
    let body = usize::try_from(total).unwrap_or(usize::MAX).saturating_sub(HEADER_BYTES);
    wanted(body).min(most)
}

/// Takes bytes out of the middle.
fn cut_out(buffer: &mut BytesMut, from: usize, to: usize) {
    if from == 0 {
        buffer.advance(to);
    } else if from < to {
        let rest = buffer.split_off(to);
        buffer.truncate(from);
        buffer.extend_from_slice(&rest);
    }
}

/// Puts bytes into the middle.
fn insert(buffer: &mut BytesMut, at: usize, bytes: &[u8]) {
    let rest = buffer.split_off(at);
    buffer.extend_from_slice(bytes);
    buffer.extend_from_slice(&rest);
}

impl Conversation {
    pub(crate) fn new(watch: Watch, keeps_logs: bool) -> Conversation {
        Conversation {
            course: Course::new(watch, keeps_logs),
            watched: watch != Watch::Nothing,
            from_client: BytesMut::new(),
            sendable: 0,
            scanned: 0,
            client_left: 0,
            spoken: Spoken::More,
            whole: false,
            following: 0,
            executes: false,
            asked: None,
            refused: None,
            terminated: false,
            dropped: false,
            from_server: BytesMut::new(),
            deliverable: 0,
            server_left: 0,
            swallowing: false,
        }
    }

    /// Whether more of the client's bytes may be read.
    pub(crate) fn hears_client(&self) -> bool {
        !self.is_over() && self.from_client.len() < UNIT_BYTES_MAX + READ_BYTES_MAX
    }

    /// Whether more of the server's bytes may be read.
    pub(crate) fn hears_server(&self) -> bool {
        self.from_server.len() < ANSWER_BYTES_MAX
    }

    /// Whether nothing more will be read from the client.
    pub(crate) fn is_over(&self) -> bool {
        self.course.is_over()
    }

    /// Whether the gate would have both sides closed, and nothing is awaited any more.
    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped && self.course.phase == Phase::Over
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.from_client.advance(bytes);
        self.sendable -= bytes;
        self.scanned -= bytes;
    }

    pub(crate) fn delivered(&mut self, bytes: usize) {
        self.from_server.advance(bytes);
        self.deliverable -= bytes;
    }

    /// Looks at what the client has sent since, up to the end of a unit.
    pub(crate) fn scan_client(&mut self, rewrite: &Rewrite<'_>) -> Result<(), Broken> {
        loop {
            if self.course.has_answered() {
                // It is told before anything is said of the next one.
                return Ok(());
            }
            match self.course.phase {
                Phase::Waiting | Phase::Over | Phase::UnderWay { whole: true } => return Ok(()),
                Phase::Passing => {
                    self.scanned = self.from_client.len();
                    self.sendable = self.scanned;
                    return Ok(());
                }
                Phase::UnderWay { whole: false } if self.course.owes_too_much() => return Ok(()),
                Phase::Assembling | Phase::UnderWay { whole: false } | Phase::Refusing => {}
            }
            let more = if self.client_left > 0 { self.go_on(rewrite) } else { self.next_message(rewrite)? };
            if !more {
                if self.course.phase == Phase::Assembling && self.holds_all_it_may() {
                    self.ask(false, false);
                }
                return Ok(());
            }
            if self.course.phase == Phase::Assembling && self.course.owes_too_much() {
                self.ask(false, false);
            }
        }
    }

    fn holds_all_it_may(&self) -> bool {
        self.course.is_gathering() && self.scanned - self.sendable >= UNIT_BYTES_MAX
    }

    /// Looks at a message's beginning; `false` if it is not there yet.
    fn next_message(&mut self, rewrite: &Rewrite<'_>) -> Result<bool, Broken> {
        let bytes = &self.from_client[self.scanned..];
        let Some((tag, total)) = header(bytes) else { return Ok(false) };
        let mut total = total.ok_or(Broken::Client)?;
        let mut is_followed = false;
        if self.watched
            && self.following == 0
            && !self.course.is_in_copy()
            && let Some(message) = usize::try_from(total).ok().and_then(|total| bytes.get(..total))
            && let Some(anew) = rewrite::message(message, rewrite)
        {
            let rest = self.from_client.split_off(self.scanned + message.len());
            self.from_client.truncate(self.scanned);
            self.from_client.extend_from_slice(&anew.bytes);
            self.from_client.extend_from_slice(&rest);
            (total, is_followed) = (anew.bytes.len() as u64, anew.is_followed);
        }
        let bytes = &self.from_client[self.scanned..];
        let body = looked_at(total, UNDERSTOOD_BYTES_MAX, |length| self.course.wanted_from_client(tag, length));
        let Some(body) = bytes[HEADER_BYTES..].get(..body) else { return Ok(false) };
        let cut = (body.len() + HEADER_BYTES) as u64 != total;
        self.executes = tag == b'E' && self.following == 0;
        self.course.speak_itself(self.following > 0);
        self.following = self.following.saturating_sub(1);
        let spoken = self.course.spoken(tag, body, cut, total);
        if is_followed {
            self.course.shows_results(1);
        }
        match spoken {
            Spoken::Terminate => self.terminate(),
            spoken => {
                self.spoken = spoken;
                self.client_left = total;
            }
        }
        Ok(true)
    }

    fn terminate(&mut self) {
        match self.course.phase {
            Phase::Assembling if self.course.is_gathering() => self.ask(true, true),
            Phase::UnderWay { .. } => {
                self.course.fall_silent();
                self.course.departed();
            }
            Phase::Refusing => self.finish_refusing(),
            _ => {
                self.scanned += HEADER_BYTES;
                self.sendable = self.scanned;
                self.terminated = true;
                self.course.phase = Phase::Over;
            }
        }
    }

    /// Passes over what there is of a message that was looked at; `false` if it goes on.
    fn go_on(&mut self, rewrite: &Rewrite<'_>) -> bool {
        let there = self.from_client.len() - self.scanned;
        let step = usize::try_from(self.client_left).unwrap_or(usize::MAX).min(there);
        self.scanned += step;
        self.client_left -= step as u64;
        match self.course.phase {
            Phase::Refusing => self.throw_away(),
            Phase::UnderWay { .. } => self.sendable = self.scanned,
            _ if self.spoken == Spoken::Stray => self.sendable = self.scanned,
            _ => {}
        }
        if self.client_left > 0 {
            return false;
        }
        self.follow(rewrite);
        if std::mem::replace(&mut self.spoken, Spoken::More) == Spoken::Last {
            match self.course.phase {
                Phase::Refusing => self.finish_refusing(),
                Phase::UnderWay { .. } => self.course.departed(),
                _ => self.ask(true, false),
            }
        }
        true
    }

    /// Puts in what is to be run after what the message before runs. It is looked at like the client's own.
    fn follow(&mut self, rewrite: &Rewrite<'_>) {
        if !std::mem::take(&mut self.executes) || !self.watched || self.course.phase == Phase::Refusing {
            return;
        }
        let following = self.course.executed().and_then(|text| (rewrite.followed)(text));
        if let Some(messages) = following.and_then(|text| rewrite::following(&text)) {
            insert(&mut self.from_client, self.scanned, &messages);
            self.following = FOLLOWING_MESSAGES;
        }
    }

    fn ask(&mut self, whole: bool, silent: bool) {
        self.whole = whole;
        self.asked = Some(if self.watched {
            Asked::Seen(Arc::clone(self.course.gathered(whole, silent)))
        } else {
            self.course.gathered_unseen(silent);
            Asked::Unseen
        });
    }

    /// The unit that waits for a decision, once.
    pub(crate) fn take_asked(&mut self) -> Option<Asked> {
        self.asked.take()
    }

    /// Somebody has decided on the unit that waits.
    pub(crate) fn decide(&mut self, admission: Admission) {
        match admission {
            Admission::Forward => self.depart(),
            Admission::SendThenDrop => {
                self.course.mute = true;
                self.dropped = true;
                self.depart();
            }
            Admission::Refuse { sqlstate, message, first } => {
                self.refused = Some(((sqlstate, message), first));
                self.throw_away();
                if self.whole {
                    self.finish_refusing();
                } else {
                    self.course.phase = Phase::Refusing;
                }
            }
            Admission::Drop => {
                self.dropped = true;
                self.from_client.truncate(self.sendable);
                self.course.withdraw();
            }
        }
    }

    fn depart(&mut self) {
        self.sendable = self.scanned;
        self.course.depart(self.whole);
    }

    fn throw_away(&mut self) {
        cut_out(&mut self.from_client, self.sendable, self.scanned);
        self.scanned = self.sendable;
    }

    fn finish_refusing(&mut self) {
        let (refusal, first) = self.refused.take().unwrap_or_default();
        let instead = self.course.refuse(refusal, first).bytes();
        insert(&mut self.from_client, self.sendable, &instead);
        self.sendable += instead.len();
        self.scanned = self.sendable;
    }

    /// The client has closed: what was not let through never will be.
    pub(crate) fn client_left(&mut self) {
        if matches!(self.course.phase, Phase::UnderWay { whole: true })
            && self.from_client[self.scanned..].starts_with(TERMINATE)
        {
            self.sendable = self.scanned + TERMINATE.len();
            self.terminated = true;
        }
        self.from_client.truncate(self.sendable);
        self.scanned = self.sendable;
        self.course.leave();
    }

    /// Looks at what the server has sent since.
    pub(crate) fn scan_server(&mut self) -> Result<(), Broken> {
        loop {
            if self.server_left > 0 {
                let there = self.from_server.len() - self.deliverable;
                let step = usize::try_from(self.server_left).unwrap_or(usize::MAX).min(there);
                self.server_left -= step as u64;
                if self.swallowing {
                    cut_out(&mut self.from_server, self.deliverable, self.deliverable + step);
                } else {
                    self.deliverable += step;
                }
                if self.server_left > 0 {
                    return Ok(());
                }
            }
            let bytes = &self.from_server[self.deliverable..];
            let Some((tag, total)) = header(bytes) else { return Ok(()) };
            let total = total.ok_or(Broken::Server)?;
            let most = if tag == b'N' { LOG_BYTES_MAX } else { UNDERSTOOD_BYTES_MAX };
            let body = looked_at(total, most, |length| self.course.wanted_from_server(tag, length));
            let Some(body) = bytes[HEADER_BYTES..].get(..body) else { return Ok(()) };
            let cut = (body.len() + HEADER_BYTES) as u64 != total;
            let heard = self.course.heard(tag, body, cut, total);
            self.server_left = total;
            self.swallowing = heard != Heard::Pass;
            if heard == Heard::Refusal
                && let Some(refused) = self.course.take_refusal()
            {
                let ours = refusal(&refused);
                insert(&mut self.from_server, self.deliverable, &ours);
                self.deliverable += ours.len();
            }
        }
    }

    /// The messages of severity LOG that came since this was last asked.
    pub(crate) fn take_logs(&mut self) -> Vec<Log> {
        self.course.take_logs()
    }

    /// Whether a unit was answered since this was last asked; and where it is watched, which one and how.
    pub(crate) fn take_answered(&mut self) -> Option<Option<(Arc<Unit>, Answer)>> {
        self.course.take_answered()
    }
}

#[cfg(test)]
mod tests;
