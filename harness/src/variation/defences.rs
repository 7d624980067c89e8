//! What a script protects itself with, and the script without it.

use std::ops::Range;

use drift_engine::lock::Backend;

use super::catalog::{Catalog, Constraint, ConstraintKind};
use super::{Draft, Variation};
use crate::explore::statement::{Does as Doing, message};
use crate::scenario::script::{Script, ScriptCase};
use crate::sql::one_line;
use crate::syntax::{Answers, Change, Does, Tree};

/// Something by which a script protects itself, in all its actors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defence {
    /// What it is, and where: `FOR UPDATE (a.read, b.read)`.
    pub name: String,
    /// What takes it away.
    edits: Vec<Edit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    /// A part of a step's SQL reads otherwise.
    Step { at: (usize, usize), part: Range<usize>, text: String },
    /// What `{begin}` stands for does.
    Begin(String),
    /// One statement more in the set-up.
    SetUp(String),
    /// An actor does not begin anew.
    NoRetry(usize),
}

/// The defences of a script, as one of its cases has it: each once, wherever it is repeated in the same words.
pub fn defences(script: &Script, case: &ScriptCase, catalog: &Catalog) -> Vec<Defence> {
    let mut found = Found { script, defences: Vec::new() };
    for (actor, of) in script.actors.iter().enumerate() {
        for (step, of_step) in of.steps.iter().enumerate() {
            found.of_step(case, (actor, step), &of_step.sql);
        }
        if of.retries > 0 {
            found.add("retry".to_owned(), of.name.clone(), Edit::NoRetry(actor));
        }
    }
    if let Some(weaker) = weaker_begin(&case.begin, case.backend)
        && script.actors.iter().flat_map(|actor| &actor.steps).any(|step| step.sql.contains("{begin}"))
    {
        found.add(case.begin.clone(), "case".to_owned(), Edit::Begin(weaker));
    }
    let mut written = Written::of(script, case);
    written.is_unknown |= catalog.has_triggers;
    for constraint in catalog.constraints.iter().filter(|constraint| written.may_meet(constraint)) {
        found.of_constraint(constraint);
    }
    found.defences.into_iter().map(|(what, places, edits)| Defence { name: named(&what, &places), edits }).collect()
}

pub(super) fn named(what: &str, places: &[String]) -> String {
    format!("{what} ({})", places.join(", "))
}

/// A BEGIN that promises less, if there is one.
fn weaker_begin(begin: &str, backend: Backend) -> Option<String> {
    match backend {
        Backend::Postgres => {
            let tree = Tree::of(begin)?;
            let levels = tree.isolation_levels();
            let read_committed = levels.iter().map(|part| (part.clone(), "ISOLATION LEVEL READ COMMITTED".to_owned()));
            (!levels.is_empty()).then(|| tree.with(read_committed.collect::<Vec<_>>()))
        }
        Backend::Sqlite => {
            let mut words = begin.split_whitespace();
            let begins = words.next()?.eq_ignore_ascii_case("BEGIN");
            let how = words.next()?.to_ascii_uppercase();
            (begins && matches!(how.as_str(), "IMMEDIATE" | "EXCLUSIVE")).then(|| "BEGIN".to_owned())
        }
    }
}

/// What the actors write, as far as their statements say.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Table and column; `None`: a whole row.
    pub columns: Vec<(String, Option<String>)>,
    /// There is a statement of which that is not known: it calls something, or cannot be read.
    pub is_unknown: bool,
}

impl Written {
    fn of(script: &Script, case: &ScriptCase) -> Self {
        let mut written = Self::default();
        for step in script.actors.iter().flat_map(|actor| &actor.steps) {
            // A function, a WITH or a second statement may write anything.
            if let Some(tree) = Tree::of(&step.sql)
                && tree.is_opaque()
                && !step.sql.trim().eq_ignore_ascii_case("{begin}")
            {
                written.is_unknown = true;
            }
            let does = message(&case.begun(&step.sql)).does;
            let tree = Tree::of(&step.sql);
            match tree.as_ref().and_then(Tree::change) {
                Some(change) => written.add(change),
                None if !matches!(does, Doing::Works | Doing::Code | Doing::Mixed) => {}
                // Whoever only takes a lock writes nothing; whatever else is called may.
                None => {
                    let is_read = |tree: &Tree| tree.read().is_some() || !tree.advisory_calls().is_empty();
                    written.is_unknown |= !tree.as_ref().is_some_and(is_read);
                }
            }
        }
        written
    }

