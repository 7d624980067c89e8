//! What several commands come to together: every case of every run as one row, one verdict, one exit code.

pub mod accepted;

use drift_engine::lock::Backend;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::outcome::{Report, VerdictKind, row};

/// The profile of whoever has no server.
const NO_SERVER: &str = "none";

/// The outcome of `driftlock run`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverallReport {
    /// The cases of all runs, in that order.
    #[serde(flatten)]
    pub report: Report<CaseRow>,
    /// Whether the runs are one command, on a version of PostgreSQL each.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_version: bool,
    /// The profile of `driftlock.toml`, where the runs are its.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project_profile: String,
    /// The runs, in that order, those included that were not begun.
    pub runs: Vec<RunRow>,
    /// What else is to be known, as sentences.
    pub notes: Vec<String>,
    /// Whether somebody stopped it.
    #[serde(default)]
    pub is_interrupted: bool,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRow {
    /// Its name.
    pub name: String,
    /// The command line that it stands for.
    pub line: String,
    /// How it ended, as an exit code; nothing where it was not begun.
    pub exit: Option<u8>,
    /// How many cases it was to have.
    pub planned: usize,
    /// Why it could not do its work, if so.
    pub failure: Option<String>,
    /// What it was asked for and could not try.
    pub not_verified: Vec<String>,
    /// Why there was nothing to do, if so.
    pub nothing: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// One case of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseRow {
    /// The run.
    pub run: String,
    /// The case.
    pub name: String,
    /// What it is called in a list of cases.
    pub title: String,
    /// On what, and how, it was run.
    pub class: String,
    /// The database.
    pub backend: Backend,
    /// What it calls its version, where one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What came of it.
    pub verdict: VerdictKind,
    /// Whether that is what was expected, or is accepted.
    pub met: bool,
    /// The sentence that shows it.
    pub evidence: String,
    /// What was violated, or found.
    pub violated: Vec<ViolatedRow>,
    /// Why not everything was looked at, if so: what is accepted then says nothing of the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// Why it is accepted all the same, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedRow>,
    /// The command that runs it again.
    pub replay: String,
    /// The commands that keep its schedule among the regressions, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// A violation, or a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViolatedRow {
    /// The check, or the sort of finding.
    pub check: String,
    /// How, in a sentence.
    pub why: String,
    /// FILE:LINE:COLUMN, where it has a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// Why a violation is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedRow {
    /// The reasons.
    pub reason: String,
    /// The last day.
    pub until: Date,
}

impl CaseRow {
    /// Whether it came out as expected, and not only as accepted.
    pub fn is_as_expected(&self) -> bool {
        self.met && self.accepted.is_none()
    }
}

row!(CaseRow, |row| row.title.clone(), row.class.clone());

impl OverallReport {
    /// A report to which nothing has come yet.
    pub fn new(project_profile: &str, runs: Vec<RunRow>) -> Self {
        let report = Report::new("run", None, NO_SERVER);
        let project_profile = project_profile.to_owned();
        Self { report, by_version: false, project_profile, runs, notes: Vec::new(), is_interrupted: false }
    }

    /// A report of a command on several versions, to which nothing has come yet.
    pub fn of_versions(command: &str, runs: Vec<RunRow>) -> Self {
        let mut whole = Self::new("", runs);
        command.clone_into(&mut whole.report.command);
        whole.by_version = true;
        whole
    }

    /// Adds how a run's server treats the disk: several do it in several ways.
    pub fn add_profile(&mut self, profile: &str) {
        let known = &mut self.report.profile;
        let is_new = !profile.is_empty() && profile != NO_SERVER && known.split(", ").all(|one| one != profile);
        match known.as_str() {
            _ if !is_new => {}
            NO_SERVER => profile.clone_into(known),
            _ => known.push_str(&format!(", {profile}")),
        }
    }

    /// The cases of a run.
    pub fn of_run<'a>(&'a self, run: &'a RunRow) -> impl Iterator<Item = &'a CaseRow> + Clone {
        self.report.results.iter().filter(|row| row.run == run.name)
    }

    /// Derives what can be derived: how many cases there were to be, what could not be verified, the verdict.
    pub fn conclude(&mut self) {
        let report = &mut self.report;
        report.planned = self.runs.iter().map(|run| run.planned).sum();
        report.not_verified.clear();
        for run in &self.runs {
            let said = |why: &String| format!("run {}: {why}", run.name);
            report.not_verified.extend(run.failure.iter().chain(&run.not_verified).map(said));
            if run.exit.is_none() {
                report.not_verified.push(format!("run {}: it was not begun", run.name));
            }
        }
        let is_partial = report.results.len() < report.planned || !report.not_verified.is_empty();
        report.verdict = VerdictKind::over(report.results.iter().map(|row| (row.met, row.verdict)), is_partial);
    }

    /// The exit code of all runs together: the strongest of theirs.
    pub fn exit(&self) -> Exit {
        let codes = self.runs.iter().filter_map(|run| run.exit);
        let stopped = if self.is_interrupted { Exit::Interrupted } else { Exit::Met };
        codes.filter_map(Exit::of_code).fold(stopped, Exit::worst)
    }
}

impl RunRow {
    /// A run that has not begun.
    pub fn new(name: &str, line: &str) -> Self {
        Self {
            name: name.to_owned(),
            line: line.to_owned(),
            exit: None,
            planned: 0,
            failure: None,
            not_verified: Vec::new(),
            nothing: None,
            duration_ms: 0,
        }
    }

    /// How it ended, in a word or two.
    pub fn word(&self) -> &'static str {
        match self.exit.and_then(Exit::of_code) {
            None => "not begun",
            Some(Exit::Met) if self.nothing.is_some() => "nothing to do",
            Some(Exit::Met) => "pass",
            Some(Exit::Violated) => "violation",
            Some(Exit::Usage) => "cannot be run",
            Some(Exit::Inconclusive) => "inconclusive",
            Some(Exit::Environment) => "no database",
            Some(Exit::Regression) => "regression",
            Some(Exit::Interrupted) => "interrupted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(exits: &[Option<Exit>]) -> OverallReport {
        let run = |(number, exit): (usize, &Option<Exit>)| {
            let mut run = RunRow::new(&format!("run-{number}"), "driftlock explore x");
            run.exit = exit.map(|exit| exit as u8);
            run
        };
        OverallReport::new("default", exits.iter().enumerate().map(run).collect())
    }

    #[test]
    fn the_strongest_exit_counts_and_a_run_that_was_not_begun_is_no_pass() {
        let exit = |exits: &[Option<Exit>]| report(exits).exit();
        assert_eq!(exit(&[Some(Exit::Met), Some(Exit::Inconclusive), Some(Exit::Violated)]), Exit::Violated);
        assert_eq!(exit(&[Some(Exit::Violated), Some(Exit::Usage)]), Exit::Usage);
        assert_eq!(exit(&[Some(Exit::Usage), Some(Exit::Interrupted), None]), Exit::Interrupted);
        let mut whole = report(&[Some(Exit::Met)]);
        ["none", "fast", "", "durable", "fast"].iter().for_each(|profile| whole.add_profile(profile));
        assert_eq!(whole.report.profile, "fast, durable");
        whole.conclude();
        assert_eq!(whole.report.verdict, VerdictKind::Pass);
        let mut part = report(&[Some(Exit::Met), None]);
        part.conclude();
        assert_eq!(part.report.verdict, VerdictKind::Inconclusive);
    }
}
