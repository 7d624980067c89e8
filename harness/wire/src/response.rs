//! What a server's messages mean: collects the answer to one unit, within bounds.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::answer::{Answer, Column, Outcome, Report};
use crate::bounds::{DESCRIBED_MAX, DESCRIPTION_BYTES_MAX};
use crate::fields::Fields;
use crate::gate::Watch;
use crate::statements::Portal;
use crate::unit::{Source, Text};

/// Collects one answer.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    answer: Answer,
    /// What is being executed.
    current: Outcome,
    /// The statements of the executions that are to come.
    executed: VecDeque<(Source, Portal)>,
    bytes: usize,
    row_bytes_left: usize,
}

impl Collector {
    pub(crate) fn new(watch: Watch) -> Collector {
        let row_bytes_left = match watch {
            Watch::Rows { bytes_max } => bytes_max.min(DESCRIPTION_BYTES_MAX),
            Watch::Nothing | Watch::Units => 0,
        };
        Collector { row_bytes_left, ..Collector::default() }
    }

    /// A statement of this unit will be executed.
    pub(crate) fn will_execute(&mut self, (statement, portal): (Source, Portal)) {
        if self.executed.len() < DESCRIBED_MAX {
            self.executed.push_back((statement, portal));
        }
    }

    pub(crate) fn count_bytes(&mut self, bytes: u64) {
        self.answer.bytes += bytes;
    }

    pub(crate) fn count_row(&mut self) {
        self.current.rows += 1;
    }

    /// Whether the bytes of a row like this are worth waiting for.
    pub(crate) fn wants_row(&self, length: usize) -> bool {
        length <= self.row_bytes_left
    }

    pub(crate) fn row(&mut self, body: &[u8]) {
        self.row_bytes_left = self.row_bytes_left.saturating_sub(body.len());
        let mut fields = Fields(body);
        let values = fields.count().unwrap_or(0);
        let value = |fields: &mut Fields<'_>| {
            let length = fields.i32()?;
            match usize::try_from(length) {
                Ok(length) => fields.bytes(length).map(|value| Some(Bytes::copy_from_slice(value))),
                Err(_) => Some(None),
            }
        };
        self.current.first_rows.push((0..values).map_while(|_| value(&mut fields)).collect());
    }

    /// The columns of what is being executed, or of what was described and will be; answers their types.
    pub(crate) fn columns(&mut self, body: &[u8]) -> Vec<u32> {
        let mut fields = Fields(body);
        let count = fields.count().unwrap_or(0);
        let columns: Vec<Column> = (0..count).map_while(|_| column(&mut fields)).collect();
        let cost: usize = columns.iter().map(|column| 32 + column.name.len()).sum();
        let types = columns.iter().map(|column| column.type_oid).collect();
        if self.afford(cost) {
            self.current.columns = columns;
        }
        types
    }

    /// A statement has ended, or a portal was suspended.
    pub(crate) fn end_execution(&mut self, tag: &[u8], suspended: bool, whole_statement: Option<&Source>) {
        let mut outcome = std::mem::take(&mut self.current);
        outcome.statement = whole_statement.cloned().or_else(|| {
            let (statement, portal) = self.executed.pop_front()?;
            shape(&mut outcome.columns, &portal);
            Some(statement)
        });
        outcome.tag = String::from_utf8_lossy(tag).into_owned();
        outcome.suspended = suspended;
        if self.answer.outcomes.len() < DESCRIBED_MAX && self.afford(64 + tag.len()) {
            self.answer.outcomes.push(outcome);
        } else {
            self.answer.outcomes_left_out += 1;
        }
    }

    pub(crate) fn error(&mut self, body: &[u8], cut: bool) {
        // Rows that came before belong to no outcome.
        self.current = Outcome::default();
        if self.answer.error.is_none() {
            self.answer.error = Some(report(body, cut));
        }
    }

    pub(crate) fn refused(&mut self, sqlstate: &str, message: &str) {
        let message = Text::new(message.as_bytes(), false);
        self.answer.error = Some(Report { severity: "ERROR".to_owned(), sqlstate: sqlstate.to_owned(), message });
    }

    pub(crate) fn notice(&mut self, body: &[u8], cut: bool) {
        let report = report(body, cut);
        if self.answer.notices.len() < DESCRIBED_MAX && self.afford(64 + report.message.text.len()) {
            self.answer.notices.push(report);
        } else {
            self.answer.notices_left_out += 1;
        }
    }

    pub(crate) fn answer(&mut self) -> &mut Answer {
        &mut self.answer
    }

    pub(crate) fn into_answer(self) -> Answer {
        self.answer
    }

    fn afford(&mut self, cost: usize) -> bool {
        let affordable = self.bytes + cost <= DESCRIPTION_BYTES_MAX;
        if affordable {
            self.bytes += cost;
        }
        affordable
    }
}

