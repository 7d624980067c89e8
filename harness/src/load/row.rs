//! One row of the file: a [`Record`] with a meaning, or everything that is wrong with it.

use std::sync::Arc;

use drift_engine::claim::Claim;
use jiff::civil::Date;

use super::fields::{FIELD_BYTES_MAX, Field, Flaw, Place, Record};

/// The columns of the file, in order.
pub const COLUMNS: [&str; 6] = ["customer", "payer", "cpt_group", "outcome", "submitted_on", "decided_on"];

/// How much of a wrong value a message shows, in characters.
const SHOWN_CHARS_MAX: usize = 40;

/// A claim and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name of the customer.
    pub customer: Arc<str>,
    /// The claim.
    pub claim: Claim,
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {mistake}")]
pub struct Problem {
    /// Where the field begins.
    pub place: Place,
    /// What is wrong with it.
    pub mistake: Mistake,
}

/// The ways in which a file can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// What is expected of the header, and was not found.
    #[error("{0}")]
    Header(String),
    /// A comma too few or too many.
    #[error("the row has {found} fields; it must have {}{hint}", COLUMNS.len(), hint = if *found > COLUMNS.len() { " (a value with a comma in it needs quotes)" } else { "" })]
    FieldCount {
        /// How many there are.
        found: usize,
    },
    /// A field that must say something does not.
    #[error("{column} is empty")]
    Empty {
        /// The column's name.
        column: &'static str,
    },
    /// A field beyond the bound.
    #[error("{column} is longer than {FIELD_BYTES_MAX} bytes")]
    TooLong {
        /// The column's name.
        column: &'static str,
    },
    /// The file ends within quotes.
    #[error("{column} begins with a quote that is never closed")]
    Unclosed {
        /// The column's name.
        column: &'static str,
    },
    /// A quote in the wrong place.
    #[error("{column} goes on after its closing quote (a quote within quotes is written twice)")]
    AfterQuote {
        /// The column's name.
        column: &'static str,
    },
    /// Bytes that are no text.
    #[error("{column} is not UTF-8 text")]
    NotUtf8 {
        /// The column's name.
        column: &'static str,
    },
    /// Text that a database would refuse.
    #[error("{column} contains a NUL character, which PostgreSQL cannot store")]
    Nul {
        /// The column's name.
        column: &'static str,
    },
    /// Not in the form of a date.
    #[error("{column} must be a date written YYYY-MM-DD, not {text:?}")]
    NotADate {
        /// The column's name.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// In the form of a date, but not in the calendar.
    #[error("{column}: there is no day {text}")]
    NoSuchDay {
        /// The column's name.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// Decided before it was asked.
    #[error("decided_on {decided_on} is before submitted_on {submitted_on}")]
    DecidedBeforeSubmitted {
        /// The day of submission.
        submitted_on: Date,
        /// The day of decision.
        decided_on: Date,
    },
}

/// Parses a row; pushes what is wrong with it.
pub fn parse(record: &Record, problems: &mut Vec<Problem>) -> Option<Row> {
    let before = problems.len();
    if record.count() != COLUMNS.len() {
        let unclosed = record.fields().find(|field| field.flaw == Some(Flaw::Unclosed));
        problems.push(match unclosed {
            // The missing fields are within the quotes.
            Some(field) => {
                Problem { place: field.place, mistake: Mistake::Unclosed { column: column_of(record, &field) } }
            }
            None => Problem {
                place: record.fields().nth(COLUMNS.len()).map_or(record.end(), |extra| extra.place),
                mistake: Mistake::FieldCount { found: record.count() },
            },
        });
        return None;
    }
    let mut fields = record.fields();
    let fields: [Field<'_>; 6] = std::array::from_fn(|_| fields.next().expect("six fields were counted"));
    let [customer, payer, cpt_group, outcome, submitted_on, decided_on] = &fields;
    let [customer_name, payer_name, cpt_group_name, outcome_name, submitted_on_name, decided_on_name] = COLUMNS;
    let decided_place = decided_on.place;

    let customer = noted(problems, customer, name(customer, customer_name));
    let payer = noted(problems, payer, name(payer, payer_name));
    let cpt_group = noted(problems, cpt_group, name(cpt_group, cpt_group_name));
    let outcome = noted(problems, outcome, checked(outcome, outcome_name).map(Arc::from));
    let submitted_on = noted(problems, submitted_on, day(submitted_on, submitted_on_name));
    let decided_on = match decided_on {
        Field { bytes: b"", flaw: None, .. } => Some(None),
        field => noted(problems, field, day(field, decided_on_name)).map(Some),
    };
    if let (Some(submitted_on), Some(Some(decided_on))) = (submitted_on, decided_on)
        && decided_on < submitted_on
    {
        let mistake = Mistake::DecidedBeforeSubmitted { submitted_on, decided_on };
        problems.push(Problem { place: decided_place, mistake });
    }
    if problems.len() > before {
        return None;
    }
    let claim = Claim {
        payer: payer?,
        cpt_group: cpt_group?,
        outcome: outcome?,
        submitted_on: submitted_on?,
        decided_on: decided_on?,
    };
    Some(Row { customer: customer?, claim })
}

/// Keeps what is right, and writes down what is not.
fn noted<T>(problems: &mut Vec<Problem>, field: &Field<'_>, result: Result<T, Mistake>) -> Option<T> {
    result.map_err(|mistake| problems.push(Problem { place: field.place, mistake })).ok()
}

fn column_of(record: &Record, field: &Field<'_>) -> &'static str {
    let index = record.fields().position(|other| other == *field);
    index.and_then(|index| COLUMNS.get(index)).unwrap_or(&"a field")
}

/// The field's text, if it is sound.
fn checked<'a>(field: &Field<'a>, column: &'static str) -> Result<&'a str, Mistake> {
    match field.flaw {
        Some(Flaw::TooLong) => return Err(Mistake::TooLong { column }),
        Some(Flaw::Unclosed) => return Err(Mistake::Unclosed { column }),
        Some(Flaw::AfterQuote) => return Err(Mistake::AfterQuote { column }),
        None => {}
    }
    let text = str::from_utf8(field.bytes).map_err(|_| Mistake::NotUtf8 { column })?;
    if text.contains('\0') { Err(Mistake::Nul { column }) } else { Ok(text) }
}

/// The text of a field that must not be blank.
fn name(field: &Field<'_>, column: &'static str) -> Result<Arc<str>, Mistake> {
    match checked(field, column)? {
        text if text.trim().is_empty() => Err(Mistake::Empty { column }),
        text => Ok(text.into()),
    }
}

fn day(field: &Field<'_>, column: &'static str) -> Result<Date, Mistake> {
    let text = checked(field, column)?;
    parse_date(text).map_err(|wrong| match wrong {
        DateError::NotADate(_) if text.is_empty() => Mistake::Empty { column },
        DateError::NotADate(text) => Mistake::NotADate { column, text },
        DateError::NoSuchDay(text) => Mistake::NoSuchDay { column, text },
    })
}

/// Why a text is no date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Not in the form.
    #[error("a date is written YYYY-MM-DD, not {0:?}")]
    NotADate(String),
    /// Not in the calendar of the years 1 to 9999, which both databases have.
    #[error("there is no day {0}")]
    NoSuchDay(String),
}

/// Parses a date in the one form that is allowed, `YYYY-MM-DD`, from year 1 to 9999.
///
/// # Errors
/// Another form, or no such day.
pub fn parse_date(text: &str) -> Result<Date, DateError> {
    let shown = || text.chars().take(SHOWN_CHARS_MAX).collect();
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else {
        return Err(DateError::NotADate(shown()));
    };
    let number = |digits: &[u8]| {
        digits
            .iter()
            .try_fold(0_i16, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i16::from(digit - b'0')))
    };
    let (Some(year), Some(month), Some(day)) = (number(&[y1, y2, y3, y4]), number(&[m1, m2]), number(&[d1, d2])) else {
        return Err(DateError::NotADate(shown()));
    };
    let part = |number: i16| i8::try_from(number).expect("two digits are below 100");
    match Date::new(year, part(month), part(day)) {
        Ok(date) if year >= 1 => Ok(date),
        _ => Err(DateError::NoSuchDay(shown())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::fields::Records;
    use jiff::civil::date;

    fn parse_line(line: &str) -> Result<Row, Vec<String>> {
        let mut records = Records::new(line.as_bytes()).expect("readable");
        let mut record = Record::default();
        assert!(records.read(&mut record).expect("readable"));
        let mut problems = Vec::new();
        let row = parse(&record, &mut problems);
        row.ok_or_else(|| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn a_sound_row_is_a_claim() {
        let row = parse_line("Acme,Aetna,mri,PAID,2024-02-29,2024-03-01").expect("sound");
        let claim = Claim {
            payer: "Aetna".into(),
            cpt_group: "mri".into(),
            outcome: "PAID".into(),
            submitted_on: date(2024, 2, 29),
            decided_on: Some(date(2024, 3, 1)),
        };
        assert_eq!(row, Row { customer: "Acme".into(), claim });
        assert_eq!(parse_line("a,b,c,,2024-01-01,").expect("sound").claim.decided_on, None);
    }

    #[test]
    fn every_mistake_of_a_row_is_named_with_its_place() {
        let wrong = |line: &str| parse_line(line).expect_err(line);
        assert_eq!(
            wrong(" ,,mri,PAID,2023-02-29,tomorrow"),
            [
                "1:1: customer is empty",
                "1:3: payer is empty",
                "1:13: submitted_on: there is no day 2023-02-29",
                "1:24: decided_on must be a date written YYYY-MM-DD, not \"tomorrow\"",
            ]
        );
        assert_eq!(wrong("a,b,c,PAID,,"), ["1:12: submitted_on is empty"]);
        assert_eq!(wrong("a,b,c,PAID,0000-01-01,"), ["1:12: submitted_on: there is no day 0000-01-01"]);
        assert_eq!(
            wrong("a,b,c,PAID,2024-01-02,2024-01-01"),
            ["1:23: decided_on 2024-01-01 is before submitted_on 2024-01-02"]
        );
        assert_eq!(
            wrong("a,b,c\0,\"PAID\"?,2024-1-2,20240103"),
            [
                "1:5: cpt_group contains a NUL character, which PostgreSQL cannot store",
                "1:8: outcome goes on after its closing quote (a quote within quotes is written twice)",
                "1:16: submitted_on must be a date written YYYY-MM-DD, not \"2024-1-2\"",
                "1:25: decided_on must be a date written YYYY-MM-DD, not \"20240103\"",
            ]
        );
    }

    #[test]
    fn a_wrong_number_of_fields_is_shown_where_they_end_or_exceed() {
        let wrong = |line: &str| parse_line(line).expect_err(line);
        assert_eq!(wrong("a,b,c"), ["1:6: the row has 3 fields; it must have 6"]);
        assert_eq!(
            wrong("Acme, Inc.,b,c,PAID,2024-01-01,"),
            ["1:32: the row has 7 fields; it must have 6 (a value with a comma in it needs quotes)"]
        );
        assert_eq!(wrong("a,\"b,c,PAID,2024-01-01,\n"), ["1:3: payer begins with a quote that is never closed"]);
    }
}
