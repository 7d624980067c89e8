//! Units of an application as people read them, and as two executions are compared by them.

use std::collections::BTreeMap;

use bytes::Bytes;
use drift_engine::lock::Backend;
use driftlock_wire::{Answer, Column, Parameter, Shown, Source, Step, Unit};

use crate::app::units::{self, keeps, rows_of_tag};
use crate::explore::statement::CHANGES_ROWS;
use crate::explore::world::{Done, What};
use crate::scenario::application::Application;
use crate::scenario::script::{Script, ScriptActor, ScriptCase, ScriptStep};
use crate::sql::shortened;

/// The most rows of an answer that are shown.
const ROWS_SHOWN: usize = 4;
/// The longest value that is shown, in characters.
const VALUE_CHARS_MAX: usize = 60;

/// The SQL of a unit with its parameters filled in; what has none in words.
pub(super) fn shown(unit: &Unit) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut bound: &[Parameter] = &[];
    let executes = runs(unit);
    for step in &unit.steps {
        match step {
            Step::Query { text } => parts.push(text.to_string()),
            Step::Parse { text, .. } if !executes => parts.push(format!("(prepare) {text}")),
            Step::Bind { parameters, .. } => bound = parameters,
            Step::Execute { statement, .. } => parts.push(match statement {
                Source::Known(text) => filled(&text.to_string(), bound),
                Source::NotSeen => "(a cursor or a prepared statement of its own)".to_owned(),
                Source::Forgotten => "(a prepared statement whose text was forgotten)".to_owned(),
            }),
            Step::FunctionCall { oid } => parts.push(format!("(call of function {oid})")),
            Step::CopyData { bytes, .. } => parts.push(format!("(COPY data, {bytes} bytes)")),
            Step::CopyFail { message } => parts.push(format!("(COPY given up: {message})")),
            Step::Unknown { tag, .. } => parts.push(format!("(message {:?})", char::from(*tag))),
            _ => {}
        }
    }
    if parts.is_empty() { "(protocol only)".to_owned() } else { parts.join("; ") }
}

/// Whether a text that [`shown`] gives is that of statements which the server could refuse when it runs them.
pub(super) fn is_refusable(sql: &str) -> bool {
    let none = ["(prepare) ", "(protocol only)", "(a cursor or a ", "(a prepared statement ", "(call of function "];
    !none.iter().any(|beginning| sql.starts_with(beginning))
}

/// Whether a unit runs something: one that only prepares does not.
pub(super) fn runs(unit: &Unit) -> bool {
    let runs = |step: &Step| {
        matches!(
            step,
            Step::Query { .. }
                | Step::Execute { .. }
                | Step::FunctionCall { .. }
                | Step::CopyData { .. }
                | Step::CopyDone
                | Step::CopyFail { .. }
                | Step::Unknown { .. }
        )
    };
    unit.steps_left_out > 0 || !unit.whole || unit.steps.iter().any(runs)
}

/// Puts parameters in the place of `$1`, `$2` and so on, outside of quotes.
fn filled(text: &str, parameters: &[Parameter]) -> String {
    let mut filled = String::new();
    let (mut quote, mut rest) = (None, text);
    while let Some(c) = rest.chars().next() {
        let (one, after) = rest.split_at(c.len_utf8());
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '$') => {
                let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let number = after[..digits].parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                if let Some(parameter) = number.and_then(|number| parameters.get(number)) {
                    filled.push_str(&literal(parameter));
                    rest = &after[digits..];
                    continue;
                }
            }
            _ => {}
        }
        filled.push_str(one);
        rest = after;
    }
    filled
}

fn literal(parameter: &Parameter) -> String {
    match &parameter.value {
        None => "NULL".to_owned(),
        Some(value) if parameter.shown == Shown::Hex => format!("'\\x{value}'"),
        Some(value) => {
            let text = short(&value.to_string());
            let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '-' || c == '.');
            if is_number { text } else { format!("'{}'", text.replace('\'', "''")) }
        }
    }
}

fn short(text: &str) -> String {
    shortened(text, VALUE_CHARS_MAX)
}

/// A unit less what may differ by itself: literals, and digits wherever they stand, for names are generated too. Nothing of
/// its parameters but their number.
pub(super) fn shape(unit: &Unit) -> String {
    // Drivers prepare a statement once they have sent it a few times: that makes no difference.
    let executes = runs(unit);
    let step = |step: &Step| match step {
        Step::Query { text } => units::plain(&text.text),
        Step::Parse { .. } if executes => String::new(),
        Step::Parse { text, .. } => format!("parse {}", units::plain(&text.text)),
        Step::Bind { parameters, .. } => format!("bind {}", parameters.len()),
        Step::Execute { statement, .. } => {
            format!("execute {}", statement.text().map(units::plain).unwrap_or_default())
        }
        Step::FunctionCall { oid } => format!("call {oid}"),
        Step::CopyData { .. } => "data".to_owned(),
        Step::CopyFail { .. } => "give up".to_owned(),
        Step::Unknown { tag, .. } => format!("unknown {tag}"),
        Step::Describe { .. } | Step::Close { .. } | Step::Sync | Step::Flush | Step::CopyDone => String::new(),
    };
    let steps = unit.steps.iter().map(step).filter(|step| !step.is_empty());
    steps.collect::<Vec<_>>().join("; ")
}

