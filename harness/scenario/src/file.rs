//! From the bytes of a file to a [`Scenario`], or to everything that is wrong with it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::problem::{PROBLEMS_MAX, Problem, Problems};
use super::read::Section;
use super::{Scenario, draft, rules};

/// The largest scenario file, in bytes: 1 MiB.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Why there is no scenario.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was read, and makes no sense.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Wrong(Box<Problems>),
}

impl Scenario {
    /// Reads a scenario file. Paths in it start at its directory.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::parse(path, &content(path)?).map_err(LoadError::Wrong)
    }

    /// Reads the content of a scenario file that is, or could be, at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Box<Problems>> {
        parse_with(path, bytes, read)
    }
}

/// The bytes of a file, a few more at the most than one may have.
///
/// # Errors
/// It cannot be read.
pub(super) fn content(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // A pipe would be waited for without end.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a file")));
    }
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Makes text of bytes, and what `read` makes of it.
pub(super) fn parse_with<T>(
    path: &Path,
    bytes: &[u8],
    read: impl FnOnce(&str, &Path) -> Result<T, Vec<Problem>>,
) -> Result<T, Box<Problems>> {
    let file = path.display().to_string();
    let refused = |text: &str, problems| Box::new(Problems::new(&file, text, problems));
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("a scenario file has at most {FILE_BYTES_MAX} bytes");
        return Err(refused("", vec![Problem::new(0..0, message)]));
    }
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let problem = Problem::new(at..at, "this is not UTF-8 text");
            return Err(refused(&String::from_utf8_lossy(bytes), vec![problem]));
        }
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    read(text, directory).map_err(|problems| refused(text, problems))
}

fn read(text: &str, directory: &Path) -> Result<Scenario, Vec<Problem>> {
    let (draft, mut problems) = document(text, |section| draft::read(section, directory))?;
    rules::compare(&draft, &mut problems);
    match draft.build() {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => Err(problems),
    }
}

/// Reads a document's values, and what is wrong with them one by one.
///
/// # Errors
/// It is not TOML: then that, and whatever else is certainly wrong.
pub(super) fn document<T>(
    text: &str,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> Result<(T, Vec<Problem>), Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems = Vec::new();
    let mut section = Section::new(table.get_ref(), 0..0, String::new(), &mut problems);
    let read = read(&mut section);
    section.finish();
    if errors.is_empty() { Ok((read, problems)) } else { Err(with_syntax(text, &errors, problems)) }
}

