//! Shows parameters as text. Binary values are decoded where their type is known and simple; the rest is shown as
//! hexadecimal digits, which is certain if not pretty.

use std::fmt::Write;

use crate::fields::Fields;
use crate::statements::Statement;
use crate::unit::{Parameter, Shown, Text};

/// The bytes of one value that are shown.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// The parameters of a Bind message, after its two names; and whether some are missing. If none are, what follows them is
/// left.
pub(crate) fn parameters(fields: &mut Fields<'_>, statement: Option<&Statement>) -> (Vec<Parameter>, bool) {
    match read(fields, statement) {
        (parameters, Some(())) => (parameters, false),
        (parameters, None) => (parameters, true),
    }
}

fn read(fields: &mut Fields<'_>, statement: Option<&Statement>) -> (Vec<Parameter>, Option<()>) {
    let mut parameters = Vec::new();
    let whole = (|| {
        let formats = fields.count()?;
        let formats = fields.bytes(2 * formats)?;
        for number in 0..fields.count()? {
            let binary = is_binary(formats, number);
            let length = fields.i32()?;
            let Ok(length) = usize::try_from(length) else {
                parameters.push(Parameter { value: None, shown: if binary { Shown::Decoded } else { Shown::Text } });
                continue;
            };
            let kept = length.min(fields.0.len());
            let value = fields.bytes(kept)?;
            let type_oid = statement.map_or(0, |statement| statement.type_of(number));
            parameters.push(shown(value, kept < length, binary, type_oid));
            if kept < length {
                return None;
            }
        }
        Some(())
    })();
    (parameters, whole)
}

/// No formats means text for all, one is for all, more are one for each.
fn is_binary(formats: &[u8], number: usize) -> bool {
    let at = if formats.len() == 2 { 0 } else { number };
    formats.get(2 * at + 1) == Some(&1)
}

