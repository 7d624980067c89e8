//! The whole as Markdown, for the summary of a job.

use std::io::{self, Write};

use super::{HEADER, cells};
use crate::overall::{OverallReport, RunRow};
use crate::report::rehearsed::markdown::escaped;

/// How much of what a run printed is shown, in bytes: a job's summary may have a mebibyte.
const OUTPUT_MAX: usize = 30_000;
/// Of how many runs.
const OUTPUTS_MAX: usize = 20;
/// How many cases that are not as expected are listed.
const CASES_MAX: usize = 100;

/// Writes the report; `printed` is what a run printed, if that is known.
///
/// # Errors
/// The writer's.
pub fn write(
    report: &OverallReport,
    printed: &dyn Fn(&RunRow) -> Option<String>,
    to: &mut dyn Write,
) -> io::Result<()> {
    let stopped = if report.is_interrupted { ", interrupted" } else { "" };
    writeln!(to, "## driftlock: {}{stopped}\n", report.report.verdict.as_str())?;
    writeln!(to, "| {} |\n|{}", HEADER.join(" | "), " --- |".repeat(HEADER.len()))?;
    for cells in cells(report) {
        writeln!(to, "| {} |", cells.map(|cell| escaped(&cell)).join(" | "))?;
    }
    writeln!(to)?;
    let unmet: Vec<_> = report.report.results.iter().filter(|row| !row.met).collect();
    for row in unmet.iter().take(CASES_MAX) {
        writeln!(to, "- **{}** ({}): {}", escaped(&row.title), row.run, escaped(&row.evidence))?;
        for violated in row.violated.iter().filter(|violated| !row.evidence.contains(&violated.why)) {
            let at = violated.at.as_ref().map(|at| format!(" at `{}`", at.replace('`', ""))).unwrap_or_default();
            writeln!(to, "  - **{}**{at}: {}", escaped(&violated.check), escaped(&violated.why))?;
        }
        writeln!(to, "  - replay: `{}`", row.replay.replace('`', ""))?;
        if let Some(keep) = &row.keep {
            writeln!(to, "  - keep it, to be replayed first: `{}`", keep.replace('`', ""))?;
        }
    }
    if unmet.len() > CASES_MAX {
        writeln!(to, "- and {} more", unmet.len() - CASES_MAX)?;
    }
    for row in &report.report.results {
        if let Some(accepted) = &row.accepted {
            let reason = escaped(&accepted.reason);
            writeln!(to, "- {} ({}): accepted until {}: {reason}", escaped(&row.title), row.run, accepted.until)?;
            writeln!(to, "  - {}", escaped(&row.evidence))?;
        }
    }
    let nothing = report.runs.iter().filter_map(|run| Some(format!("{}: {}", run.name, run.nothing.as_ref()?)));
    let missing = report.report.not_verified.iter().map(|why| format!("not verified: {why}"));
    for line in nothing.chain(missing).chain(report.notes.iter().cloned()) {
        writeln!(to, "- {}", escaped(&line))?;
    }
    let failed = report.runs.iter().filter(|run| run.exit.is_some_and(|exit| exit != 0));
    for run in failed.take(OUTPUTS_MAX) {
        if let Some(text) = printed(run).filter(|text| !text.trim().is_empty()) {
            output(run, &text, to)?;
        }
    }
    writeln!(to)
}

/// What a run printed, to be opened.
fn output(run: &RunRow, text: &str, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "\n<details><summary>{}: <code>{}</code></summary>\n", run.name, html(&run.line))?;
    // Longer than any that the text has.
    let fence = "`".repeat(4.max(longest_fence(text) + 1));
    writeln!(to, "{fence}text")?;
    let cut = &text[..text.floor_char_boundary(OUTPUT_MAX)];
    writeln!(to, "{}", cut.trim_end())?;
    if cut.len() < text.len() {
        writeln!(to, "… {} bytes more in output.txt", text.len() - cut.len())?;
    }
    writeln!(to, "{fence}\n\n</details>")
}

fn longest_fence(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn what_a_run_printed_cannot_break_out_of_its_block() {
        let mut run = RunRow::new("scripts", "driftlock explore <x>");
        run.exit = Some(Exit::Violated as u8);
        let mut report = OverallReport::new("default", vec![run]);
        report.conclude();
        let long = format!("a\n`````\n<b>\n{}", "ü".repeat(OUTPUT_MAX));
        let mut written = Vec::new();
        write(&report, &|_| Some(long.clone()), &mut written).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written.lines().filter(|line| line.starts_with("``````")).count(), 2, "{written}");
        assert!(written.contains("explore &lt;x&gt;") && written.contains("bytes more in output.txt"));
        assert!(written.len() < OUTPUT_MAX + 1_000);
    }
}
