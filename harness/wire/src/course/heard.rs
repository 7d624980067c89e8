//! What the server's messages do to the course of a session.

use super::{Copy, Course, Heard, Phase};
use crate::answer::Transaction;
use crate::bounds::COLUMNS_MAX;
use crate::fields::Fields;
use crate::owed::Owed;
use crate::response::{Collector, log};
use crate::statements::Confirmed;

impl Course {
    /// The bytes of a server's message that have to be there before it is shown.
    pub(crate) fn wanted_from_server(&self, tag: u8, length: usize) -> usize {
        match tag {
            b'd' => 0,
            b'D' => match &self.collector {
                Some(collector) if collector.wants_row(length) => length,
                _ => 0,
            },
            b'Z' => length,
            b'N' if self.keeps_logs => length,
            _ if self.watched() || self.refusal.is_some() => length,
            _ => 0,
        }
    }

    /// The server has sent a message.
    pub(crate) fn heard(&mut self, tag: u8, body: &[u8], cut: bool, length: u64) -> Heard {
        if tag == b'N'
            && self.keeps_logs
            && let Some(log) = log(body, cut)
        {
            self.logs.push(log);
            return Heard::Swallow;
        }
        let is_ours = self.is_ours(tag);
        let mut expected = true;
        match tag {
            b'D' => {}
            b'1' => expected = self.debt.settle(Owed::Parse),
            b'2' => expected = self.debt.settle(Owed::Bind),
            b'3' => expected = self.debt.settle(Owed::Close),
            b'n' => expected = self.debt.settle(Owed::Describe),
            b'T' => expected = self.debt.settle(Owed::Describe) || self.is_answering(),
            b't' => expected = self.debt.settle_parameters(),
            b'C' | b'I' | b's' => {
                if !self.debt.next_is_simple() {
                    expected = self.debt.settle(Owed::Execute);
                    self.copy = None;
                }
            }
            b'E' => {
                self.copy = None;
                self.debt.fail();
            }
            b'G' => expected = self.copy_in(),
            b'W' => {
                self.phase = Phase::Passing;
                expected = false;
            }
            b'Z' => {
                expected = self.debt.ready();
                self.copy = None;
            }
            b'A' | b'N' | b'S' | b'd' | b'c' | b'H' | b'V' => {}
            _ => expected = false,
        }
        if matches!(tag, b'C' | b'D' | b'I' | b'T') && self.refusal.is_some() && self.debt.next_is_simple() {
            // What was carried out before the refusal is ours, not the client's.
            return Heard::Swallow;
        }
        if let Some(mut collector) = self.collector.take() {
            self.observe(&mut collector, tag, body, cut);
            collector.count_bytes(length);
            collector.answer().unknown |= !expected;
            self.collector = Some(collector);
        }
        let refused = tag == b'E' && self.refusal.is_some();
        self.settle();
        match () {
            () if self.mute => Heard::Swallow,
            () if refused => Heard::Refusal,
            () if is_ours => Heard::Swallow,
            () => Heard::Pass,
        }
    }

    /// Whether a message answers what we have asked, and not the client. Errors are everybody's.
    fn is_ours(&mut self, tag: u8) -> bool {
        match tag {
            b'C' | b'I' | b'T' | b'D' if self.debt.next_is_simple() => {
                let Some(left) = &mut self.current.results_left else { return false };
                let is_ours = *left == 0;
                *left = left.saturating_sub(u32::from(matches!(tag, b'C' | b'I')));
                is_ours
            }
            b'1' | b'2' | b'3' | b'n' | b't' | b'C' | b'I' | b's' | b'T' | b'D' => self.debt.next_is_ours(),
            _ => false,
        }
    }

    fn is_answering(&self) -> bool {
        matches!(self.debt.next(), Some(Owed::Query | Owed::Execute | Owed::Call))
    }

    fn copy_in(&mut self) -> bool {
        self.copy = match self.debt.next() {
            Some(Owed::Query) => Some(Copy::Simple),
            Some(Owed::Execute) => Some(Copy::Extended),
            _ => return false,
        };
        self.debt.keep_next_alone();
        if let Some(collector) = &mut self.collector {
            collector.answer().copy_in = true;
        }
        match self.phase {
            Phase::UnderWay { whole: true } => self.finish(),
            // The batch goes on: what comes is data of this COPY.
            _ => self.current.copy = self.copy,
        }
        true
    }

    fn observe(&mut self, collector: &mut Collector, tag: u8, body: &[u8], cut: bool) {
        match tag {
            b'D' => {
                if !body.is_empty() && !cut {
                    collector.row(body);
                }
                collector.count_row();
            }
            b'd' => collector.count_row(),
            b'T' => {
                let types = collector.columns(body);
                self.statements.describe_row(types);
            }
            b'n' => self.statements.describe_row(Vec::new()),
            b'1' => self.statements.confirm(Confirmed::Parse),
            b'2' => self.statements.confirm(Confirmed::Bind),
            b'3' => self.statements.confirm(Confirmed::Close),
            b't' => self.statements.describe(types(body)),
            b'C' | b'I' | b's' => {
                let command = body.split(|byte| *byte == 0).next().unwrap_or_default();
                if tag == b'C' {
                    self.statements.command(&String::from_utf8_lossy(command));
                }
                collector.end_execution(command, tag == b's', self.current.query.as_ref());
            }
            b'E' => {
                self.statements.fail();
                collector.error(body, cut);
            }
            b'N' => collector.notice(body, cut),
            b'Z' => {
                let transaction = body.first().and_then(|status| Transaction::of(*status));
                collector.answer().transaction = transaction;
                self.statements.ready();
                if transaction == Some(Transaction::Idle) {
                    self.statements.end_transaction();
                }
            }
            _ => {}
        }
    }
}

fn types(body: &[u8]) -> Vec<u32> {
    let mut fields = Fields(body);
    (0..fields.count().unwrap_or(0).min(COLUMNS_MAX)).map_while(|_| fields.u32()).collect()
}