fn shown(value: &[u8], cut: bool, binary: bool, type_oid: u32) -> Parameter {
    let decoded = if binary && !cut { decoded(value, type_oid) } else { None };
    if let Some(text) = decoded {
        return Parameter { value: Some(text), shown: Shown::Decoded };
    }
    let kept = &value[..value.len().min(VALUE_BYTES_MAX)];
    let cut = cut || kept.len() < value.len();
    if !binary {
        return Parameter { value: Some(Text::new(kept, cut)), shown: Shown::Text };
    }
    let text = Text { text: hex(kept).into(), cut };
    Parameter { value: Some(text), shown: Shown::Hex }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A value in binary form as text, where its type is known and simple; the types' OIDs are fixed in `pg_type.dat`. At most
/// 4 KiB of it are kept.
pub fn decoded(value: &[u8], type_oid: u32) -> Option<Text> {
    let text = match type_oid {
        16 => match value {
            [0] => "false".to_owned(),
            [1] => "true".to_owned(),
            _ => return None,
        },
        20 => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        21 => i16::from_be_bytes(value.try_into().ok()?).to_string(),
        23 => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        26 => u32::from_be_bytes(value.try_into().ok()?).to_string(),
        700 => f32::from_be_bytes(value.try_into().ok()?).to_string(),
        701 => f64::from_be_bytes(value.try_into().ok()?).to_string(),
        // text, name, bpchar, varchar, json: their binary form is their text.
        19 | 25 | 114 | 1042 | 1043 => {
            let kept = &value[..value.len().min(VALUE_BYTES_MAX)];
            return Some(Text::new(kept, kept.len() < value.len()));
        }
        1082 => days(i32::from_be_bytes(value.try_into().ok()?))?,
        1114 | 1184 => moment(i64::from_be_bytes(value.try_into().ok()?), type_oid == 1184)?,
        2950 => uuid(value.try_into().ok()?),
        _ => return None,
    };
    Some(Text { text: text.into(), cut: false })
}

fn uuid(value: [u8; 16]) -> String {
    let digits = hex(&value);
    let digits = &digits[2..];
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

/// A date, from days since 2000-01-01; `None` for what a four-digit year does not hold.
fn days(since_2000: i32) -> Option<String> {
    // Howard Hinnant's days_from_civil, turned around; years begin in March, eras have 400 of them.
    // The era of day 0 begins at 0000-03-01, which is 730,425 days before 2000-01-01.
    let days = i64::from(since_2000) + 730_425;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (1..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// A point in time, from microseconds since 2000-01-01.
fn moment(microseconds: i64, zoned: bool) -> Option<String> {
    const DAY: i64 = 86_400_000_000;
    let date = days(i32::try_from(microseconds.div_euclid(DAY)).ok()?)?;
    let of_day = microseconds.rem_euclid(DAY);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    Some(format!("{date} {time}{fraction}{}", if zoned { "+00" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::{days, moment, parameters};
    use crate::fields::Fields;
    use crate::statements::Statements;
    use crate::unit::{Shown, Text};

    /// Formats, then values.
    fn body(formats: &[i16], values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend((formats.len() as i16).to_be_bytes());
        formats.iter().for_each(|format| body.extend(format.to_be_bytes()));
        body.extend((values.len() as i16).to_be_bytes());
        for value in values {
            body.extend(value.map_or(-1, |value| value.len() as i32).to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        body
    }

    fn shown(formats: &[i16], values: &[Option<&[u8]>], types: &[u32]) -> Vec<(Option<String>, Shown)> {
        let mut statements = Statements::default();
        statements.parse(b"", Text::new(b"", false), types.to_vec());
        let statement = statements.statement(b"");
        let body = body(formats, values);
        let (parameters, cut) = parameters(&mut Fields(&body), statement.as_deref());
        assert!(!cut);
        parameters.into_iter().map(|one| (one.value.map(|text| text.to_string()), one.shown)).collect()
    }

    #[test]
    fn well_known_types_are_decoded_and_others_shown_as_digits() {
        let uuid = [0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11];
        let values: &[Option<&[u8]>] =
            &[Some(&[0, 0, 0, 7]), Some(&[1]), Some(b"long"), Some(&uuid), Some(&[1, 2]), None];
        let texts = ["7", "true", "long", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "\\x0102"];
        let found = shown(&[1], values, &[23, 16, 25, 2950, 600, 23]);
        for (index, text) in texts.into_iter().enumerate() {
            assert_eq!(found[index].0.as_deref(), Some(text));
        }
        assert_eq!(found[4].1, Shown::Hex);
        assert_eq!(found[5].0, None);
    }

    #[test]
    fn a_value_that_does_not_fit_its_type_is_shown_as_digits() {
        assert_eq!(shown(&[1], &[Some(&[1, 2, 3])], &[23]), [(Some("\\x010203".to_owned()), Shown::Hex)]);
    }

    #[test]
    fn each_parameter_has_its_own_format_where_there_are_several() {
        let found = shown(&[0, 1], &[Some(b"12"), Some(&[0, 1])], &[23, 21]);
        assert_eq!(found[0], (Some("12".to_owned()), Shown::Text));
        assert_eq!(found[1], (Some("1".to_owned()), Shown::Decoded));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (since_2000, date) in [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (60, "2000-03-01"),
            (-1, "1999-12-31"),
            (366, "2001-01-01"),
            (9_829, "2026-11-29"),
            (-10_957, "1970-01-01"),
        ] {
            assert_eq!(days(since_2000).as_deref(), Some(date));
        }
        assert_eq!(days(i32::MAX), None);
        assert_eq!(moment(-1, true).as_deref(), Some("1999-12-31 23:59:59.999999+00"));
        assert_eq!(moment(3_661_000_000, false).as_deref(), Some("2000-01-01 01:01:01"));
    }

    #[test]
    fn a_message_that_is_cut_anywhere_says_so() {
        let body = body(&[1, 0], &[Some(&[0, 0, 0, 7]), Some(b"text")]);
        for end in 0..body.len() {
            assert!(parameters(&mut Fields(&body[..end]), None).1, "cut at {end}");
        }
    }
}
