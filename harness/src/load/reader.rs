//! Reads a file of claims on a thread of its own, and hands them over in batches.
//!
//! After the first mistake nothing is handed over any more; reading goes on to find the others.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread::Builder;

use drift_engine::claim::Outcome;
use tokio::sync::mpsc;

use super::fields::{Place, Record, Records};
use super::header;
use super::row::{self, Problem, Row};

/// The number of rows in a full batch.
pub const BATCH_ROWS: usize = 4_096;
/// How many batches are read ahead.
const BATCHES_AHEAD: usize = 2;
/// How many mistakes are reported.
pub const PROBLEMS_MAX: usize = 20;

/// Why a file of claims could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened, or read to its end.
    #[error("failed to read {}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why, in the system's words or ours.
        reason: String,
    },
    /// It is not what it should be.
    #[error("{}", Problems { path, problems, more: *more })]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in the order of the file; at most [`PROBLEMS_MAX`].
        problems: Vec<Problem>,
        /// Whether reading was given up at the last of them.
        more: bool,
    },
}

struct Problems<'a> {
    path: &'a Path,
    problems: &'a [Problem],
    more: bool,
}

impl fmt::Display for Problems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let (at_least, s) = (if self.more { "at least " } else { "" }, if self.problems.len() == 1 { "" } else { "s" });
        write!(f, "{path} has {at_least}{} mistake{s}; nothing was loaded", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n{path}:{problem}"))
    }
}

/// What a file held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of claims.
    pub rows: u64,
    /// An outcome that may have been meant to count and does not, such as `Paid`: the first one,
    /// where it is, and how many there are.
    pub lookalike: Option<(String, Place, u64)>,
}

/// What [`Rows`] come to next.
#[derive(Debug)]
pub enum Step {
    /// Some more rows, at least one.
    Rows(Vec<Row>),
    /// The end of a file in which everything was right.
    End(Summary),
}

/// The checked rows of a file, as they are read.
pub struct Rows {
    steps: mpsc::Receiver<Result<Step, ReadError>>,
    ahead: Option<Step>,
}

