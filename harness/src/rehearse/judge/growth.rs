//! Statements that keep others out for a time that grows with a table: found by the lock and by what is done under it,
//! not by how long that took on the rows that there happen to be.

use std::time::Duration;

use super::super::apply::{Ran, Work};
use super::super::blame::{Hold, between, let_go};
use super::super::budget::Budget;
use super::super::course::{FileRun, Record};
use super::super::finding::Kind;
use super::super::modes::Mode;
use super::{Judged, advice, at};
use crate::sql::Statement;

/// Of fewer rows nothing is said: a table of settings may well stay as small as it is.
const ROWS_MIN: i64 = 1_000;

/// From fewer rows nothing is concluded on more: what a statement costs whatever the table's size is most of its time then.
const CONCLUSIVE_MIN: i64 = 10_000;

/// How many tables are named where one that was named is not there.
const TABLES_SHOWN: usize = 12;

/// A statement that works through a table under a lock that keeps writers out of it.
struct Growing<'r> {
    table: &'r str,
    mode: Mode,
    /// The statement that took the lock.
    holder: usize,
    work: Work,
    statement: usize,
    took: Duration,
}

/// Finds them.
pub(super) fn find(record: &Record<'_>, budget: &Budget, judged: &mut Judged) {
    for table in budget.rows.keys().filter(|table| !record.rows.contains_key(*table)) {
        let known: Vec<&str> = record.rows.keys().map(String::as_str).take(TABLES_SHOWN).collect();
        let why = format!("--rows names the table {table}, which is not there; there are {}", known.join(", "));
        judged.notes.push(why);
    }
    let mut found = Vec::new();
    for (file, measured) in record.files.iter().zip(&judged.measured) {
        let of_file = file.applied.ran.iter().flat_map(|ran| growing(file, &measured.holds, ran));
        found.extend(of_file.map(|growing| (file, growing)));
    }
    for (file, growing) in found {
        judge(record, budget, file, &growing, judged);
    }
}

fn growing<'r>(file: &'r FileRun<'_>, holds: &[Hold], ran: &'r Ran) -> Vec<Growing<'r>> {
    let under = |table: i64| {
        let earlier = file.applied.ran.iter().filter(|one| one.statement <= ran.statement);
        let held = earlier.filter(|one| let_go(file, one) >= ran.until);
        let locks = held.flat_map(|one| one.took.iter().map(|(on, mode)| (*on, *mode, one.statement)));
        let keeps = locks.filter(|(on, mode, _)| *on == table && mode.blocks_writers());
        keeps.max_by_key(|(_, mode, statement)| (*mode, std::cmp::Reverse(*statement)))
    };
    let one = |(table, work): &(i64, Work)| {
        let (_, mode, holder) = under(*table)?;
        let table = file.applied.tables.get(table)?;
        // While it waits for the lock, it does not work.
        let is_it = |hold: &&Hold| hold.statement == ran.statement && hold.table == *table && hold.mode == mode;
        let held = holds.iter().find(is_it).map(|hold| hold.held);
        let took = between(ran.from, ran.until);
        let took = held.map_or(took, |held| held.saturating_sub(between(ran.until, let_go(file, ran))).min(took));
        Some(Growing { table, mode, holder, work: *work, statement: ran.statement, took })
    };
    ran.work.iter().filter_map(one).collect()
}

/// How many rows a table has where it is deployed, if that was said: a partition has its part of what its table has.
fn there(record: &Record<'_>, budget: &Budget, table: &str, here: i64) -> Option<u64> {
    budget.rows.get(table).copied().or_else(|| {
        let whole = record.partitions.get(table)?;
        let (there, of_whole) = (*budget.rows.get(whole)?, *record.rows.get(whole)?);
        u64::try_from((i128::from(here) * i128::from(there)).checked_div(i128::from(of_whole))?).ok()
    })
}

fn judge(record: &Record<'_>, budget: &Budget, file: &FileRun<'_>, growing: &Growing<'_>, judged: &mut Judged) {
    let Growing { table, mode, holder, work, statement, took } = growing;
    let line = |number: usize| file.script.statements.get(number).map_or(1, |one| one.line);
    let here = record.rows.get(*table).copied().unwrap_or_default();
    let whom = if mode.blocks_readers() { "readers and writers" } else { "writers" };
    let from = if holder == statement { String::new() } else { format!(" taken at line {},", line(*holder)) };
    let what = format!(
        "it {} {table} under {},{from} which keeps {whom} out: {} ms for {here} rows here",
        work.as_str(),
        mode.as_str(),
        took.as_millis()
    );
    let limit_ms =
        if mode.blocks_readers() { budget.read_block_ms.min(budget.write_block_ms) } else { budget.write_block_ms };
    let place = format!("{}:{} ({})", file.script.file, line(*statement), file.pass.as_str());
    let sentence = match there(record, budget, table, here) {
        _ if here < ROWS_MIN => {
            judged.notes.push(format!("{place}: {what}, too few to say what it comes to on more: fill the table"));
            return;
        }
        Some(there) if here < CONCLUSIVE_MIN && there > here.unsigned_abs() => {
            judged.notes.push(format!("{place}: {what}, too few to say what it comes to on {there}: fill the table"));
            return;
        }
        Some(there) => {
            let there_ms = took.as_secs_f64() * 1e3 * (there as f64 / here as f64);
            let comes =
                format!("{what}, about {there_ms:.0} ms for the {there} rows of --rows; {limit_ms} ms are allowed");
            if there_ms <= limit_ms as f64 {
                judged.notes.push(format!("{place}: {comes}"));
                return;
            }
            comes
        }
        None => format!(
            "{what}, and longer the more rows there are. --rows {}=N says how many it has where it is deployed",
            record.partitions.get(*table).map_or(*table, String::as_str)
        ),
    };
    let mut finding = at(file, *statement, Kind::GrowsWithTable, sentence);
    // A statement that would take the lock itself is not mended by standing alone.
    let alone = |one: &Statement| advice::of(Kind::GrowsWithTable, one, file.script.layout).is_none();
    if holder != statement && file.script.statements.get(*statement).is_some_and(alone) {
        finding.advice = advice::elsewhere(line(*holder));
    }
    judged.findings.push(finding);
}
