//! Splits CSV (RFC 4180) into fields, each with its place in the file, in bounded memory.
//!
//! The `csv` crate knows the line on which a record begins, but not where a field is; it gathers a
//! quoted field that is never closed to the end of the file, whatever its size, and takes text
//! after a closing quote for part of the field. A message that points at the mistake, and a bound,
//! need a reader of our own; a property test holds it to what that crate reads.

use std::fmt;
use std::io::{self, BufRead, ErrorKind};
use std::ops::Range;

/// The longest field, in bytes. Names are keys of indexes, and an entry of a PostgreSQL B-tree
/// index holds 2,704 bytes, in which payer, procedure group and run id must fit together.
pub const FIELD_BYTES_MAX: usize = 500;
/// How many fields of a record are kept; the rest is counted.
const FIELDS_KEPT_MAX: usize = 64;

const BOM: [u8; 3] = *b"\xef\xbb\xbf";

/// A place in a text file; line and column count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// The beginning of a file.
pub const START: Place = Place { line: 1, column: 1 };

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What can be wrong with a field before anything is known of its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Longer than [`FIELD_BYTES_MAX`]; only its beginning was kept.
    TooLong,
    /// It begins with a quote, and the file ends before the closing one.
    Unclosed,
    /// Something other than a comma or a line's end follows the closing quote.
    AfterQuote,
}

/// One field of a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its text, without the quotes.
    pub bytes: &'a [u8],
    /// Where it begins.
    pub place: Place,
    /// What is wrong with it, if anything.
    pub flaw: Option<Flaw>,
}

/// The fields between two line ends. Reused from one to the next.
#[derive(Debug)]
pub struct Record {
    bytes: Vec<u8>,
    fields: Vec<(Range<usize>, Place, Option<Flaw>)>,
    count: usize,
    end: Place,
}

impl Default for Record {
    fn default() -> Self {
        Self { bytes: Vec::new(), fields: Vec::with_capacity(8), count: 0, end: START }
    }
}

impl Record {
    /// The number of fields in the file.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Where the last field ends.
    pub fn end(&self) -> Place {
        self.end
    }

    /// The fields, in order: the first 64 of them, if there are more.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        self.fields.iter().map(|(range, place, flaw)| Field {
            bytes: &self.bytes[range.clone()],
            place: *place,
            flaw: *flaw,
        })
    }
}

/// How a field ended.
#[derive(PartialEq, Eq)]
enum End {
    Comma,
    Line,
    File,
}

/// Reads records from `R`.
pub struct Records<R> {
    input: R,
    place: Place,
    after_cr: bool,
}

