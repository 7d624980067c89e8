//! Whether the code of the version before still works on each version.

use super::super::finding::{Finding, Kind};
use super::super::migrations::Version;
use super::super::releases::{Cell, Failure, Outcome, Release, Table};
use super::{Judged, placed};

/// Adds what a table shows to what was found, and answers what else is to be known.
pub fn add(table: &Table<'_>, judged: &mut Judged) -> Vec<String> {
    let mut notes = Vec::new();
    let (mut asked, mut works) = (0, 0);
    let mut before = &table.from;
    for migration in &table.migrations {
        let version = &migration.version;
        if let Some((old, cells)) = table.lines.iter().rfind(|(release, _)| release.version < *version) {
            asked += 1;
            match (at(cells, before), at(cells, version)) {
                (_, Outcome::Works) => works += 1,
                (_, Outcome::NotReached(why)) => {
                    judged.inconclusive.push(format!("{} on version {version}: {why}", named(old)))
                }
                (Outcome::Works, Outcome::Fails(failure)) => {
                    judged.findings.push(broken(table, old, (before, version), failure));
                }
                // Said already, with the version that broke it or below.
                (Outcome::Fails(_) | Outcome::NotReached(_), Outcome::Fails(_)) => {}
            }
        }
        notes.extend(too_early(table, before, version));
        before = version;
    }
    for (release, cells) in &table.lines {
        let own = release.version.clone().max(table.from.clone());
        if let Some(Outcome::Fails(failure)) = cells.iter().find(|cell| cell.schema == own).map(|cell| &cell.outcome) {
            let why = format!("{} does not work on version {own} itself: {}", named(release), told(failure));
            judged.inconclusive.push(format!("{why}: what a migration breaks cannot be seen"));
        }
    }
    if asked > 0 && works == asked {
        notes.push(format!("on each of {asked} versions the application of the version before it still works"));
    }
    super::sort(&mut judged.findings);
    notes
}

/// An application, for people.
fn named(release: &Release) -> String {
    format!("the application of version {} ({})", release.version, release.name)
}

fn at<'c>(cells: &'c [Cell], version: &Version) -> &'c Outcome {
    let cell = cells.iter().find(|cell| cell.schema == *version);
    &cell.expect("an application is tried on every version").outcome
}

fn told(failure: &Failure) -> String {
    let statement = failure.statement.as_ref().map(|statement| format!(" ({statement})")).unwrap_or_default();
    let code = failure.code.as_ref().map(|code| format!("{code} ")).unwrap_or_default();
    format!("{}{statement}: {code}{}", failure.what, failure.said)
}

fn broken(table: &Table<'_>, old: &Release, (before, version): (&Version, &Version), failure: &Failure) -> Finding {
    let migration = table.migrations.iter().find(|one| one.version == *version);
    let script = &migration.expect("a version is a migration's").up;
    let cells = table.lines.iter().find(|(release, _)| release.version == old.version).map(|(_, cells)| cells);
    let cell = cells.and_then(|cells| cells.iter().find(|cell| cell.schema == *version));
    let statement = cell.and_then(|cell| cell.broken_by).unwrap_or_default();
    let mut sentence = format!(
        "{} works on version {before} and not on version {version}, which it meets while a deploy lasts: {}",
        named(old),
        told(failure)
    );
    if let Some((new, cells)) = table.lines.iter().find(|(release, _)| release.version == *version)
        && let Outcome::Fails(failure) = at(cells, before)
    {
        let new = named(new);
        sentence.push_str(&format!("; nor does {new} work on version {before} ({}): no order is safe", told(failure)));
    }
    let mut finding = placed(script, statement, Kind::OldApplication, "up", sentence);
    finding.code.clone_from(&failure.code);
    finding
}

