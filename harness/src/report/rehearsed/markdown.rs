//! The report as Markdown, for a pull request.

use std::io::{self, Write};

use super::statement::{HEADER, cells};
use super::{RehearseReport, applications, wording};

/// Writes the report.
///
/// # Errors
/// The writer's.
pub fn write(report: &RehearseReport, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "## Rehearsed migrations: {}\n", report.verdict.as_str())?;
    for one in &report.not_applicable {
        writeln!(to, "{}: {}.\n", escaped(&one.name), escaped(&one.reason))?;
    }
    for row in &report.results {
        writeln!(to, "### {} ({}): {}\n", escaped(&row.name), row.strategy, escaped(&wording(row)))?;
        writeln!(to, "Versions {} to {}, {}.\n", row.from, row.to, escaped(&row.traffic))?;
        if let Some(layout) = &row.layout {
            writeln!(to, "Layout {}: {}.\n", layout.name, escaped(&layout.why))?;
            for left in &layout.not_taken {
                writeln!(to, "- not taken: `{}`: {}", left.file, escaped(&left.reason))?;
            }
        }
        for finding in &row.findings {
            let code = finding.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
            writeln!(
                to,
                "- **{}**{code} at `{}:{}` ({}): {}\n  Instead: {}",
                finding.kind.as_str(),
                finding.file,
                finding.line,
                finding.pass,
                escaped(&finding.sentence),
                escaped(&finding.advice)
            )?;
        }
        for why in &row.inconclusive {
            writeln!(to, "- no answer: {}", escaped(why))?;
        }
        if !row.applications.is_empty() {
            let header = applications::header(&row.applications);
            writeln!(to, "\n| {} |\n|{}", header.join(" | "), " --- |".repeat(header.len()))?;
            for row in &row.applications {
                let cells: Vec<String> = applications::cells(row).iter().map(|cell| escaped(cell)).collect();
                writeln!(to, "| {} |", cells.join(" | "))?;
            }
        }
        writeln!(to, "\n| {} |\n|{}", HEADER.join(" | "), " --- |".repeat(HEADER.len()))?;
        for cells in cells(row) {
            let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
            writeln!(to, "| {} |", cells.join(" | "))?;
        }
        for note in &row.notes {
            writeln!(to, "\n{}.", escaped(note))?;
        }
        if let Some(cost) = &row.observer {
            writeln!(to, "\nObserver: {}.", escaped(&cost.to_string()))?;
        }
        writeln!(to, "\nBudget: {}.\n", escaped(&row.budget))?;
    }
    Ok(())
}

/// A text in which nothing is taken for Markdown or HTML.
pub(in crate::report) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => escaped.extend(['\\', c]),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_statement_cannot_break_out_of_its_cell() {
        assert_eq!(super::escaped("a|b\n<c> `d`"), "a\\|b &lt;c&gt; \\`d\\`");
    }
}
