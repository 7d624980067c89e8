//! The report as SARIF 2.1.0: each finding at its line of its migration file.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::RehearseReport;
use crate::rehearse::finding::Kind;

/// Writes the report.
///
/// # Errors
/// The writer's.
pub fn write(report: &RehearseReport, to: &mut dyn Write) -> io::Result<()> {
    let rules: Vec<Value> = Kind::ALL
        .iter()
        .map(|kind| {
            json!({
                "id": kind.as_str(),
                "shortDescription": { "text": kind.title() },
                "help": { "text": kind.advice() },
            })
        })
        .collect();
    let mut results = Vec::new();
    for row in &report.results {
        // What is expected is no news.
        let level = if row.met { "note" } else { "error" };
        for finding in &row.findings {
            let rule = Kind::ALL.iter().position(|kind| *kind == finding.kind);
            results.push(json!({
                "ruleId": finding.kind.as_str(),
                "ruleIndex": rule,
                "level": level,
                "message": { "text": format!("{} Instead: {}", sentence(&finding.sentence), finding.advice) },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": uri(&finding.file) },
                        "region": { "startLine": finding.line, "startColumn": finding.column },
                    },
                }],
                "properties": { "pass": finding.pass, "beside": row.strategy, "sqlstate": finding.code },
            }));
        }
    }
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "driftlock",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "results": results,
        }],
    });
    serde_json::to_writer_pretty(&mut *to, &document)?;
    writeln!(to)
}

/// A path as SARIF wants it: a relative reference, or a URI of a file, without spaces.
fn uri(path: &str) -> String {
    match url::Url::from_file_path(path) {
        Ok(url) => url.to_string(),
        Err(()) => path.replace('%', "%25").replace(' ', "%20"),
    }
}

/// A sentence with its capital and its stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_path_is_a_reference_that_can_be_read_back() {
        assert_eq!(super::uri("migrations/1_a.sql"), "migrations/1_a.sql");
        assert_eq!(super::uri("my files/1_a.sql"), "my%20files/1_a.sql");
        assert_eq!(super::uri("/my files/1_a.sql"), "file:///my%20files/1_a.sql");
    }
}