/// Whether a command's tag tells of rows that were changed.
pub(super) fn changes(tag: &str) -> bool {
    let command = tag.split(' ').next().unwrap_or_default();
    CHANGES_ROWS.contains(&command) && rows_of_tag(tag).is_some_and(|rows| rows > 0)
}

/// What came of a unit. Its rows are counted only: what they hold may differ by itself.
pub(super) fn came(unit: &Unit, answer: &Answer) -> What {
    if let Some(error) = &answer.error {
        return What::Failed { code: error.sqlstate.clone(), message: error.message.to_string() };
    }
    let affected = answer.outcomes.iter().rev().find_map(|outcome| rows_of_tag(&outcome.tag));
    let rolled_back = answer.outcomes.iter().any(|outcome| outcome.tag == "ROLLBACK") && keeps(unit);
    What::Done(Done { rows: Vec::new(), affected, rolled_back })
}

/// The first rows of an answer, for people.
pub(super) fn rows(answer: &Answer) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for outcome in &answer.outcomes {
        for row in outcome.first_rows.iter().take(ROWS_SHOWN) {
            let value = |(at, value): (usize, &Option<Bytes>)| match value {
                None => "NULL".to_owned(),
                Some(value) => short(&text(value, outcome.columns.get(at))),
            };
            rows.push(row.iter().enumerate().map(value).collect());
        }
        if outcome.rows > ROWS_SHOWN as u64 && !rows.is_empty() {
            rows.push(vec![format!("… {} rows", outcome.rows)]);
        }
    }
    rows
}

/// A value as text: as it came, or decoded where its type is one of the simple ones.
fn text(value: &[u8], column: Option<&Column>) -> String {
    let decoded = column.filter(|column| column.binary).and_then(|column| match (column.type_oid, value) {
        // As in its text form, which other drivers ask for.
        (16, [1]) => Some("t".to_owned()),
        (16, _) => Some("f".to_owned()),
        (type_oid, _) => driftlock_wire::decoded(value, type_oid).map(|text| text.to_string()),
    });
    decoded.unwrap_or_else(|| match std::str::from_utf8(value) {
        Ok(text) if !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') => text.to_owned(),
        _ => format!("\\x{}", value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    })
}

/// The same as [`script`], with texts that do not differ by the values in them: by these it is seen what is done again.
pub(super) fn plain(app: &Application, units: &BTreeMap<(usize, usize), super::Shown>) -> Script {
    let plain = |of: &super::Shown| super::Shown { sql: units::plain(&of.sql).replace('?', "0"), rows: Vec::new() };
    script(app, &units.iter().map(|(at, of)| (*at, plain(of))).collect())
}

/// The units of an execution, by actor and step, as the steps of a script: what shows scripts shows these too.
pub(super) fn script(app: &Application, units: &BTreeMap<(usize, usize), super::Shown>) -> Script {
    let step = |(number, sql): (usize, &str)| ScriptStep {
        name: (number + 1).to_string(),
        sql: sql.to_owned(),
        ..ScriptStep::default()
    };
    let actor = |(number, name): (usize, &str)| ScriptActor {
        name: name.to_owned(),
        steps: units.range((number, 0)..(number + 1, 0)).map(|((_, at), unit)| step((*at, &unit.sql))).collect(),
        goes_on: true,
        ..ScriptActor::default()
    };
    let case = ScriptCase {
        name: app.name.clone(),
        backend: Backend::Postgres,
        begin: String::new(),
        violates: app.violates.clone(),
        set: BTreeMap::new(),
    };
    Script {
        name: app.name.clone(),
        summary: app.summary.clone(),
        actors: app.actors.iter().map(|actor| &*actor.name).enumerate().map(actor).collect(),
        cases: vec![case],
        ..Script::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(text: &str) -> Parameter {
        let value = driftlock_wire::Text { text: text.into(), cut: false };
        Parameter { value: Some(value), shown: Shown::Text }
    }

    #[test]
    fn parameters_are_filled_in_outside_of_quotes() {
        let parameters = [parameter("7"), parameter("it's")];
        assert_eq!(filled("SELECT '$1', $1, $2, $3", &parameters), "SELECT '$1', 7, 'it''s', $3");
        assert_eq!(filled("SELECT $", &parameters), "SELECT $");
    }

    #[test]
    fn binary_values_are_decoded_where_their_type_is_known() {
        let column = |type_oid| Column { name: String::new(), type_oid, binary: true };
        assert_eq!(text(&[0, 0, 1, 0], Some(&column(23))), "256");
        assert_eq!(text(b"ab", None), "ab");
        assert_eq!(text(&[0, 255], None), "\\x00ff");
    }
}