    /// What one statement changes.
    pub fn add(&mut self, change: Change) {
        match change.does {
            // `SET (a, b) = …` sets what is not told one by one.
            Does::Update if !change.values.is_empty() => {
                let columns = change.values.into_iter().map(|(column, ..)| column);
                self.columns.extend(columns.map(|column| (change.table.clone(), Some(column))));
            }
            Does::Insert | Does::Update | Does::Delete => self.columns.push((change.table, None)),
        }
    }

    /// Whether something that is written could be what a constraint refuses.
    pub fn may_meet(&self, constraint: &Constraint) -> bool {
        let meets = |(table, column): &(String, Option<String>)| {
            let refers = constraint.refers_to.as_ref().is_some_and(|(parent, _)| same_table(parent, table));
            // An expression or a condition of an index may be about any column.
            let is_plain =
                !constraint.definition.contains(" WHERE ") && constraint.definition.matches('(').count() <= 1;
            let same = |one: &String, column: &String| {
                one == column.trim_matches('"') || !column.starts_with('"') && one.eq_ignore_ascii_case(column)
            };
            let is_its = constraint.columns.is_empty()
                || !is_plain
                || column.as_ref().is_none_or(|column| constraint.columns.iter().any(|one| same(one, column)));
            refers || same_table(&constraint.table, table) && is_its
        };
        self.is_unknown || self.columns.iter().any(meets)
    }
}

struct Found<'s> {
    script: &'s Script,
    /// What it is, where, and what takes it away.
    defences: Vec<(String, Vec<String>, Vec<Edit>)>,
}

impl Found<'_> {
    fn add(&mut self, what: String, place: String, edit: Edit) {
        match self.defences.iter_mut().find(|(known, ..)| *known == what) {
            Some((_, places, edits)) => {
                if !places.contains(&place) {
                    places.push(place);
                }
                edits.push(edit);
            }
            None => self.defences.push((what, vec![place], vec![edit])),
        }
    }

    fn of_step(&mut self, case: &ScriptCase, at: (usize, usize), sql: &str) {
        let place = self.script.name_of(at);
        let edit = |part: Range<usize>, text: &str| Edit::Step { at, part, text: text.to_owned() };
        let Some(tree) = Tree::of(sql) else {
            if let Some(weaker) = weaker_begin(sql, case.backend) {
                self.add(sql.to_owned(), place, edit(0..sql.len(), &weaker));
            }
            return;
        };
        for one in tree.protections() {
            let weaker = tree.in_place_of(&one, Answers::Captured);
            self.add(one.name, place.clone(), edit(one.range, &weaker));
        }
    }

    fn of_constraint(&mut self, constraint: &Constraint) {
        let mut edits = vec![Edit::SetUp(constraint.dropped())];
        if constraint.keeps_apart() {
            // An ON CONFLICT that needs it goes with it, or the statement could not be run at all.
            for (actor, of) in self.script.actors.iter().enumerate() {
                for (step, of_step) in of.steps.iter().enumerate() {
                    let Some(tree) = Tree::of(&of_step.sql) else { continue };
                    let is_its = tree.change().is_some_and(|change| {
                        change.does == Does::Insert && same_table(&change.table, &constraint.table)
                    });
                    if !is_its {
                        continue;
                    }
                    let needing =
                        tree.on_conflicts().into_iter().filter(|part| names(&of_step.sql[part.clone()], constraint));
                    edits.extend(needing.map(|part| Edit::Step { at: (actor, step), part, text: String::new() }));
                }
            }
        }
        self.defences.push((what_it_is(constraint), vec![constraint.table.clone()], edits));
    }
}

/// What a constraint is called as a defence.
pub(super) fn what_it_is(constraint: &Constraint) -> String {
    match constraint.kind {
        ConstraintKind::Index => format!("UNIQUE INDEX {}", constraint.name),
        _ => one_line(&constraint.definition),
    }
}

/// Whether an ON CONFLICT clause names a constraint, or the columns that it keeps apart.
pub(super) fn names(clause: &str, constraint: &Constraint) -> bool {
    let Some(at) = clause.to_ascii_lowercase().find("conflict") else { return false };
    let target = clause[at + "conflict".len()..].trim_start();
    if let Some(name) = after_word(target, "on").and_then(|rest| after_word(rest, "constraint")) {
        return identifier(name) == identifier(&constraint.name);
    }
    let Some(inside) = target.strip_prefix('(').and_then(|inside| inside.split_once(')')) else { return false };
    let lower = inside.0.to_ascii_lowercase();
    let mut named: Vec<String> = lower.split(',').map(|column| column.trim().trim_matches('"').to_owned()).collect();
    let mut columns: Vec<String> = constraint.columns.iter().map(|column| column.to_ascii_lowercase()).collect();
    named.sort_unstable();
    columns.sort_unstable();
    named == columns
}

