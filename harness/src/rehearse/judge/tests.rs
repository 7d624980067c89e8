//! Records made by hand: what must be found in them, and what must not.

use std::collections::{BTreeMap, BTreeSet};

use super::super::application::Application;
use super::super::apply::{Applied, Ran, Work};
use super::super::companion::ReplicaLock;
use super::super::course::WINDOW;
use super::super::crowd::Crowd;
use super::super::migrations::{Migrations, Transaction, Version};
use super::super::observer::Windows;
use super::super::progress::Progress;
use super::super::sampler::{Sample, Sampling, Waiting};
use super::super::traffic::Cast;
use super::*;
use crate::history::{ActorId, Tick};

const MIGRATOR: i64 = 7;
const READER: i64 = 11;
const TABLE: i64 = 100;

fn ms(n: u64) -> Tick {
    Tick(n * 1_000_000)
}

fn migrations() -> Migrations {
    let sql = "SELECT 1;\nALTER TABLE t ADD a int;\nSELECT 2;";
    Migrations::of_files("m", [("1_a.sql", sql)], crate::sql::Dialect::Postgres).unwrap()
}

fn plan(migrations: &Migrations) -> Plan<'_> {
    Plan {
        from: Version::none(),
        migrations: migrations.list.iter().collect(),
        traffic: Some(Crowd::Engine(Cast { workers: 1, writers: 0, readers: 1 }, Application::Plain)),
        companion: None,
        lock: ReplicaLock::Blocking,
        runner: None,
        stock: None,
        is_early: false,
        allowed: BTreeSet::new(),
        seed: 1,
        window: WINDOW,
        sampling: Sampling::default(),
        progress: Progress::default(),
    }
}

/// A file of three statements, applied from 1,000 to 2,000 ms: the second takes ACCESS EXCLUSIVE at 1,100, the third
/// runs from 1,200 on. A reader's operation took from 1,150 to 1,950 ms.
fn record(migrations: &Migrations) -> Record<'_> {
    let ran = |statement, from, until, took: &[(i64, Mode)]| Ran {
        statement,
        from: ms(from),
        until: ms(until),
        took: took.to_vec(),
        work: Vec::new(),
    };
    let applied = Applied {
        sessions: vec![MIGRATOR],
        from: ms(1_000),
        granted: None,
        until: ms(2_000),
        tables: BTreeMap::from([(TABLE, "t".to_owned())]),
        ran: vec![
            ran(0, 1_000, 1_100, &[]),
            ran(1, 1_100, 1_200, &[(TABLE, Mode::AccessExclusive)]),
            ran(2, 1_200, 1_990, &[]),
        ],
        noted: Vec::new(),
        failed: None,
    };
    let file = FileRun {
        pass: Pass::Up,
        version: Version::named("1"),
        script: &migrations.list[0].up,
        attempt: 1,
        skipped: None,
        applied,
        left: BTreeSet::new(),
        still: BTreeSet::new(),
        beside: Vec::new(),
        beside_refused: Vec::new(),
    };
    let operation = Operation {
        actor: ActorId(1),
        invoked: ms(1_150),
        returned: ms(1_950),
        class: Some(Class::Read),
        what: "a read".into(),
        refused: None,
        sql: None,
    };
    Record {
        files: vec![file],
        samples: vec![sample(1_300, &[waits(READER, MIGRATOR, Mode::AccessShare)])],
        operations: vec![operation],
        sessions: BTreeMap::from([(READER, ActorId(1))]),
        before: Windows { unobserved: vec![(ms(0), ms(500))], observed: vec![(ms(500), ms(1_000))] },
        irreversible: Some(Version::named("1")),
        ..Record::default()
    }
}

fn waits(pid: i64, behind: i64, mode: Mode) -> Waiting {
    Waiting { pid, behind: vec![behind], sort: "relation".into(), table: Some(TABLE), mode: Some(mode) }
}

