//! A plain dump or an SQL file of the user's own, as the data that a migration is rehearsed on.
//!
//! It is read piece by piece and never held whole: a statement at a time, and the rows of `COPY … FROM stdin` as they
//! come. It is looked through before any server is started, so that what is wrong with the file is said at once.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::sql::{self, First, Statement};

mod load;

pub use self::load::load;

/// How much is read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// The longest statement.
const STATEMENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What ends the rows of a COPY.
const ROWS_END: &[u8] = b"\\.";

/// What is wrong with a dump, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {}{message}\n  {help}", line.map(|line| format!(":{line}")).unwrap_or_default(), code.as_ref().map(|code| format!("{code} ")).unwrap_or_default())]
pub struct DumpError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1, if it is about one.
    pub line: Option<u64>,
    /// The SQLSTATE, if the database refused it.
    pub code: Option<String>,
    /// What it is.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

/// A dump that can be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    path: PathBuf,
    /// Whether it makes the tables too: then it is the whole database.
    pub has_schema: bool,
}

impl Dump {
    /// Looks a file through.
    ///
    /// # Errors
    /// It cannot be read, or is no SQL that a server could be sent.
    pub fn look(path: &Path) -> Result<Self, DumpError> {
        let mut pieces = Pieces::open(path)?;
        let (mut has_schema, mut is_empty) = (false, true);
        while let Some(piece) = pieces.next()? {
            is_empty = false;
            if let Piece::Statement(_, statement) = &piece {
                has_schema |=
                    statement.begins(&["CREATE"]) && statement.words.iter().skip(1).take(2).any(|word| word == "TABLE");
            }
        }
        if is_empty {
            return Err(pieces.wrong(None, "it has no statement".to_owned(), "Name a dump: pg_dump --format plain."));
        }
        Ok(Self { path: path.to_owned(), has_schema })
    }

    /// Where it is, as it was named.
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// A part of a dump.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// A statement, and the line on which it begins.
    Statement(u64, Statement),
    /// The beginning of a COPY, and the line on which it is; rows follow.
    Copy(u64, Statement),
    /// Some bytes of the rows.
    Rows(Vec<u8>),
    /// The end of the rows.
    RowsEnd,
}

/// Reads a dump piece by piece.
struct Pieces<R> {
    file: String,
    from: R,
    /// What has been read and not handed over.
    held: Vec<u8>,
    at: usize,
    ended: bool,
    /// The line of what comes next, from 1.
    line: u64,
    /// The line of the COPY whose rows come next, and whether a line begins there.
    rows: Option<(u64, bool)>,
}

impl Pieces<File> {
    fn open(path: &Path) -> Result<Self, DumpError> {
        let file = path.display().to_string();
        let unreadable = |error: io::Error| DumpError {
            file: file.clone(),
            line: None,
            code: None,
            message: format!("failed to read it: {error}"),
            help: "Make it a file that can be read.",
        };
        let from = File::open(path).map_err(unreadable)?;
        if !from.metadata().map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::other("it is not a file")));
        }
        Ok(Self::new(file, from))
    }
}

impl<R: Read> Pieces<R> {
    fn new(file: String, from: R) -> Self {
        Self { file, from, held: Vec::new(), at: 0, ended: false, line: 1, rows: None }
    }

    fn wrong(&self, line: Option<u64>, message: String, help: &'static str) -> DumpError {
        DumpError { file: self.file.clone(), line, code: None, message, help }
    }

    /// The next piece; none at the end.
    fn next(&mut self) -> Result<Option<Piece>, DumpError> {
        if let Some((copy, begins)) = self.rows {
            return self.next_rows(copy, begins).map(Some);
        }
        loop {
            let text = self.text()?;
            match sql::first(text) {
                First::Statement(mut statement, length) => {
                    let line = self.line + u64::from(statement.line) - 1;
                    self.forward(length);
                    if !(statement.begins(&["COPY"]) && statement.has("STDIN")) {
                        return self.sound(line, statement).map(Some);
                    }
                    self.rest_of_line()?;
                    self.rows = Some((self.line, true));
                    statement.line = 1;
                    return Ok(Some(Piece::Copy(line, statement)));
                }
                First::Psql(at, within) => {
                    let line = self.line + text[..at].matches('\n').count() as u64;
                    let command = text[at..].split_whitespace().next().unwrap_or_default().to_owned();
                    // What keeps a dump from being led astray, and means nothing without psql.
                    if within || !["\\restrict", "\\unrestrict"].contains(&command.as_str()) {
                        let help = "Dump one database, in plain format, without --create and --clean.";
                        let message = format!("{command} is a command of psql's, which no server understands");
                        return Err(self.wrong(Some(line), message, help));
                    }
                    self.forward(at);
                    self.rest_of_line()?;
                }
                First::Unfinished(begun) if self.ended => {
                    let rest = text.trim_end();
                    if self.held.len() - self.at > text.len() {
                        return Err(self.no_text());
                    }
                    if !begun {
                        return Ok(None);
                    }
                    // The last statement may do without its semicolon, and nothing else may.
                    let line = self.line;
                    let Ok([statement]) = sql::split(rest).map(<[Statement; 1]>::try_from).unwrap_or(Err(Vec::new()))
                    else {
                        let help = "The file ends in the middle of something: dump it again.";
                        return Err(self.wrong(Some(line), "a statement that begins here has no end".to_owned(), help));
                    };
                    self.forward(self.held.len() - self.at);
                    return self.sound(line + u64::from(statement.line) - 1, statement).map(Some);
                }
                First::Unfinished(_) if self.held.len() - self.at > STATEMENT_BYTES_MAX => {
                    let message = format!("a statement of more than {} MB", STATEMENT_BYTES_MAX / 1024 / 1024);
                    return Err(self.wrong(Some(self.line), message, "Dump the rows with COPY: without --inserts."));
                }
                First::Unfinished(_) => {
                    let all = self.held.len() - self.at;
                    if text.len() < all && !is_cut(&self.held[self.at + text.len()..]) {
                        return Err(self.no_text());
                    }
                    self.more(all.max(CHUNK_BYTES))?;
                }
            }
        }
    }

