//! What shows a verdict of a rehearsal, in a sentence: a pass says on which sizes, within which limits, and at what cost.

use super::row::FileRow;
use crate::rehearse::budget::Budget;
use crate::rehearse::course::Record;
use crate::rehearse::judge::Judged;
use crate::rehearse::operation::Class;

/// How many tables are named, largest first.
const TABLES_SHOWN: usize = 3;

/// The sentence.
pub(super) fn of(record: &Record<'_>, judged: &Judged, budget: &Budget, files: &[FileRow]) -> String {
    if let Some(finding) = judged.findings.first() {
        return format!("{}:{}: {}: {}", finding.file, finding.line, finding.kind.as_str(), finding.sentence);
    }
    if let Some(why) = judged.inconclusive.first() {
        return why.clone();
    }
    let overlapped: usize = files.iter().map(|file| file.overlapped).sum();
    let longest = |class: Class| {
        let blocked = judged.measured.iter().flat_map(|measured| &measured.blame.blocked);
        let took = blocked.filter(|blocked| blocked.class == class).map(|blocked| blocked.took.as_millis());
        took.max().unwrap_or(0)
    };
    format!(
        "{} files were applied while {overlapped} operations were under way{}; no read was blocked for more than {} ms \
         ({} are allowed), no write for more than {} ms ({}){}; {}; {}",
        files.len(),
        sizes(record),
        longest(Class::Read),
        budget.read_block_ms,
        longest(Class::Write),
        budget.write_block_ms,
        lost(judged, budget),
        match &record.script {
            Some(script) =>
                format!("after {} rounds of the script its {} invariants held", script.rounds, script.invariants.len()),
            None => format!("of {} operations none was lost or wrong", record.operations.len()),
        },
        match (&record.down_differs, &record.again_differs) {
            (Some(_), Some(_)) => "down and up again the schema was the same",
            _ => "going down was not rehearsed",
        }
    )
}

/// The largest tables, a partitioned one as a whole: on more rows it may come out otherwise.
fn sizes(record: &Record<'_>) -> String {
    let mut tables: Vec<(&String, &i64)> =
        record.rows.iter().filter(|(name, rows)| **rows > 0 && !record.partitions.contains_key(*name)).collect();
    tables.sort_by_key(|(name, rows)| (std::cmp::Reverse(**rows), *name));
    let shown: Vec<String> =
        tables.iter().take(TABLES_SHOWN).map(|(name, rows)| format!("{name} with {rows} rows")).collect();
    if shown.is_empty() { String::new() } else { format!(", on {}", shown.join(", ")) }
}

/// The throughput that was lost meanwhile, where it was measured.
fn lost(judged: &Judged, budget: &Budget) -> String {
    let Some([_, before, during, _]) = judged.rates.as_ref().filter(|rates| rates[1].per_second > 0.0) else {
        return String::new();
    };
    let share = (1.0 - during.per_second / before.per_second).max(0.0);
    format!(
        "; {:.0} % of the throughput was lost meanwhile ({:.0} % are)",
        share * 100.0,
        budget.throughput_dip * 100.0
    )
}