fn sample(at: u64, waiting: &[Waiting]) -> Sample {
    let waiting = waiting.to_vec();
    Sample { from: ms(at), until: ms(at + 1), waiting, has: Vec::new(), phase: None, foreign: Vec::new() }
}

fn judged(record: &Record<'_>, migrations: &Migrations) -> Judged {
    judge(&plan(migrations), record, &Budget::default())
}

fn kinds(judged: &Judged) -> Vec<(Kind, u32)> {
    judged.findings.iter().map(|finding| (finding.kind, finding.line)).collect()
}

#[test]
fn a_block_is_the_fault_of_the_statement_that_took_the_lock_and_is_as_long_as_its_client_waited() {
    let migrations = migrations();
    let judged = judged(&record(&migrations), &migrations);
    assert_eq!(kinds(&judged), [(Kind::AccessExclusive, 2), (Kind::BlocksReaders, 2)]);
    assert!(judged.findings[0].sentence.contains("held for 900 ms"), "{:?}", judged.findings);
    assert!(judged.findings[0].sentence.contains("most of it while line 3 was carried out"), "{:?}", judged.findings);
    assert!(judged.findings[1].sentence.contains("1 read was blocked, the longest (a read) for 800 ms"));
}

#[test]
fn without_the_servers_word_a_slow_operation_is_nobodys_fault() {
    let migrations = migrations();
    let mut record = record(&migrations);
    record.samples = vec![sample(1_300, &[waits(READER, 99, Mode::AccessShare)])];
    assert_eq!(kinds(&judged(&record, &migrations)), [(Kind::AccessExclusive, 2)]);
}

#[test]
fn what_queues_behind_a_waiting_statement_is_told_apart_and_the_wait_is_no_hold() {
    let migrations = migrations();
    let mut record = record(&migrations);
    let ran = &mut record.files[0].applied.ran;
    (ran[1].until, ran[2].from) = (ms(1_980), ms(1_980));
    let queue = [waits(MIGRATOR, 99, Mode::AccessExclusive), waits(READER, MIGRATOR, Mode::AccessShare)];
    record.samples = (0..60).map(|n| sample(1_200 + n * 10, &queue)).collect();
    let judged = judged(&record, &migrations);
    assert_eq!(kinds(&judged), [(Kind::Queue, 2)]);
    assert!(
        judged.findings[0].sentence.starts_with("it waited for the traffic's own transactions, and behind it 1 read")
    );
}

#[test]
fn a_file_beside_which_nothing_ran_shows_nothing() {
    let migrations = migrations();
    let mut record = record(&migrations);
    assert_eq!(judged(&record, &migrations).inconclusive, [""; 0]);
    record.operations.clear();
    let why = judged(&record, &migrations).inconclusive;
    assert_eq!(why, ["m/1_a.sql (up): no operation of the traffic was under way while it was applied"]);
    record.full = true;
    assert_eq!(judged(&record, &migrations).inconclusive.len(), 2);
    record.files.clear();
    assert!(judged(&record, &migrations).inconclusive.contains(&"no migration was applied".to_owned()));
}

#[test]
fn an_error_that_the_budget_allows_is_none_and_any_other_is_told_with_its_code() {
    let migrations = migrations();
    let mut record = record(&migrations);
    record.samples.clear();
    record.operations[0].refused = Some(("40001".into(), "again".into()));
    assert_eq!(kinds(&judged(&record, &migrations)), [(Kind::AccessExclusive, 2)]);
    record.operations[0].refused = Some(("42P10".into(), "no index".into()));
    let judged = judged(&record, &migrations);
    assert_eq!(kinds(&judged), [(Kind::ApplicationError, 2), (Kind::AccessExclusive, 2)]);
    assert_eq!(judged.findings[0].code.as_deref(), Some("42P10"));
}