/// The columns as a portal's rows have them. A statement is described before it is bound, and so without their form, in an
/// earlier unit even; what was described just now may be another statement.
fn shape(columns: &mut Vec<Column>, portal: &Portal) {
    if let Some(row) = portal.row()
        && !columns.iter().map(|column| column.type_oid).eq(row.iter().copied())
    {
        let column = |type_oid: &u32| Column { name: String::new(), type_oid: *type_oid, binary: false };
        *columns = row.iter().map(column).collect();
    }
    for (at, column) in columns.iter_mut().enumerate() {
        column.binary |= portal.is_binary(at);
    }
}

fn column(fields: &mut Fields<'_>) -> Option<Column> {
    let name = String::from_utf8_lossy(fields.string()?).into_owned();
    fields.bytes(6)?;
    let type_oid = fields.u32()?;
    fields.bytes(6)?;
    Some(Column { name, type_oid, binary: fields.i16()? == 1 })
}

/// A message of severity LOG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) detail: String,
    pub(crate) cut: bool,
}

/// Reads a NoticeResponse that is meant for the server's log.
pub(crate) fn log(body: &[u8], cut: bool) -> Option<Log> {
    let mut fields = Fields(body);
    let (mut is_log, mut log) = (false, Log { detail: String::new(), cut });
    while let Some(kind) = fields.u8().filter(|kind| *kind != 0) {
        let (value, _) = fields.string_or_cut();
        match kind {
            b'V' => is_log = value == b"LOG",
            b'D' => log.detail = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
    is_log.then_some(log)
}

/// Reads an ErrorResponse or a NoticeResponse.
pub(crate) fn report(body: &[u8], cut: bool) -> Report {
    let mut fields = Fields(body);
    let (mut severity, mut sqlstate, mut message) = (None, String::new(), Text::new(b"", true));
    while let Some(kind) = fields.u8().filter(|kind| *kind != 0) {
        let (value, missing) = fields.string_or_cut();
        let text = || String::from_utf8_lossy(value).into_owned();
        match kind {
            b'V' => severity = Some(text()),
            b'S' => severity = severity.or_else(|| Some(text())),
            b'C' => sqlstate = text(),
            b'M' => message = Text::new(value, cut && missing),
            _ => {}
        }
    }
    Report { severity: severity.unwrap_or_default(), sqlstate, message }
}

#[cfg(test)]
mod tests {
    use super::{Collector, log, report};
    use crate::bounds::DESCRIBED_MAX;
    use crate::gate::Watch;

    #[test]
    fn a_report_prefers_the_severity_that_is_never_translated() {
        let found = report(b"SFEHLER\0VERROR\0C23505\0Mtwice\0Dx\0\0", false);
        assert_eq!((&*found.severity, &*found.sqlstate), ("ERROR", "23505"));
        assert_eq!(found.message.to_string(), "twice");
        let old = report(b"SERROR\0C0\0", true);
        assert_eq!(&*old.severity, "ERROR");
        assert!(old.message.cut);
    }

    #[test]
    fn what_is_meant_for_the_log_is_told_from_what_is_meant_for_the_client() {
        let tree = log(b"SLOG\0VLOG\0C00000\0Mplan:\0D{PLANNEDSTMT}\0\0", false).expect("a log message");
        assert_eq!((&*tree.detail, tree.cut), ("{PLANNEDSTMT}", false));
        assert_eq!(log(b"SNOTICE\0VNOTICE\0C00000\0Mplan:\0D{PLANNEDSTMT}\0\0", false), None);
        assert!(log(b"VLOG\0D{PLANN", true).expect("a log message").cut);
    }

    #[test]
    fn rows_are_kept_within_their_bound_and_counted_beyond() {
        let mut collector = Collector::new(Watch::Rows { bytes_max: 20 });
        let row = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
        for _ in 0..3 {
            if collector.wants_row(row.len()) {
                collector.row(row);
            }
            collector.count_row();
        }
        collector.end_execution(b"SELECT 3", false, None);
        let answer = collector.into_answer();
        let outcome = &answer.outcomes[0];
        assert_eq!((outcome.rows, outcome.first_rows.len()), (3, 1));
        assert_eq!(outcome.first_rows[0][0].as_deref(), Some(&b"a"[..]));
        assert_eq!(outcome.first_rows[0][1], None);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut collector = Collector::new(Watch::Units);
        for _ in 0..DESCRIBED_MAX + 2 {
            collector.end_execution(b"SELECT 1", false, None);
            collector.notice(b"SNOTICE\0Mhello\0\0", false);
        }
        let answer = collector.into_answer();
        assert_eq!(answer.outcomes.len() as u64 + answer.outcomes_left_out, DESCRIBED_MAX as u64 + 2);
        assert!(answer.notices_left_out > 0);
    }
}