/// What is to be said where code must not come before its schema.
fn too_early(table: &Table<'_>, before: &Version, version: &Version) -> Option<String> {
    let (new, cells) = table.lines.iter().find(|(release, _)| release.version == *version)?;
    let Outcome::Fails(failure) = at(cells, before) else { return None };
    Some(format!(
        "{} does not work on version {before} yet: deploy it after the migration, and withdraw it before that is \
         undone: {}",
        named(new),
        told(failure)
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::application::Application;
    use super::super::super::migrations::Migrations;
    use super::super::super::releases::Code;
    use super::*;
    use crate::sql::Dialect;

    fn version(number: usize) -> Version {
        Version::at(number, &number.to_string())
    }

    fn release(number: usize) -> Release {
        Release { version: version(number), name: format!("v{number}"), code: Code::Engine(Application::Plain) }
    }

    fn fails(code: &str) -> Outcome {
        let (what, said) = ("shop, step take".to_owned(), "no such column".to_owned());
        Outcome::Fails(Failure { what, statement: Some("INSERT".to_owned()), code: Some(code.to_owned()), said })
    }

    /// Judges three versions, 1 to 3, the second of which has two statements.
    fn judged(lines: Vec<(usize, [Outcome; 3])>) -> (Judged, Vec<String>) {
        let files = [("1_a.sql", "SELECT 1"), ("2_b.sql", "SELECT 1;\nALTER TABLE t DROP a"), ("3_c.sql", "SELECT 1")];
        let migrations = Migrations::of_files("m", files, Dialect::Postgres).unwrap();
        let cells = |outcomes: [Outcome; 3]| {
            let cell = |(schema, outcome)| Cell { schema: version(schema), outcome, broken_by: Some(1) };
            (1..).zip(outcomes).map(cell).collect()
        };
        let lines = lines.into_iter().map(|(number, outcomes)| (release(number), cells(outcomes))).collect();
        let table =
            Table { from: version(1), migrations: migrations.between(&version(1), &version(3)).collect(), lines };
        let mut judged = Judged {
            findings: Vec::new(),
            inconclusive: Vec::new(),
            notes: Vec::new(),
            measured: Vec::new(),
            checks: Vec::new(),
            rates: None,
            observer: None,
            errors: BTreeMap::new(),
        };
        let notes = add(&table, &mut judged);
        (judged, notes)
    }

    #[test]
    fn the_code_of_the_version_before_is_asked_about_and_no_other() {
        use Outcome::Works;
        let (sound, notes) = judged(vec![(1, [Works, Works, fails("42703")]), (2, [fails("42703"), Works, Works])]);
        assert!(sound.findings.is_empty() && sound.inconclusive.is_empty(), "{sound:?}");
        assert!(notes[0].starts_with("the application of version 2 (v2) does not work on version 1 yet"), "{notes:?}");
        assert!(notes[1].starts_with("on each of 2 versions"), "{notes:?}");

        let (broken, notes) = judged(vec![(1, [Works, fails("42703"), fails("42703")])]);
        let found: Vec<_> = broken.findings.iter().map(|one| (one.kind, one.line, one.code.as_deref())).collect();
        assert_eq!(found, [(Kind::OldApplication, 2, Some("42703"))]);
        assert!(broken.findings[0].sentence.contains("shop, step take (INSERT): 42703 no such column"));
        assert_eq!(notes, [""; 0]);

        let (neither, _) = judged(vec![(1, [Works, fails("42703"), Works]), (2, [fails("42P01"), Works, Works])]);
        assert!(neither.findings[0].sentence.ends_with("no order is safe"), "{}", neither.findings[0].sentence);
    }

    #[test]
    fn an_application_that_works_nowhere_and_a_version_that_is_not_reached_show_nothing() {
        let (nowhere, notes) = judged(vec![(1, [fails("1"), fails("1"), fails("1")])]);
        assert!(nowhere.findings.is_empty() && notes.is_empty());
        assert!(nowhere.inconclusive[0].contains("does not work on version 1 itself"), "{:?}", nowhere.inconclusive);
        let missing = || Outcome::NotReached("2_b.sql was refused".to_owned());
        let (missing, _) = judged(vec![(1, [Outcome::Works, missing(), missing()])]);
        assert!(missing.findings.is_empty());
        assert_eq!(missing.inconclusive.len(), 2);
    }
}