#[test]
fn a_circle_that_the_server_broke_is_a_deadlock_with_its_victim_and_no_queue() {
    let migrations = migrations();
    let circle = || {
        let mut record = record(&migrations);
        let waits_for_reader = waits(MIGRATOR, READER, Mode::AccessExclusive);
        record.samples = vec![sample(1_300, &[waits_for_reader, waits(READER, MIGRATOR, Mode::AccessShare)])];
        record
    };
    // A circle that nobody was ended for has opened by itself.
    assert!(!kinds(&judged(&circle(), &migrations)).iter().any(|(kind, _)| *kind == Kind::Deadlock));
    let mut record = circle();
    record.operations[0].refused = Some(("40P01".into(), "deadlock detected".into()));
    let told = judged(&record, &migrations);
    assert_eq!(kinds(&told)[0], (Kind::Deadlock, 3), "{:?}", told.findings);
    assert!(!kinds(&told).iter().any(|(kind, _)| [Kind::Queue, Kind::ApplicationError].contains(kind)));
    let sentence = &told.findings[0].sentence;
    assert!(sentence.contains("the application was the victim") && sentence.contains("what line 2 has locked"));
    let mut record = circle();
    let error = drift_engine::session::DbError {
        class: drift_engine::session::ErrorClass::Deadlock,
        code: Some("40P01".into()),
        message: "deadlock detected".into(),
        during: drift_engine::session::Kind::Write,
    };
    record.files[0].applied.failed = Some((2, error));
    let told = judged(&record, &migrations);
    assert!(told.findings[0].sentence.contains("the migration was the victim"), "{:?}", told.findings);
    assert!(!kinds(&told).iter().any(|(kind, _)| *kind == Kind::Refused), "{:?}", told.findings);
}

#[test]
fn work_under_a_lock_that_keeps_writers_out_is_found_by_its_nature_and_judged_by_the_rows_that_are_named() {
    let migrations = migrations();
    let with = |rows: i64, took: Mode| {
        let mut record = record(&migrations);
        (record.samples, record.rows) = (Vec::new(), BTreeMap::from([("t".to_owned(), rows)]));
        record.files[0].applied.ran[1].took = vec![(TABLE, took)];
        record.files[0].applied.ran[2].work = vec![(TABLE, Work::Rewrites)];
        record
    };
    let grows = |judged: &Judged| kinds(judged).contains(&(Kind::GrowsWithTable, 3));
    let found = judged(&with(50_000, Mode::Share), &migrations);
    assert!(grows(&found) && found.findings[0].advice.contains("the lock that line 2 took"), "{:?}", found.findings);
    assert!(!grows(&judged(&with(5_000, Mode::ShareUpdateExclusive), &migrations)));
    let few = judged(&with(500, Mode::Share), &migrations);
    assert!(!grows(&few) && few.notes[0].contains("790 ms for 500 rows here, too few"), "{:?}", few.notes);
    // 790 ms here, and 2,000 ms are allowed.
    for (rows, is_beyond) in [(100_000, false), (130_000, true)] {
        let budget = Budget { rows: BTreeMap::from([("t".to_owned(), rows)]), ..Budget::default() };
        let record = with(50_000, Mode::Share);
        assert_eq!(grows(&judge(&plan(&migrations), &record, &budget)), is_beyond, "{rows}");
    }
    // Of few rows it is found too, but nothing is concluded on more.
    let budget = Budget { rows: BTreeMap::from([("t".to_owned(), 100_000)]), ..Budget::default() };
    let few = judge(&plan(&migrations), &with(5_000, Mode::Share), &budget);
    assert!(!grows(&few) && few.notes[0].contains("too few to say what it comes to on 100000"), "{:?}", few.notes);
    assert!(grows(&judged(&with(5_000, Mode::Share), &migrations)));
    // A partition has its part of what is said of its table.
    for (rows, is_beyond) in [(200_000, false), (260_000, true)] {
        let budget = Budget { rows: BTreeMap::from([("whole".to_owned(), rows)]), ..Budget::default() };
        let mut record = with(50_000, Mode::Share);
        record.rows.insert("whole".to_owned(), 100_000);
        record.partitions.insert("t".to_owned(), "whole".to_owned());
        assert_eq!(grows(&judge(&plan(&migrations), &record, &budget)), is_beyond, "{rows}");
    }
    let budget = Budget { rows: BTreeMap::from([("typo".to_owned(), 1)]), ..Budget::default() };
    let notes = judge(&plan(&migrations), &with(50_000, Mode::Share), &budget).notes;
    assert_eq!(notes, ["--rows names the table typo, which is not there; there are t"]);
}