impl<R: BufRead> Records<R> {
    /// Starts at the beginning of a file; a byte order mark is skipped.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn new(input: R) -> io::Result<Self> {
        let mut records = Self { input, place: START, after_cr: false };
        for byte in BOM {
            if records.peek()? != Some(byte) {
                break;
            }
            records.input.consume(1);
        }
        Ok(records)
    }

    /// Reads the next record; false at the end of the file. Empty lines are skipped.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn read(&mut self, record: &mut Record) -> io::Result<bool> {
        record.bytes.clear();
        record.fields.clear();
        record.count = 0;
        while let Some(b'\r' | b'\n') = self.peek()? {
            self.next()?;
        }
        if self.peek()?.is_none() {
            return Ok(false);
        }
        while self.field(record)? == End::Comma {}
        Ok(true)
    }

    fn field(&mut self, record: &mut Record) -> io::Result<End> {
        let place = self.place;
        let start = record.bytes.len();
        let mut flaw = None;
        let (bytes, is_kept) = (&mut record.bytes, record.count < FIELDS_KEPT_MAX);
        let mut keep = |byte, flaw: &mut Option<Flaw>| {
            if bytes.len() - start == FIELD_BYTES_MAX {
                flaw.get_or_insert(Flaw::TooLong);
            } else if is_kept {
                bytes.push(byte);
            }
        };
        let quoted = self.peek()? == Some(b'"');
        if quoted {
            self.next()?;
            loop {
                match self.next()? {
                    Some(b'"') if self.peek()? == Some(b'"') => {
                        self.next()?;
                        keep(b'"', &mut flaw);
                    }
                    Some(b'"') => break,
                    Some(byte) => keep(byte, &mut flaw),
                    None => {
                        flaw = Some(Flaw::Unclosed);
                        break;
                    }
                }
            }
        }
        let end = loop {
            record.end = self.place;
            match self.next()? {
                Some(b',') => break End::Comma,
                Some(b'\n') => break End::Line,
                Some(b'\r') => {
                    if self.peek()? == Some(b'\n') {
                        self.next()?;
                    }
                    break End::Line;
                }
                Some(byte) => {
                    if quoted {
                        flaw.get_or_insert(Flaw::AfterQuote);
                    }
                    keep(byte, &mut flaw);
                }
                None => break End::File,
            }
        };
        if is_kept {
            record.fields.push((start..record.bytes.len(), place, flaw));
        }
        record.count += 1;
        Ok(end)
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the next byte. A line ends with LF, CR LF or a lone CR.
    fn next(&mut self) -> io::Result<Option<u8>> {
        let Some(byte) = self.peek()? else { return Ok(None) };
        self.input.consume(1);
        match byte {
            b'\n' if self.after_cr => {}
            b'\n' | b'\r' => self.place = Place { line: self.place.line + 1, column: 1 },
            // A continuation byte of UTF-8 does not begin a character.
            0x80..=0xbf => {}
            _ => self.place.column += 1,
        }
        self.after_cr = byte == b'\r';
        Ok(Some(byte))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    type Plain = Vec<(String, (u64, u64), Option<Flaw>)>;

    fn read_all(text: &[u8]) -> Vec<Plain> {
        let mut records = Records::new(text).expect("a slice can be read");
        let (mut record, mut all) = (Record::default(), Vec::new());
        while records.read(&mut record).expect("a slice can be read") {
            let plain =
                |f: Field<'_>| (String::from_utf8_lossy(f.bytes).into_owned(), (f.place.line, f.place.column), f.flaw);
            all.push(record.fields().map(plain).collect());
        }
        all
    }

    fn texts(text: &[u8]) -> Vec<Vec<String>> {
        read_all(text).into_iter().map(|r| r.into_iter().map(|(text, ..)| text).collect()).collect()
    }

    #[test]
    fn lines_and_columns_are_right_after_quoted_line_ends_and_wide_characters() {
        let read = read_all("\u{feff}a,\"x\r\ny\",é,b\r\n\r\nc,\"d\"\"e\"".as_bytes());
        let expected: Vec<Plain> = vec![
            vec![
                ("a".into(), (1, 1), None),
                ("x\r\ny".into(), (1, 3), None),
                ("é".into(), (2, 4), None),
                ("b".into(), (2, 6), None),
            ],
            vec![("c".into(), (4, 1), None), ("d\"e".into(), (4, 3), None)],
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_lone_carriage_return_ends_a_line() {
        assert_eq!(texts(b"a,b\rc,d\r"), [["a", "b"], ["c", "d"]]);
        assert_eq!(read_all(b"a\rb")[1][0].1, (2, 1));
    }

    #[test]
    fn an_unclosed_quote_is_found_without_gathering_the_rest_of_the_file() {
        let text = format!("a,\"{}", "x".repeat(1_000_000));
        let read = read_all(text.as_bytes());
        assert_eq!((read[0][1].1, read[0][1].2), ((1, 3), Some(Flaw::Unclosed)));
        assert_eq!(read[0][1].0.len(), FIELD_BYTES_MAX);
    }

    #[test]
    fn text_after_a_closing_quote_and_long_fields_are_flaws_of_their_field_alone() {
        let text = format!("\"a\"b,c\n{},d\n{},e", "y".repeat(FIELD_BYTES_MAX + 1), "z".repeat(FIELD_BYTES_MAX));
        let flaws: Vec<Vec<_>> = read_all(text.as_bytes()).iter().map(|r| r.iter().map(|f| f.2).collect()).collect();
        assert_eq!(flaws, [vec![Some(Flaw::AfterQuote), None], vec![Some(Flaw::TooLong), None], vec![None, None]]);
    }

    #[test]
    fn fields_without_end_are_counted_and_not_kept() {
        let mut records = Records::new(io::BufReader::new(io::repeat(b',').take(1_000_000))).expect("readable");
        let mut record = Record::default();
        assert!(records.read(&mut record).expect("readable"));
        assert_eq!((record.count(), record.fields().len()), (1_000_001, FIELDS_KEPT_MAX));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_without_a_flaw_is_what_the_csv_crate_reads(text in "[a,\"\r\n é]{0,60}") {
            let read = read_all(text.as_bytes());
            prop_assume!(read.iter().flatten().all(|(_, _, flaw)| flaw.is_none()));
            let mut theirs = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let theirs: Vec<Vec<String>> =
                theirs.records().map(|r| r.expect("UTF-8").iter().map(str::to_owned).collect()).collect();
            prop_assert_eq!(texts(text.as_bytes()), theirs);
        }

        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let lines = read_all(&bytes).len();
            prop_assert!(lines <= bytes.len());
        }
    }
}
