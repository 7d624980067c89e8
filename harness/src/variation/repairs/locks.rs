//! Repairs by locks: of the rows that are read, of a row that stands for them, of a number.

use std::collections::{BTreeMap, BTreeSet};

use super::Job;
use crate::scenario::script::{ScriptActor, holes};
use crate::syntax::{Does, Equality};
use crate::variation::course::look;
use crate::variation::defences::same_table;
use crate::variation::rule::TextRule;
use crate::variation::{Draft, Variation};

impl Job<'_> {
    /// A lock on the rows that are read before something is changed.
    pub(super) fn row_locks(&self, strength: &str) -> Option<Variation> {
        self.locked_reads(strength, false).map(|draft| draft.named(format!("{strength} on what is read")))
    }

    /// A lock on the first row that is free, where a queue is read.
    pub(super) fn skip_locked(&self) -> Option<Variation> {
        let draft = self.locked_reads("FOR UPDATE SKIP LOCKED", true)?;
        Some(draft.named("FOR UPDATE SKIP LOCKED on the queue's read"))
    }

    fn locked_reads(&self, clause: &str, of_queues: bool) -> Option<Draft> {
        let (mut draft, _) = self.in_transactions()?;
        let rule = TextRule::LockReads { clause: clause.to_owned(), of_queues, tables: self.shared.clone() };
        let mut changed = false;
        for actor in 0..draft.script.actors.len() {
            if !self.changes(&draft.script.actors[actor]) {
                continue;
            }
            for step in 0..draft.script.actors[actor].steps.len() {
                changed |= draft.applies(&rule, (actor, step));
            }
        }
        // Who only reads has no need to lock, unless it asks in the same words.
        let of = |changes: bool| {
            let actors = self.script.actors.iter().filter(move |actor| self.changes(actor) == changes);
            actors.flat_map(|actor| &actor.steps).map(|step| step.sql.clone())
        };
        let locks: BTreeSet<String> = of(true).collect();
        draft.on_wire.stays = of(false).filter(|text| !locks.contains(text)).collect();
        draft.on_wire.rules.push(rule);
        changed.then_some(draft)
    }

    /// A lock on the rows that are counted or summed up, just before they are.
    pub(super) fn counted_rows(&self) -> Option<Variation> {
        let (mut draft, _) = self.in_transactions()?;
        let mut changed = false;
        for actor in 0..draft.script.actors.len() {
            if !self.changes(&draft.script.actors[actor]) {
                continue;
            }
            // From the end, so that numbers of steps stay as they are.
            for one in look(&draft.script.actors[actor], &draft.case).into_iter().rev() {
                let Some(read) = one.read.filter(|read| !read.can_lock && !read.from.is_empty()) else { continue };
                if read.tables.len() != 1 || !self.is_shared(&read.tables[0]) {
                    continue;
                }
                let lock = draft.new_step(actor, "lock", format!("SELECT 1 {} FOR UPDATE", read.from));
                let number = draft.script.actors[actor].insert_before(one.step, lock);
                draft.alters((actor, number));
                changed = true;
            }
        }
        changed.then(|| draft.named("FOR UPDATE of the rows that are counted, before they are"))
    }

    /// A lock on the row to which the changed rows refer, before anything else.
    pub(super) fn parent_row(&self) -> Option<Variation> {
        let (mut draft, begins) = self.in_transactions()?;
        let foreign = self.catalog.constraints.iter().filter(|one| self.is_shared(&one.table));
        let (key, parent, parent_key) = foreign
            .filter_map(|one| {
                let (parent, key) = one.refers_to.as_ref()?;
                let [column] = &one.columns[..] else { return None };
                Some(((one.table.clone(), column.clone()), parent.clone(), key.clone()))
            })
            .find(|(key, ..)| {
                let writes =
                    |actor: &ScriptActor| !self.changes(actor) || value_of(self, actor, &key.0, &key.1).is_some();
                self.script.actors.iter().all(writes)
            })?;
        for (actor, begin) in begins.into_iter().enumerate() {
            let Some(value) = value_of(self, &draft.script.actors[actor], &key.0, &key.1) else { continue };
            let sql = format!("SELECT 1 FROM {parent} WHERE {parent_key} = {value} FOR UPDATE");
            self.first_of_all(&mut draft, actor, begin, sql);
        }
        Some(draft.named(format!("FOR UPDATE of the row of {parent}, first of all")))
    }

    /// An advisory lock of the transaction, before anything else: on the row's key where all have one, else on the table.
    pub(super) fn advisory_lock(&self) -> Option<Variation> {
        let (mut draft, begins) = self.in_transactions()?;
        let table = self.shared.first()?;
        let keyed = (self.shared.len() == 1).then(|| self.common_key(table)).flatten();
        for (actor, begin) in begins.into_iter().enumerate() {
            if !self.touches_shared(&draft.script.actors[actor]) {
                continue;
            }
            let name = match &keyed {
                Some(values) => format!("concat('{table}:', {})", values.get(&actor)?),
                None => format!("'{}'", self.shared.join(", ")),
            };
            let sql = format!("SELECT pg_advisory_xact_lock(hashtextextended({name}, 0))");
            self.first_of_all(&mut draft, actor, begin, sql);
        }
        let on = if keyed.is_some() { format!("the key in {table}") } else { self.shared.join(", ") };
        Some(draft.named(format!("pg_advisory_xact_lock on {on}, first of all")))
    }

    /// All rows that an actor changes, locked in one order before the first of them is.
    pub(super) fn ordered_locks(&self) -> Option<Variation> {
        let deadlocked = self.refusals().iter().any(|(.., code)| *code == "40P01");
        let (mut draft, begins) = self.in_transactions().filter(|_| deadlocked)?;
        for (actor, begin) in begins.into_iter().enumerate() {
            let mut rows: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
            for one in look(&draft.script.actors[actor], &draft.case) {
                let of_read = one.read.map(|read| (read.tables[0].clone(), read.equalities));
                let of_change = one.change.filter(|change| change.does != Does::Insert);
                let of_change = of_change.map(|change| (change.table, change.equalities));
                for (table, equalities) in of_read.into_iter().chain(of_change) {
                    let known = equalities.into_iter().filter(|one| holes(&one.value).is_empty());
                    for Equality { column, value } in known.take(1) {
                        rows.entry((table.clone(), column)).or_default().insert(value);
                    }
                }
            }
            // From the last table to the first, each put before what is there.
            for ((table, column), values) in rows.into_iter().rev() {
                let values: Vec<String> = values.into_iter().collect();
                let sql = format!(
                    "SELECT 1 FROM {table} WHERE {column} IN ({}) ORDER BY {column} FOR UPDATE",
                    values.join(", ")
                );
                self.first_of_all(&mut draft, actor, begin, sql);
            }
        }
        (!draft.altered.is_empty()).then(|| draft.named("all rows locked in one order, first of all"))
    }

    /// Puts a statement right after an actor's BEGIN.
    fn first_of_all(&self, draft: &mut Draft, actor: usize, begin: usize, sql: String) {
        let step = draft.new_step(actor, "lock", sql);
        let number = draft.script.actors[actor].insert_after(begin, step);
        draft.alters((actor, number));
    }

    fn touches_shared(&self, actor: &ScriptActor) -> bool {
        look(actor, self.case).iter().any(|one| {
            let read = one.read.iter().flat_map(|read| &read.tables).any(|table| self.is_shared(table));
            read || one.change.as_ref().is_some_and(|change| self.is_shared(&change.table))
        })
    }

    /// The value of a column by which each actor names the rows of a table, where all that touch it do: by actor.
    fn common_key(&self, table: &str) -> Option<BTreeMap<usize, String>> {
        let actors: Vec<(usize, &ScriptActor)> =
            self.script.actors.iter().enumerate().filter(|(_, actor)| self.touches_shared(actor)).collect();
        let (_, first) = actors.first()?;
        let candidates = columns_of(self, first, table);
        candidates.into_iter().find_map(|column| {
            let value =
                |(number, actor): &(usize, &ScriptActor)| Some((*number, value_of(self, actor, table, &column)?));
            actors.iter().map(value).collect()
        })
    }
}