#[test]
fn an_error_is_blamed_on_the_statement_that_has_what_it_names_and_one_without_a_cause_on_nobody() {
    let migrations = migrations();
    let mut record = record(&migrations);
    record.samples.clear();
    record.operations[0].refused = Some(("42703".into(), "column \"a\" does not exist".into()));
    assert!(kinds(&judged(&record, &migrations)).contains(&(Kind::ApplicationError, 2)));
    // It began after the file had ended, and on a database without traffic no statement makes it fail.
    record.operations[0].invoked = ms(2_500);
    record.operations[0].returned = ms(2_510);
    record.twin = Some(crate::rehearse::twin::Twin { steps: Vec::new(), works: vec![0] });
    // What it names is a statement's all the same: rows that were written since may be what it is about.
    assert!(kinds(&judged(&record, &migrations)).contains(&(Kind::ApplicationError, 2)));
    record.operations[0].refused = Some(("23505".into(), "duplicate key violates \"other\"".into()));
    let judged = judged(&record, &migrations);
    assert!(!kinds(&judged).iter().any(|(kind, _)| *kind == Kind::ApplicationError), "{:?}", judged.findings);
    assert!(judged.inconclusive[0].starts_with("the traffic itself fails: "), "{:?}", judged.inconclusive);
}

#[test]
fn a_file_with_a_block_of_its_own_is_one_transaction_and_outside_of_one_locks_end_with_their_statement() {
    let lets_go = |sql: &str| {
        let text = format!("-- no-transaction\n{sql}");
        let read = Migrations::of_files("m", [("1_a.sql", text.as_str())], crate::sql::Dialect::Postgres).unwrap();
        let script = Script { transaction: Transaction::Each, ..read.list[0].up.clone() };
        (script.is_one_transaction(), (0..script.statements.len()).map(|one| script.lets_go(one)).collect::<Vec<_>>())
    };
    assert_eq!(lets_go("SELECT 1; SELECT 2; SELECT 3;"), (false, vec![0, 1, 2]));
    assert_eq!(lets_go("BEGIN; SELECT 2; COMMIT;"), (true, vec![2, 2, 2]));
    assert_eq!(lets_go("SELECT 1; BEGIN; SELECT 2; COMMIT; SELECT 3;"), (false, vec![0, 3, 3, 3, 4]));
}

fn refused(code: &str, message: &str) -> drift_engine::session::DbError {
    let (class, during) = (drift_engine::session::ErrorClass::Other, drift_engine::session::Kind::Write);
    drift_engine::session::DbError { class, code: Some(code.into()), message: message.into(), during }
}

/// A try of a file: at which statement it was refused, and how, and which it left out.
type Try<'t> = (Option<(usize, &'t str)>, Option<usize>);