/// What follows a word, if a text begins with it.
fn after_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let begins = text.get(..word.len())?.eq_ignore_ascii_case(word);
    let rest = &text[word.len()..];
    (begins && rest.starts_with(char::is_whitespace)).then(|| rest.trim_start())
}

/// The identifier at the beginning of a text, as the catalogue has it: quoted it keeps its case, bare it does not.
fn identifier(text: &str) -> String {
    let Some(quoted) = text.strip_prefix('"') else {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        return text.chars().take_while(|c| is_part(*c)).collect::<String>().to_lowercase();
    };
    let mut chars = quoted.chars().peekable();
    let mut name = String::new();
    while let Some(c) = chars.next() {
        // Two quotes are one that belongs to the name.
        if c == '"' && chars.next_if_eq(&'"').is_none() {
            break;
        }
        name.push(c);
    }
    name
}

/// Whether two names are one table's, as far as their texts say: a schema may be left out.
pub(super) fn same_table(one: &str, other: &str) -> bool {
    let bare = |name: &str| name.rsplit('.').next().unwrap_or(name).trim_matches('"').to_ascii_lowercase();
    bare(one) == bare(other)
}

/// The script without these defences.
pub fn without(script: &Script, case: &ScriptCase, defences: &[&Defence]) -> Variation {
    let mut draft: Draft = Variation::of(script, case);
    let mut parts: Vec<((usize, usize), Range<usize>, &str)> = Vec::new();
    for edit in defences.iter().flat_map(|defence| &defence.edits) {
        match edit {
            // One part may be two defences', as an ON CONFLICT is that goes with its constraint.
            Edit::Step { at, part, text } if !parts.iter().any(|(of, known, _)| (of, known) == (at, part)) => {
                parts.push((*at, part.clone(), text));
            }
            Edit::Step { .. } => {}
            Edit::Begin(begin) => {
                draft.case.begin.clone_from(begin);
                for (actor, of) in script.actors.iter().enumerate() {
                    let begins = (0..of.steps.len()).filter(|step| of.steps[*step].sql.contains("{begin}"));
                    begins.for_each(|step| draft.alters((actor, step)));
                }
            }
            Edit::SetUp(sql) => draft.set_up(sql),
            Edit::NoRetry(actor) => {
                draft.script.actors[*actor].retries = 0;
                draft.statements.push((script.actors[*actor].name.clone(), "retry = 0".to_owned()));
            }
        }
    }
    parts.sort_by_key(|(at, part, _)| (*at, std::cmp::Reverse(part.start)));
    for (at, part, text) in parts {
        let mut sql = draft.script.actors[at.0].steps[at.1].sql.clone();
        sql.replace_range(part, text);
        draft.rewrite(at, sql);
    }
    let names: Vec<&str> = defences.iter().map(|defence| defence.name.as_str()).collect();
    draft.named(format!("without {}", names.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_names_a_constraint_by_its_whole_name_however_that_is_written() {
        let constraint = |name: &str| Constraint {
            table: "t".to_owned(),
            name: name.to_owned(),
            kind: ConstraintKind::Unique,
            definition: "UNIQUE (seat)".to_owned(),
            columns: vec!["seat".to_owned()],
            refers_to: None,
        };
        for (clause, name, is_its) in [
            (" ON CONFLICT ON CONSTRAINT \"seat_key\" DO NOTHING", "seat_key", true),
            (" ON CONFLICT ON CONSTRAINT seat_key DO NOTHING", "seat_key", true),
            (" on conflict ON\n  Constraint  SEAT_KEY do nothing", "seat_key", true),
            (" ON CONFLICT ON CONSTRAINT \"Seat \"\"key\" DO NOTHING", "\"Seat \"\"key\"", true),
            (" ON CONFLICT ON CONSTRAINT t_pkey2 DO NOTHING", "t_pkey", false),
            (" ON CONFLICT ON CONSTRAINT \"t_pkey2\" DO NOTHING", "t_pkey", false),
            (" ON CONFLICT ON CONSTRAINT Seat_Key DO NOTHING", "\"Seat_Key\"", false),
            (" ON CONFLICT (\"seat\") DO NOTHING", "seat_key", true),
            (" ON CONFLICT (id) DO NOTHING", "seat_key", false),
            (" ON CONFLICT DO NOTHING", "seat_key", false),
        ] {
            assert_eq!(names(clause, &constraint(name)), is_its, "{clause} {name}");
        }
        // What is gone all the same is no check's merit.
        assert!(super::super::mutate::cannot_run("42704"));
    }
}