    /// What is held, as far as it is text.
    fn text(&self) -> Result<&str, DumpError> {
        let held = &self.held[self.at..];
        match std::str::from_utf8(held) {
            Ok(text) => Ok(text),
            Err(error) => std::str::from_utf8(&held[..error.valid_up_to()]).map_err(|_| self.no_text()),
        }
    }

    fn no_text(&self) -> DumpError {
        let message = "after this line there is something that is not UTF-8".to_owned();
        self.wrong(Some(self.line), message, "Dump with --encoding UTF8.")
    }

    /// Refuses what would change how the rest is to be read.
    fn sound(&self, line: u64, statement: Statement) -> Result<Piece, DumpError> {
        let encoding = statement.begins(&["SET", "CLIENT_ENCODING"]);
        if encoding && !["UTF8", "UTF-8", "unicode"].iter().any(|name| statement.text.contains(name)) {
            let message = "its text is in another encoding than UTF-8".to_owned();
            return Err(self.wrong(Some(line), message, "Dump with --encoding UTF8."));
        }
        Ok(Piece::Statement(line, statement))
    }

    /// Some rows, or their end.
    fn next_rows(&mut self, copy: u64, mut begins: bool) -> Result<Piece, DumpError> {
        loop {
            let held = &self.held[self.at..];
            let mut length = 0;
            let mut ends = None;
            while length < held.len() {
                let rest = &held[length..];
                let end = rest.iter().position(|byte| *byte == b'\n');
                let line = &rest[..end.unwrap_or(rest.len())];
                if begins && (line == ROWS_END || line == b"\\.\r") && (end.is_some() || self.ended) {
                    ends = Some(line.len() + usize::from(end.is_some()));
                    break;
                }
                // Whether this is the end, only what follows says.
                if begins && end.is_none() && line.starts_with(b"\\") && line.len() < 4 && !self.ended {
                    break;
                }
                begins = end.is_some();
                length += end.map_or(rest.len(), |end| end + 1);
            }
            if length > 0 {
                let rows = held[..length].to_vec();
                self.forward(length);
                self.rows = Some((copy, begins));
                return Ok(Piece::Rows(rows));
            }
            if let Some(length) = ends {
                self.forward(length);
                self.rows = None;
                return Ok(Piece::RowsEnd);
            }
            if self.ended {
                let help = "The file ends in the middle of something: dump it again.";
                return Err(self.wrong(Some(copy), "the rows that begin here have no end".to_owned(), help));
            }
            self.more(CHUNK_BYTES)?;
        }
    }

    /// Goes over the rest of a line, in which nothing may be that is not a command of psql's.
    fn rest_of_line(&mut self) -> Result<(), DumpError> {
        loop {
            match self.held[self.at..].iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.forward(end + 1);
                    return Ok(());
                }
                None if self.ended => {
                    self.forward(self.held.len() - self.at);
                    return Ok(());
                }
                None if self.held.len() - self.at > STATEMENT_BYTES_MAX => {
                    return Err(self.wrong(Some(self.line), "a line without an end".to_owned(), "Dump it again."));
                }
                None => self.more(CHUNK_BYTES)?,
            }
        }
    }

    fn forward(&mut self, length: usize) {
        let gone = &self.held[self.at..self.at + length];
        self.line += gone.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at += length;
    }

    /// Reads up to `bytes` more.
    fn more(&mut self, bytes: usize) -> Result<(), DumpError> {
        self.held.drain(..self.at);
        self.at = 0;
        let before = self.held.len();
        let read = (&mut self.from).take(bytes as u64).read_to_end(&mut self.held);
        let help = "Make it a file that can be read.";
        read.map_err(|error| self.wrong(Some(self.line), format!("failed to read it: {error}"), help))?;
        self.ended = self.held.len() == before;
        Ok(())
    }
}

/// Whether these bytes are the beginning of a character that was cut off.
fn is_cut(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests;