/// The record's file, tried like this.
fn tries<'m>(migrations: &'m Migrations, all: &[Try<'_>]) -> Record<'m> {
    let mut record = record(migrations);
    record.samples.clear();
    let file = record.files.remove(0);
    for (number, (failed, skipped)) in (1_u32..).zip(all) {
        let mut file = FileRun { attempt: number, skipped: *skipped, ..file.clone() };
        file.applied.ran.clear();
        file.applied.from = ms(1_000 + u64::from(number));
        file.applied.failed = failed.map(|(at, code)| (at, refused(code, "no")));
        record.files.push(file);
    }
    record
}

#[test]
fn several_things_of_one_part_at_one_place_are_all_told_and_a_refusal_that_comes_again_once() {
    let migrations = migrations();
    let mut record = tries(&migrations, &[(Some((1, "42P07")), None), (Some((1, "42P07")), None)]);
    for key in 0..7 {
        record.files[1].left.insert(Left::AdvisoryLock { key: format!("1/{key}/1") });
    }
    // The same once more in a later part, which is no new thing.
    let mut again = FileRun { pass: Pass::Again, ..record.files[0].clone() };
    again.applied.failed = Some((1, refused("42P07", "not this time either")));
    record.files.push(again);
    let judged = judged(&record, &migrations);
    let of = |kind: Kind| judged.findings.iter().find(|one| one.kind == kind).map(|one| one.sentence.as_str());
    assert_eq!(of(Kind::Refused), Some("the database refused it: 42P07 no"));
    let left = of(Kind::LeftBehind).unwrap();
    assert!(left.starts_with("the session still has the advisory lock 1/0/1; and the session still has"), "{left}");
    assert!(left.contains("1/4/1") && !left.contains("1/5/1") && left.ends_with("; and 2 more of the kind"), "{left}");
}

#[test]
fn a_check_of_the_files_own_is_a_false_alarm_only_where_it_was_what_refused() {
    let migrations = migrations();
    let found = |all: &[Try<'_>]| {
        let found = judged(&tries(&migrations, all), &migrations).findings;
        found.iter().map(|one| (one.kind, one.code.clone().unwrap_or_default())).collect::<Vec<_>>()
    };
    let raised = (Some((1, "P0001")), None);
    let alarm = (Kind::FalseAlarm, "P0001".to_owned());
    assert_eq!(found(&[raised, raised, (None, Some(1))]), std::slice::from_ref(&alarm));
    let waited = (Some((1, "55P03")), None);
    assert_eq!(found(&[waited, raised, (None, Some(1))]), [alarm.clone(), (Kind::Refused, "55P03".to_owned())]);
    let other = (Some((0, "P0001")), None);
    assert_eq!(found(&[other, raised, (None, Some(1))]), [alarm, (Kind::Refused, "P0001".to_owned())]);
}

#[test]
fn that_an_earlier_line_has_dropped_what_is_missing_is_only_said_where_it_was_seen() {
    let sql = "ALTER TABLE t DROP COLUMN a;\nALTER TABLE t DROP COLUMN b;\nDROP INDEX i;";
    let migrations = Migrations::of_files("m", [("1_a.sql", sql)], crate::sql::Dialect::Postgres).unwrap();
    let mut record = tries(&migrations, &[(None, None)]);
    record.files[0].applied.failed = Some((2, refused("42704", "index \"i\" does not exist")));
    let advice = |record: &Record<'_>| judged(record, &migrations).findings[0].advice.clone();
    assert!(advice(&record).starts_with("Line 2 may have dropped it already"), "{}", advice(&record));
    let step = crate::rehearse::twin::Step {
        pass: Pass::Up,
        script: &migrations.list[0].up,
        statement: 0,
        lines: vec!["- index CREATE INDEX i ON public.t USING btree (a)".to_owned()],
        took: Vec::new(),
        work: Vec::new(),
        refuses: Vec::new(),
    };
    record.twin = Some(crate::rehearse::twin::Twin { steps: vec![step], works: Vec::new() });
    assert!(advice(&record).starts_with("Line 1 has dropped it already"), "{}", advice(&record));
    record.twin.as_mut().unwrap().steps[0].lines =
        vec!["- index CREATE INDEX ii ON public.t USING btree (a)".to_owned()];
    assert!(advice(&record).starts_with("Line 2 may have"), "{}", advice(&record));
}
