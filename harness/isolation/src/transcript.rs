//! Where the lines of a run go.

use std::io::{self, Write};

/// Takes what isolationtester would print on its two streams.
pub trait Transcript: Send {
    /// What belongs to the result.
    ///
    /// # Errors
    /// It cannot be written.
    fn out(&mut self, text: &str) -> io::Result<()>;

    /// What is said about the run.
    ///
    /// # Errors
    /// It cannot be written.
    fn err(&mut self, text: &str) -> io::Result<()>;
}

/// Two streams.
pub struct Split<'a> {
    /// The result.
    pub out: &'a mut (dyn Write + Send),
    /// The rest.
    pub err: &'a mut (dyn Write + Send),
}

impl Transcript for Split<'_> {
    fn out(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    fn err(&mut self, text: &str) -> io::Result<()> {
        self.err.write_all(text.as_bytes())
    }
}

/// Both in one, in the order in which they were said, as PostgreSQL's expected files have them.
#[derive(Debug, Default)]
pub struct Merged<W>(
    /// Where it goes.
    pub W,
);

impl<W: Write + Send> Transcript for Merged<W> {
    fn out(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())
    }

    fn err(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())
    }
}
