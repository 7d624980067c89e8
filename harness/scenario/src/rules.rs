//! What must not be said together. One function a rule; each reports its contradictions at the
//! place that should change, and points at the place with which it disagrees.

mod checks;
mod expectations;
mod locking;
mod tasks;

use super::draft::Draft;
use super::problem::Problem;

/// A rule adds what it finds. Where a value is missing because it was wrong, it finds nothing.
type Rule = fn(&Draft, &mut Vec<Problem>);

const RULES: [&[Rule]; 4] = [&tasks::RULES, &locking::RULES, &checks::RULES, &expectations::RULES];

/// Reports every contradiction of a draft.
pub(super) fn compare(draft: &Draft, problems: &mut Vec<Problem>) {
    for rule in RULES.into_iter().flatten() {
        rule(draft, problems);
    }
}

/// Scenario files for the rules' own tests: a sound one, and what is said of changed ones.
#[cfg(test)]
mod cases {
    use std::path::Path;

    use super::super::Scenario;

    /// A sound file to which lines are added, each at the end of its section.
    pub(super) struct Case {
        sections: Vec<(&'static str, Vec<String>)>,
    }

    /// Small, sound, and without opinions.
    pub(super) fn sound() -> Case {
        let top = vec!["name = \"case\"".to_owned(), "summary = \"A case.\"".to_owned()];
        let tasks = vec!["count = 8".to_owned(), "workers = 4".to_owned()];
        Case { sections: vec![("", top), ("[tasks]", tasks)] }.with("", "checks = [\"no-duplicates\"]")
    }

    impl Case {
        /// Says this in that section; what the section said of the same key is forgotten.
        pub(super) fn with(mut self, section: &'static str, line: &str) -> Self {
            let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
            match self.sections.iter_mut().find(|(name, _)| *name == section) {
                Some((_, lines)) => {
                    lines.retain(|existing| key(existing) != key(line));
                    lines.push(line.to_owned());
                }
                None => self.sections.push((section, vec![line.to_owned()])),
            }
            self
        }

        /// Adds a table to a list of tables.
        pub(super) fn and(mut self, table: &'static str, lines: &[&str]) -> Self {
            self.sections.push((table, lines.iter().map(|line| (*line).to_owned()).collect()));
            self
        }

        /// What is said of it, one message a problem.
        pub(super) fn problems(&self) -> Vec<String> {
            let blocks = self.sections.iter().map(|(name, lines)| format!("{name}\n{}\n", lines.join("\n")));
            match Scenario::parse(Path::new("case.toml"), blocks.collect::<String>().as_bytes()) {
                Ok(_) => Vec::new(),
                Err(problems) => problems.iter().map(ToString::to_string).collect(),
            }
        }

        #[track_caller]
        pub(super) fn is_ok(&self) {
            assert_eq!(self.problems(), [""; 0]);
        }

        #[track_caller]
        pub(super) fn is_err(&self, message: &str) {
            assert_eq!(self.problems(), [message]);
        }
    }
}
