//! What a client's messages mean.

use crate::bounds::{COLUMNS_MAX, DESCRIBED_MAX, DESCRIPTION_BYTES_MAX};
use crate::fields::Fields;
use crate::parameter::parameters;
use crate::statements::Statements;
use crate::unit::{Parameter, Source, Step, Text};

/// Describes one message. `cut` says that the message goes on behind `body`; `bytes` is its whole length.
pub(crate) fn step(tag: u8, body: &[u8], cut: bool, bytes: u64, statements: &mut Statements) -> Step {
    let mut fields = Fields(body);
    known(tag, &mut fields, cut, statements).unwrap_or(Step::Unknown { tag, bytes })
}

fn known(tag: u8, fields: &mut Fields<'_>, cut: bool, statements: &mut Statements) -> Option<Step> {
    let step = match tag {
        b'Q' => {
            let (text, missing) = fields.string_or_cut();
            Step::Query { text: Text::new(text, cut && missing) }
        }
        b'P' => {
            let name = fields.string()?;
            let (text, missing) = fields.string_or_cut();
            let text = Text::new(text, cut && missing);
            let types = (0..fields.count().unwrap_or(0)).map_while(|_| fields.u32()).collect();
            statements.parse(name, text.clone(), types);
            Step::Parse { name: Text::new(name, false), text }
        }
        b'B' => {
            let (portal, name) = (fields.string()?, fields.string()?);
            let statement = statements.statement(name);
            let (parameters, cut) = parameters(fields, statement.as_deref());
            // Behind parameters that are cut nothing can be read.
            let formats = if cut { 0 } else { fields.count().unwrap_or(0).min(COLUMNS_MAX) };
            let formats = (0..formats).map_while(|_| fields.i16().map(|format| format == 1)).collect();
            statements.bind(portal, statement.clone(), formats);
            Step::Bind {
                portal: Text::new(portal, false),
                name: Text::new(name, false),
                statement: statements.source(statement.as_ref()),
                parameters,
                cut,
            }
        }
        b'D' | b'C' => {
            let portal = match fields.u8()? {
                b'P' => true,
                b'S' => false,
                _ => return None,
            };
            let name = fields.string()?;
            let text = Text::new(name, false);
            if tag == b'C' {
                statements.close(portal, name);
                Step::Close { portal, name: text }
            } else {
                if !portal {
                    statements.describe_statement(name);
                }
                Step::Describe { portal, name: text }
            }
        }
        b'E' => {
            let portal = fields.string()?;
            let rows_max = fields.i32().map_or(0, |rows| u32::try_from(rows).unwrap_or(0));
            let statement = statements.portal(portal).statement;
            Step::Execute {
                portal: Text::new(portal, false),
                statement: statements.source(statement.as_ref()),
                rows_max,
            }
        }
        b'S' => Step::Sync,
        b'H' => Step::Flush,
        b'F' => Step::FunctionCall { oid: fields.u32()? },
        b'c' => Step::CopyDone,
        b'f' => {
            let (message, missing) = fields.string_or_cut();
            Step::CopyFail { message: Text::new(message, cut && missing) }
        }
        _ => return None,
    };
    Some(step)
}

/// The steps of a unit, within bounds.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) steps: Vec<Step>,
    pub(crate) left_out: u64,
    bytes: usize,
}

impl Steps {
    pub(crate) fn push(&mut self, step: Step) {
        let cost = cost(&step);
        if self.steps.len() >= DESCRIBED_MAX || self.bytes + cost > DESCRIPTION_BYTES_MAX {
            self.left_out += 1;
        } else {
            self.bytes += cost;
            self.steps.push(step);
        }
    }

    /// Adds data of a COPY to the step before, if that is such data too.
    pub(crate) fn push_copy_data(&mut self, data: u64) {
        if let Some(Step::CopyData { messages, bytes }) = self.steps.last_mut() {
            *messages += 1;
            *bytes += data;
        } else {
            self.push(Step::CopyData { messages: 1, bytes: data });
        }
    }
}

/// The bytes of text in a step. Statements' texts are shared, and have a bound of their own.
fn cost(step: &Step) -> usize {
    let source = |source: &Source| source.text().map_or(0, str::len).min(64);
    let value = |one: &Parameter| 48 + one.value.as_ref().map_or(0, |text| text.text.len());
    match step {
        Step::Query { text } => text.text.len(),
        Step::Parse { name, text } => name.text.len() + text.text.len(),
        Step::Bind { portal, name, statement, parameters, .. } => {
            portal.text.len() + name.text.len() + source(statement) + parameters.iter().map(value).sum::<usize>()
        }
        Step::Execute { portal, statement, .. } => portal.text.len() + source(statement),
        Step::Describe { name, .. } | Step::Close { name, .. } => name.text.len(),
        Step::CopyFail { message } => message.text.len(),
        Step::Sync
        | Step::Flush
        | Step::CopyDone
        | Step::CopyData { .. }
        | Step::FunctionCall { .. }
        | Step::Unknown { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Steps, step};
    use crate::bounds::{DESCRIBED_MAX, DESCRIPTION_BYTES_MAX};
    use crate::statements::Statements;
    use crate::unit::{Source, Step, Text};

    fn text(text: &str) -> Text {
        Text::new(text.as_bytes(), false)
    }

    #[test]
    fn an_executed_portal_is_named_by_its_statement() {
        let mut statements = Statements::default();
        step(b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x17", false, 0, &mut statements);
        let bind = step(b'B', b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x05\0\0", false, 0, &mut statements);
        let Step::Bind { parameters, cut, .. } = bind else { panic!("{bind:?}") };
        assert_eq!(parameters[0].value, Some(text("5")));
        assert!(!cut);
        let execute = step(b'E', b"p\0\0\0\0\x07", false, 0, &mut statements);
        let statement = Source::Known(text("SELECT $1"));
        assert_eq!(execute, Step::Execute { portal: text("p"), statement, rows_max: 7 });
    }

    #[test]
    fn what_is_no_such_message_is_marked_and_not_guessed() {
        let mut statements = Statements::default();
        for (tag, body) in [(b'z', &b"abc"[..]), (b'P', b"no end"), (b'D', b"Xname\0"), (b'F', b"")] {
            assert_eq!(step(tag, body, false, 9, &mut statements), Step::Unknown { tag, bytes: 9 });
        }
    }

    #[test]
    fn a_query_that_goes_on_is_cut_and_says_so() {
        let query = step(b'Q', b"SELECT", true, 100, &mut Statements::default());
        assert_eq!(query, Step::Query { text: Text::new(b"SELECT", true) });
        assert_eq!(text("a").to_string() + &Text::new(b"b", true).to_string(), "ab…");
    }

    #[test]
    fn a_description_has_bounds_and_counts_what_it_leaves_out() {
        let mut steps = Steps::default();
        for _ in 0..DESCRIBED_MAX + 3 {
            steps.push(Step::Sync);
        }
        assert_eq!((steps.steps.len(), steps.left_out), (DESCRIBED_MAX, 3));
        let mut steps = Steps::default();
        let long = "x".repeat(DESCRIPTION_BYTES_MAX / 2 + 1);
        steps.push(Step::Query { text: text(&long) });
        steps.push(Step::Query { text: text(&long) });
        assert_eq!((steps.steps.len(), steps.left_out), (1, 1));
    }
}