impl Rows {
    /// Starts to read a file. Dropping the rows ends it.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (sender, steps) = mpsc::channel(BATCHES_AHEAD);
        let path = path.to_owned();
        // Not one of the runtime's blocking tasks, for whose end it would wait: a pipe may never end.
        Builder::new().name("claims".to_owned()).spawn(move || {
            let mut reader = match open(&path).and_then(|input| Reader::new(&path, input)) {
                Ok(reader) => reader,
                Err(error) => return drop(sender.blocking_send(Err(error))),
            };
            loop {
                let step = reader.step();
                let last = !matches!(step, Ok(Step::Rows(_)));
                // Nobody listens any more when the load was given up.
                if sender.blocking_send(step).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(Self { steps, ahead: None })
    }

    /// Rows that are made, not read: nothing is checked.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn made(rows: impl Iterator<Item = Row> + Send + 'static) -> io::Result<Self> {
        let (sender, steps) = mpsc::channel(BATCHES_AHEAD);
        Builder::new().name("claims".to_owned()).spawn(move || {
            let (mut rows, mut summary) = (rows, Summary::default());
            loop {
                let batch: Vec<Row> = rows.by_ref().take(BATCH_ROWS).collect();
                summary.rows += batch.len() as u64;
                let step = if batch.is_empty() { Step::End(summary.clone()) } else { Step::Rows(batch) };
                let last = matches!(step, Step::End(_));
                if sender.blocking_send(Ok(step)).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(Self { steps, ahead: None })
    }

    /// Waits until the first rows are there, or the file is known to be wrong: before a database is
    /// started for it.
    ///
    /// # Errors
    /// The file is wrong, or cannot be read.
    pub async fn ready(&mut self) -> Result<(), ReadError> {
        if self.ahead.is_none() {
            self.ahead = Some(self.next().await?);
        }
        Ok(())
    }

    /// The next rows, or the end. Not to be called again after the end or an error.
    ///
    /// # Errors
    /// The file is wrong, or cannot be read: what was handed over before must be thrown away.
    ///
    /// # Panics
    /// It was called again after the end.
    pub async fn next(&mut self) -> Result<Step, ReadError> {
        match self.ahead.take() {
            Some(step) => Ok(step),
            None => self.steps.recv().await.expect("the reader's last word is the end or an error"),
        }
    }
}

fn open(path: &Path) -> Result<BufReader<File>, ReadError> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Err(unreadable(path, &ErrorKind::IsADirectory.into()));
    }
    Ok(BufReader::with_capacity(1 << 16, file))
}

fn unreadable(path: &Path, error: &io::Error) -> ReadError {
    let reason = match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    ReadError::Io { path: path.to_owned(), reason }
}

/// Reads claims from anything that can be read.
pub struct Reader<R> {
    path: PathBuf,
    records: Records<R>,
    record: Record,
    summary: Summary,
    problems: Vec<Problem>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header. `path` is what messages call the input.
    ///
    /// # Errors
    /// The header is not the one it must be, or the input cannot be read.
    pub fn new(path: &Path, input: R) -> Result<Self, ReadError> {
        let io = |error| unreadable(path, &error);
        let mut records = Records::new(input).map_err(io)?;
        let mut record = Record::default();
        let found = records.read(&mut record).map_err(io)?;
        let mut problems = if found { header::check(&record) } else { header::empty() };
        if !problems.is_empty() {
            let more = problems.len() > PROBLEMS_MAX;
            problems.truncate(PROBLEMS_MAX);
            return Err(ReadError::Wrong { path: path.to_owned(), problems, more });
        }
        Ok(Self { path: path.to_owned(), records, record, summary: Summary::default(), problems })
    }

    /// Reads the next rows, at most [`BATCH_ROWS`], or the end.
    ///
    /// # Errors
    /// The file is wrong, here or further on; or it cannot be read.
    pub fn step(&mut self) -> Result<Step, ReadError> {
        let mut rows = Vec::new();
        while self.problems.len() < PROBLEMS_MAX && rows.len() < BATCH_ROWS {
            let found = self.records.read(&mut self.record).map_err(|error| unreadable(&self.path, &error))?;
            if !found && self.problems.is_empty() && rows.is_empty() {
                return Ok(Step::End(self.summary.clone()));
            }
            if !found {
                break;
            }
            let Some(row) = row::parse(&self.record, &mut self.problems) else {
                rows.clear();
                continue;
            };
            self.summary.rows += 1;
            self.note_lookalike(&row);
            if self.problems.is_empty() {
                rows.push(row);
            }
        }
        if self.problems.is_empty() {
            return Ok(Step::Rows(rows));
        }
        let more = self.problems.len() >= PROBLEMS_MAX;
        self.problems.truncate(PROBLEMS_MAX);
        Err(ReadError::Wrong { path: self.path.clone(), problems: std::mem::take(&mut self.problems), more })
    }

    fn note_lookalike(&mut self, row: &Row) {
        let text = &row.claim.outcome;
        if Outcome::parse(text).is_some() || Outcome::parse(&text.trim().to_ascii_uppercase()).is_none() {
            return;
        }
        let place = self.record.fields().nth(3).map_or(self.record.end(), |field| field.place);
        self.summary.lookalike.get_or_insert_with(|| (text.to_string(), place, 0)).2 += 1;
    }
}

#[cfg(test)]
mod tests {
    use drift_engine::claim::Claim;
    use jiff::ToSpan;
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::super::row::COLUMNS;
    use super::*;

    fn read(bytes: &[u8]) -> Result<(Vec<Row>, Summary), String> {
        let mut reader = Reader::new(Path::new("claims.csv"), bytes).map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        loop {
            match reader.step().map_err(|error| error.to_string())? {
                Step::Rows(rows) => {
                    assert!(!rows.is_empty() && rows.len() <= BATCH_ROWS);
                    all.extend(rows);
                }
                Step::End(summary) => return Ok((all, summary)),
            }
        }
    }

    fn file(rows: &str) -> String {
        format!("{}\n{rows}", COLUMNS.join(","))
    }

    #[test]
    fn a_header_alone_is_a_file_without_claims_and_nothing_at_all_is_an_error() {
        assert_eq!(read(file("").as_bytes()), Ok((vec![], Summary::default())));
        let empty = "claims.csv has 1 mistake; nothing was loaded\nclaims.csv:1:1: the file is empty; its first line \
                     must be the header customer,payer,cpt_group,outcome,submitted_on,decided_on";
        assert_eq!(read(b""), Err(empty.to_owned()));
        assert_eq!(read(b"\xef\xbb\xbf\r\n"), Err(empty.to_owned()));
    }

    #[test]
    fn every_mistake_of_the_file_is_reported_at_once_up_to_a_bound() {
        let text = file("a,b,c,PAID,2024-01-01,\n,b,c,PAID,2024-01-01,\na,b,c,PAID,2024-01-01,\na,b,c,PAID,x,\n");
        assert_eq!(
            read(text.as_bytes()),
            Err("claims.csv has 2 mistakes; nothing was loaded\nclaims.csv:3:1: customer is empty\n\
                 claims.csv:5:12: submitted_on must be a date written YYYY-MM-DD, not \"x\""
                .to_owned())
        );
        let many = read(file(&"a,b\n".repeat(1_000)).as_bytes()).expect_err("wrong");
        assert!(many.starts_with("claims.csv has at least 20 mistakes; nothing was loaded\n"), "{many}");
        assert_eq!(many.lines().count(), 1 + PROBLEMS_MAX);
    }

    #[test]
    fn a_mistake_after_the_first_batch_is_found_on_its_line() {
        let text = file(&("a,b,c,PAID,2024-01-01,\n".repeat(2 * BATCH_ROWS) + "a,b,c,PAID,2024-01-32,\n"));
        let mut reader = Reader::new(Path::new("f"), text.as_bytes()).expect("a header");
        assert!(matches!(reader.step(), Ok(Step::Rows(_))));
        assert!(matches!(reader.step(), Ok(Step::Rows(_))));
        let error = reader.step().expect_err("wrong").to_string();
        assert!(error.ends_with(&format!("\nf:{}:12: submitted_on: there is no day 2024-01-32", 2 * BATCH_ROWS + 2)));
    }

    #[test]
    fn an_outcome_that_was_perhaps_meant_to_count_is_noted() {
        let text =
            file("a,b,c,PAID,2024-01-01,\na,b,c,Paid,2024-01-01,\na,b,c, DENIED,2024-01-01,\na,b,c,OPEN,2024-01-01,");
        let (_, summary) = read(text.as_bytes()).expect("sound");
        assert_eq!(summary, Summary { rows: 4, lookalike: Some(("Paid".to_owned(), Place { line: 3, column: 7 }, 2)) });
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_said_before_any_row() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (path, reason) in [
            (directory.path().to_owned(), "it is a directory"),
            (directory.path().join("none.csv"), "there is no such file"),
        ] {
            let error = Rows::open(&path).expect("a thread").ready().await.expect_err("unreadable").to_string();
            assert_eq!(error, format!("failed to read {}: {reason}", path.display()));
        }
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let text = "[a-c\",\r\n é\\\\\t']{1,6}".prop_filter("not blank", |text| !text.trim().is_empty());
        let outcome =
            prop_oneof![Just("PAID".to_owned()), Just("DENIED".to_owned()), text.clone(), Just(String::new())];
        let days = (0..100_000_i64, proptest::option::of(0..400_i64));
        let row =
            (text.clone(), text.clone(), text, outcome, days).prop_map(|(customer, payer, group, outcome, days)| {
                let submitted_on = date(1900, 1, 1) + days.0.days();
                let claim = Claim {
                    payer: payer.into(),
                    cpt_group: group.into(),
                    outcome: outcome.into(),
                    submitted_on,
                    decided_on: days.1.map(|n| submitted_on + n.days()),
                };
                Row { customer: customer.into(), claim }
            });
        proptest::collection::vec(row, 0..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_file_written_from_claims_reads_as_those_claims(rows in rows(), crlf: bool, always_quote: bool) {
            let mut writer = csv::WriterBuilder::new();
            writer.terminator(if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') });
            writer.quote_style(if always_quote { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary });
            let mut writer = writer.from_writer(Vec::new());
            writer.write_record(COLUMNS).unwrap();
            for Row { customer, claim } in &rows {
                let decided_on = claim.decided_on.map(|day| day.to_string()).unwrap_or_default();
                let dates = [&claim.submitted_on.to_string(), &decided_on];
                writer
                    .write_record([&**customer, &claim.payer, &claim.cpt_group, &claim.outcome, dates[0], dates[1]])
                    .unwrap();
            }
            let read = read(&writer.into_inner().unwrap()).map(|(rows, _)| rows);
            prop_assert_eq!(read, Ok(rows));
        }

        #[test]
        fn any_bytes_after_the_header_are_claims_or_mistakes_and_never_a_panic(
            bytes in proptest::collection::vec(prop_oneof![
                any::<u8>(), Just(b','), Just(b'\n'), Just(b'"'), Just(b'-'), b'0'..=b'9',
            ], 0..400),
        ) {
            let _ = read(&bytes);
            let _ = read(&[file("").as_bytes(), &bytes].concat());
        }
    }
}