/// Adds what else is certainly wrong to the syntax errors: not what is wrong on their lines, missing,
/// or out of place, which may be their consequence.
fn with_syntax(text: &str, errors: &[toml::de::Error], problems: Vec<Problem>) -> Vec<Problem> {
    let ends: Vec<_> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line = |at: usize| ends.partition_point(|end| *end < at);
    let syntax = errors.iter().take(PROBLEMS_MAX).map(|error| {
        Problem::new(error.span().unwrap_or(0..0), error.message().to_lowercase()).label("this is not TOML")
    });
    let mut all: Vec<_> = syntax.collect();
    let lines: Vec<_> = all.iter().map(|problem| line(problem.at.start)).collect();
    all.extend(problems.into_iter().filter(|p| !p.doubtful && !lines.contains(&line(p.at.start))));
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use miette::{GraphicalReportHandler, GraphicalTheme, NarratableReportHandler};
    use proptest::prelude::*;

    use super::super::shipped::SHIPPED;
    use super::*;

    fn problems(text: &str) -> Problems {
        *Scenario::parse(Path::new("scenarios/wrong.toml"), text.as_bytes()).expect_err("it is wrong")
    }

    /// As a terminal without colours shows it.
    fn rendered(text: &str) -> String {
        let mut shown = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
        handler.render_report(&mut shown, &problems(text)).expect("writing to a string");
        shown
    }

    /// Each problem as one line.
    fn listed(text: &str) -> Vec<String> {
        let problems = problems(text);
        let line = |problem| {
            let (line, column) = problems.line_and_column(problem);
            format!("{line}:{column}: {problem}")
        };
        problems.iter().map(line).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_place() {
        let text = r#"name = "Same Run"
summry = "A typing error in a key."
backends = ["postgres", "sqlight"]
checks = ["no-duplicates", "freshnes", "freshness"]

[data]
customers = 0
as-of = "2026-04-15"

[tasks]
count = 4
workers = 8
keys = { zipf = 20 }
run = { name = "nightly" }

[session]
lock-timeout-ms = 1.5

[[expect]]
strategy = "row"
verdict = "violation"

[extra]
"#;
        insta::assert_snapshot!(rendered(text));
    }

    #[test]
    fn contradictions_point_at_both_places() {
        let text = r#"name = "contradictory"
summary = "Nothing in it fits."
backends = ["sqlite"]
strategies = ["row", "immediate"]
checks = ["freshness", "lock-held"]

[tasks]
count = 4
workers = 8
keys = "uniform"

[opening]
hold = "write"
until = "others-timed-out"

[fault]
task = 4
action = "terminate"

[[expect]]
backend = "postgres"
verdict = "violation"
check = "exclusion"
"#;
        insta::assert_snapshot!(rendered(text));
    }

    #[test]
    fn syntax_errors_come_with_whatever_else_is_certainly_wrong() {
        let text = "name = \"x\nsummary = 5\ncheks = []\n[tasks\ncount = 1x\n";
        insta::assert_snapshot!(listed(text).join("\n"));
    }

    #[test]
    fn what_is_missing_is_named_unless_it_is_a_typing_error() {
        assert_eq!(
            listed("naem = 'x'\n[tasks]\ncount = 1"),
            [
                "1:1: `summary` is missing",
                "1:1: `checks` is missing",
                "1:1: unknown key `naem`",
                "2:1: `tasks.workers` is missing",
            ]
        );
        let all =
            ["name", "summary", "checks", "tasks.count", "tasks.workers"].map(|key| format!("1:1: `{key}` is missing"));
        assert_eq!(BTreeSet::from_iter(listed("")), BTreeSet::from(all));
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(listed("summary = 'é'; x")[0].split(' ').next(), Some("1:14:"));
    }

    #[test]
    fn every_wrong_value_says_what_would_be_right() {
        let sound = SHIPPED[0].text;
        let wrong = |from: &str, to: &str| {
            assert!(sound.contains(from), "{from}");
            problems(&sound.replace(from, to)).iter().next().expect("a problem").message.clone()
        };
        let said = [
            wrong("count = 24", "count = 100_001"),
            wrong("count = 24", "count = -1"),
            wrong("count = 24", "count = \"24\""),
            wrong("count = 24", "count = 99999999999999999999999"),
            wrong("name = \"same-run\"", "name = \"same--run\""),
            wrong("name = \"same-run\"", "name = \"\""),
            wrong("summary = \"", "summary = \"\\u0007"),
            wrong("antagonist = false", "antagonist = 0"),
            wrong("strategies = \"default\"", "strategies = \"every\""),
            wrong("strategies = \"default\"", "strategies = [\"rows\"]"),
            wrong("as-of = 2026-04-15", "as-of = 1492-10-12"),
            wrong("as-of = 2026-04-15", "as-of = 2026-04-15T12:00:00"),
            wrong("arrival = \"together\"", "arrival = { every-ms = 5, poisson-per-second = 1 }"),
            wrong("arrival = \"together\"", "arrival = { poisson-per-second = nan }"),
            wrong("keys = \"one\"", "keys = { zipf = inf }"),
            wrong("run = { named = \"nightly\" }", "run = { named = \"\" }"),
            wrong("claims-per-customer = 600", "csv = \"/claims.csv\""),
            wrong("[opening]", "[[opening]]"),
            wrong("antagonist = false", "expect = 1"),
        ]
        .join("\n");
        insta::assert_snapshot!(said);
    }

    #[test]
    fn a_file_that_is_no_text_or_too_large_is_refused() {
        let path = Path::new("wrong.toml");
        let refused = |bytes: &[u8]| Scenario::parse(path, bytes).expect_err("it is wrong").iter().next().cloned();
        assert_eq!(refused(b"name = \"\xff\"").expect("a problem").message, "this is not UTF-8 text");
        let large = vec![b'#'; FILE_BYTES_MAX + 1];
        assert_eq!(refused(&large).expect("a problem").message, "a scenario file has at most 1048576 bytes");
        assert!(Scenario::parse(path, &large[1..]).is_err());
    }

    #[test]
    fn no_depth_and_no_number_of_mistakes_exhausts_anything() {
        for (head, body) in
            [("", "["), ("a = ", "["), ("a = ", "{a="), ("", "a."), ("a = \"", "\\q"), ("", "[[a.b]]\n")]
        {
            let text = format!("{head}{}", body.repeat((FILE_BYTES_MAX - head.len()) / body.len()));
            let problems = problems(&text);
            assert!(problems.iter().count() <= PROBLEMS_MAX);
        }
        let many: String = (0..80_000).map(|n| format!("k{n} = 1\n")).collect();
        let problems = problems(&many);
        assert_eq!(problems.iter().count() + problems.unlisted(), 80_005);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_a_wrong_one() {
        let error = Scenario::load(Path::new("no/such/file.toml")).expect_err("it is not there");
        assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn paths_start_at_the_file() {
        let text = SHIPPED[0].text.replace("claims-per-customer = 600", "csv = \"data/claims.csv\"");
        let scenario = Scenario::parse(Path::new("somewhere/x.toml"), text.as_bytes()).expect("it is sound");
        let csv = Path::new("somewhere/data/claims.csv").to_owned();
        assert_eq!(scenario.data.source, super::super::Source::Csv(csv));
    }

    /// Parses, and renders what is said: neither may panic.
    fn survives(bytes: &[u8]) {
        if let Err(problems) = Scenario::parse(Path::new("any.toml"), bytes) {
            let mut shown = String::new();
            NarratableReportHandler::new().render_report(&mut shown, &*problems).expect("writing to a string");
            for problem in problems.iter() {
                problems.line_and_column(problem);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            survives(&bytes);
        }

        #[test]
        fn any_change_of_a_shipped_file_is_survived(
            file in 0..SHIPPED.len(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, "[ -~\n]{0,6}"), 1..8),
        ) {
            let mut bytes = SHIPPED[file].text.as_bytes().to_vec();
            for (at, removed, inserted) in changes {
                let at = at.index(bytes.len() + 1);
                let end = (at + removed).min(bytes.len());
                bytes.splice(at..end, inserted.into_bytes());
            }
            survives(&bytes);
        }

        #[test]
        fn any_lines_of_shipped_files_are_survived(
            lines in prop::collection::vec((0..SHIPPED.len(), any::<prop::sample::Index>()), 0..40),
        ) {
            let pick = |(file, at): (usize, prop::sample::Index)| {
                let lines: Vec<_> = SHIPPED[file].text.lines().collect();
                *at.get(&lines)
            };
            survives(lines.into_iter().map(pick).collect::<Vec<_>>().join("\n").as_bytes());
        }
    }
}
