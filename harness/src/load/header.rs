//! The first line of the file: it must name exactly the columns, in order.

use super::fields::{Place, Record, START};
use super::row::{COLUMNS, Mistake, Problem};

/// What is wrong with a file that has no first line.
pub fn empty() -> Vec<Problem> {
    let what = format!("the file is empty; its first line must be the header {}", COLUMNS.join(","));
    vec![Problem { place: START, mistake: Mistake::Header(what) }]
}

/// Compares a header with what it must be; everything that differs is named.
pub fn check(header: &Record) -> Vec<Problem> {
    let names: Vec<(String, Place)> =
        header.fields().map(|field| (String::from_utf8_lossy(field.bytes).into_owned(), field.place)).collect();
    if header.count() == COLUMNS.len() && names.iter().map(|(name, _)| name.as_str()).eq(COLUMNS) {
        return Vec::new();
    }
    let whole = |what: String| vec![Problem { place: START, mistake: Mistake::Header(what) }];
    let expected = COLUMNS.join(",");
    if let [(only, _), ..] = &names[..] {
        if only.contains('\0') || header.fields().next().is_some_and(|f| f.bytes.starts_with(b"\xff\xfe")) {
            return whole("the file is not UTF-8 text (it looks like UTF-16; save it as UTF-8)".to_owned());
        }
        let delimiters = [(';', "semicolons"), ('\t', "tabs"), ('|', "vertical bars")];
        let used = delimiters.into_iter().find(|(delimiter, _)| only.contains(*delimiter));
        if let (1, Some((_, delimiters))) = (names.len(), used) {
            return whole(format!("the columns are separated by {delimiters}; they must be separated by commas"));
        }
    }
    if !names.iter().any(|(name, _)| meant(name).is_some()) {
        return whole(format!("the first line must be the header {expected}"));
    }
    let mut problems = Vec::new();
    let mut wrong = |place, what: String| problems.push(Problem { place, mistake: Mistake::Header(what) });
    for (index, (name, place)) in names.iter().enumerate() {
        match meant(name) {
            Some(column) if column != name => wrong(*place, format!("the column {name:?} must be written {column}")),
            Some(column) if names[..index].iter().any(|(earlier, _)| earlier == column) => {
                wrong(*place, format!("the column {column} is there twice"));
            }
            Some(_) => {}
            None => wrong(*place, format!("there is no column {name:?} in a file of claims")),
        }
    }
    let missing: Vec<_> =
        COLUMNS.into_iter().filter(|column| !names.iter().any(|(name, _)| meant(name) == Some(*column))).collect();
    for column in &missing {
        wrong(START, format!("the column {column} is missing"));
    }
    if problems.is_empty() {
        let differs = names.iter().zip(COLUMNS).find(|((name, _), column)| name != column);
        let place = differs.map_or(START, |((_, place), _)| *place);
        wrong_order(&mut problems, place, &expected);
    }
    problems
}

fn wrong_order(problems: &mut Vec<Problem>, place: Place, expected: &str) {
    let what = format!("the columns are in another order; it must be {expected}");
    problems.push(Problem { place, mistake: Mistake::Header(what) });
}

/// The column that a name stands for, whatever its case and the space around it.
fn meant(name: &str) -> Option<&'static str> {
    COLUMNS.into_iter().find(|column| name.trim().eq_ignore_ascii_case(column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::fields::Records;

    fn problems(header: &[u8]) -> Vec<String> {
        let mut record = Record::default();
        assert!(Records::new(header).and_then(|mut r| r.read(&mut record)).expect("readable"));
        check(&record).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn exactly_the_columns_are_accepted_with_or_without_quotes_and_byte_order_mark() {
        assert!(problems(b"customer,payer,cpt_group,outcome,submitted_on,decided_on\r\n").is_empty());
        assert!(problems(b"\xef\xbb\xbf\"customer\",payer,cpt_group,outcome,submitted_on,decided_on").is_empty());
    }

    #[test]
    fn what_differs_is_named() {
        let cases: [(&str, &[&str]); 7] = [
            ("customer,payer,cpt_group,outcome,submitted_on", &["1:1: the column decided_on is missing"]),
            (
                "customer,payer,cpt_group,outcome,submitted_on,decided_on,note",
                &["1:58: there is no column \"note\" in a file of claims"],
            ),
            (
                "customer,cpt_group,payer,outcome,submitted_on,decided_on",
                &["1:10: the columns are in another order; it must be \
                   customer,payer,cpt_group,outcome,submitted_on,decided_on"],
            ),
            (
                "customer,Payer, cpt_group,outcome,outcome,submitted_on,decided_on",
                &[
                    "1:10: the column \"Payer\" must be written payer",
                    "1:16: the column \" cpt_group\" must be written cpt_group",
                    "1:35: the column outcome is there twice",
                ],
            ),
            (
                "customer;payer;cpt_group;outcome;submitted_on;decided_on",
                &["1:1: the columns are separated by semicolons; they must be separated by commas"],
            ),
            (
                "acme,aetna,mri,PAID,2024-01-01,",
                &["1:1: the first line must be the header customer,payer,cpt_group,outcome,submitted_on,decided_on"],
            ),
            (
                "customer,payer,cpt_code,outcome,submitted_on,decided_on",
                &["1:16: there is no column \"cpt_code\" in a file of claims", "1:1: the column cpt_group is missing"],
            ),
        ];
        for (header, expected) in cases {
            assert_eq!(problems(header.as_bytes()), expected, "{header}");
        }
    }

    #[test]
    fn utf_16_is_recognised() {
        assert!(problems(b"\xff\xfec\0u\0")[0].contains("UTF-16"));
    }
}
