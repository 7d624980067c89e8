//! What is wrong with a scenario file, each problem with its place, for a person to read.
//!
//! [`Problems`] is a miette diagnostic: it shows every problem with `file:line:column` and the line itself.

use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// The most problems of one file that are kept; the others are counted.
pub const PROBLEMS_MAX: usize = 50;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is: lower case, no full stop.
    pub message: String,
    /// Where, in bytes from the file's start.
    pub at: Range<usize>,
    /// What is said at that place, if anything.
    pub label: Option<String>,
    /// Other places that belong to it, and what is said there.
    pub also: Vec<(Range<usize>, String)>,
    /// What to do about it, as a sentence.
    pub help: Option<String>,
    /// Whether a syntax error elsewhere in the file may be the cause.
    pub(super) doubtful: bool,
}

impl Problem {
    /// A problem at a place.
    pub fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), at, label: None, also: Vec::new(), help: None, doubtful: false }
    }

    /// Says something at the problem's place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Points at another place that belongs to it; a default that the file does not mention has none.
    #[must_use]
    pub fn also(mut self, at: Range<usize>, label: impl Into<String>) -> Self {
        if !at.is_empty() {
            self.also.push((at, label.into()));
        }
        self
    }

    pub(super) fn doubtful(mut self) -> Self {
        self.doubtful = true;
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let primary = LabeledSpan::new_primary_with_span(self.label.clone(), self.at.clone());
        let also = self.also.iter().map(|(at, label)| LabeledSpan::new_with_span(Some(label.clone()), at.clone()));
        Some(Box::new(std::iter::once(primary).chain(also)))
    }
}

/// Everything that is wrong with one file: at least one problem, ordered by place.
#[derive(Clone, Debug)]
pub struct Problems {
    source: NamedSource<String>,
    problems: Vec<Problem>,
    unlisted: usize,
}

impl Problems {
    /// Orders the problems of a file, and keeps the first [`PROBLEMS_MAX`].
    ///
    /// # Panics
    /// There are none.
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        assert!(!problems.is_empty(), "a file is refused for a reason");
        problems.sort_by_key(|problem| (problem.at.start, problem.at.end));
        let unlisted = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        Self { source: NamedSource::new(file, text.to_owned()), problems, unlisted }
    }

    /// The same, without the passwords that the file's URLs have.
    pub(super) fn without_passwords(self) -> Self {
        let file = self.source.name().to_owned();
        let text = masked(self.source.inner());
        Self { source: NamedSource::new(file, text), ..self }
    }

    /// The file, as it was named.
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// The problems, ordered by place.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// How many more there were than are listed.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// The line and the column of a problem, both from 1; columns count characters.
    pub fn line_and_column(&self, problem: &Problem) -> (usize, usize) {
        let text = self.source.inner();
        let before = &text[..text.floor_char_boundary(problem.at.start)];
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }
}

/// A text of the same length in bytes, in which nobody reads what stands before the @ of a URL.
fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (at, mark) in text.match_indices("://") {
        let begin = at + mark.len();
        let rest = &text[begin..];
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(rest.len());
        if let Some(sign) = rest[..end].rfind('@') {
            bytes[begin..begin + sign].fill(b'*');
        }
    }
    String::from_utf8(bytes).expect("whole characters were replaced")
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.problems.len(), self.unlisted) {
            (1, 0) => write!(f, "{} cannot be read: 1 problem", self.file()),
            (listed, 0) => write!(f, "{} cannot be read: {listed} problems", self.file()),
            (listed, more) => write!(f, "{} cannot be read: {listed} problems, and {more} more", self.file()),
        }
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn a_password_is_masked_and_places_stay() {
        let text = "a = 'postgres://me:sécret@h/d' # ü\nb = \"http://h/p\"";
        let masked = masked(text);
        assert_eq!(masked.len(), text.len());
        assert!(masked.contains("*@h/d' # ü") && masked.contains("http://h/p"), "{masked}");
        assert!(!masked.contains("me") && !masked.contains("cret"), "{masked}");
    }
}