/// What each statement of an actor on a table says of its rows.
fn said(job: &Job<'_>, actor: &ScriptActor, table: &str) -> Vec<Vec<Equality>> {
    let mut said = Vec::new();
    for one in look(actor, job.case) {
        if let Some(read) = one.read
            && read.tables.iter().any(|read| same_table(read, table))
        {
            said.push(read.equalities);
        }
        if let Some(change) = one.change.filter(|change| same_table(&change.table, table)) {
            said.push(match change.does {
                Does::Insert => {
                    change.values.into_iter().map(|(column, value, _)| Equality { column, value }).collect()
                }
                Does::Update | Does::Delete => change.equalities,
            });
        }
    }
    said
}

fn columns_of(job: &Job<'_>, actor: &ScriptActor, table: &str) -> Vec<String> {
    said(job, actor, table).into_iter().next().unwrap_or_default().into_iter().map(|one| one.column).collect()
}

/// The one value of a column that every statement of an actor on a table names, known before the first.
fn value_of(job: &Job<'_>, actor: &ScriptActor, table: &str, column: &str) -> Option<String> {
    let mut values = BTreeSet::new();
    for equalities in said(job, actor, table) {
        let value = equalities.into_iter().find(|one| one.column.eq_ignore_ascii_case(column))?.value;
        if !holes(&value).is_empty() {
            return None;
        }
        values.insert(value);
    }
    let mut values = values.into_iter();
    values.next().filter(|_| values.next().is_none())
}
