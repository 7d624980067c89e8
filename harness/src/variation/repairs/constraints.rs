//! Repairs by the schema: what the database refuses by itself, and what is done then.

use drift_engine::lock::Backend;

use super::{Job, Means};
use crate::syntax::{Does, Grouped, Tree};
use crate::variation::course::look;
use crate::variation::defences::same_table;
use crate::variation::rule::TextRule;
use crate::variation::{Draft, Variation};

impl Job<'_> {
    /// What must be unique: from an invariant that groups, or from what is looked for before it is inserted.
    fn must_differ(&self) -> Vec<Grouped> {
        let of_check = self.script.invariants.iter().filter(|query| query.name == self.found.check);
        let all = of_check.chain(self.script.invariants.iter().filter(|query| query.name != self.found.check));
        let mut found: Vec<Grouped> = all.filter_map(|query| Tree::of(&query.sql)?.grouped()).collect();
        if found.is_empty() {
            found.extend(self.looked_for());
        }
        found.dedup();
        found.retain(|one| !self.is_unique_already(one));
        found
    }

    /// The columns by which an actor looks for a row, before it inserts one into the same table.
    fn looked_for(&self) -> Option<Grouped> {
        self.script.actors.iter().find_map(|actor| {
            let looked = look(actor, self.case);
            let inserts = looked.iter().filter_map(|one| one.change.as_ref().map(|change| (one.step, change)));
            inserts.filter(|(_, change)| change.does == Does::Insert).find_map(|(step, change)| {
                let mut reads = looked.iter().filter(|one| one.step < step).filter_map(|one| one.read.as_ref());
                let read = reads.find(|read| read.tables.iter().any(|table| same_table(table, &change.table)))?;
                if !read.is_by_key {
                    // Rows that are looked for in another way too may well agree in these columns.
                    return None;
                }
                let columns: Vec<String> = read.equalities.iter().map(|one| one.column.clone()).collect();
                let condition = None;
                (!columns.is_empty()).then(|| Grouped { table: change.table.clone(), columns, condition })
            })
        })
    }

    fn is_unique_already(&self, wanted: &Grouped) -> bool {
        self.catalog.constraints.iter().any(|one| {
            one.keeps_apart() && same_table(&one.table, &wanted.table) && {
                let (mut has, mut wants) = (one.columns.clone(), wanted.columns.clone());
                has.sort();
                wants.sort();
                has == wants
            }
        })
    }

    /// A unique index; and the same, with insertions that do nothing where there is a row.
    pub(super) fn unique(&self) -> Vec<Variation> {
        let mut all = Vec::new();
        for wanted in self.must_differ() {
            let what = format!("unique index on {} ({})", wanted.table, wanted.columns.join(", "));
            let index = index(&wanted, "");
            let mut alone = self.draft();
            alone.set_up(&index);
            all.push(alone.named(what.clone()));
            let mut quiet = self.draft();
            quiet.set_up(&index);
            if self.do_nothing(&mut quiet, &wanted.table) {
                all.push(quiet.named(format!("{what}, ON CONFLICT DO NOTHING")));
            }
        }
        all
    }

    /// A unique index for which NULLs are equal, where a column may be NULL.
    pub(super) fn unique_nulls(&self) -> Vec<Variation> {
        let mut all = Vec::new();
        for wanted in self.must_differ() {
            let may_be_null = |column: &String| {
                self.catalog.nullable.iter().any(|(table, one)| same_table(table, &wanted.table) && one == column)
            };
            if self.case.backend != Backend::Postgres || !wanted.columns.iter().any(may_be_null) {
                continue;
            }
            let mut draft = self.draft();
            draft.set_up(&index(&wanted, " NULLS NOT DISTINCT"));
            let columns = wanted.columns.join(", ");
            all.push(draft.named(format!("unique index on {} ({columns}), NULLS NOT DISTINCT", wanted.table)));
        }
        all
    }

    /// An exclusion constraint, from an invariant about rows that overlap.
    pub(super) fn exclusion(&self) -> Option<Variation> {
        if self.case.backend != Backend::Postgres {
            return None;
        }
        let wanted = self.script.invariants.iter().find_map(|query| Tree::of(&query.sql)?.overlapping())?;
        let mut draft = self.draft();
        if !wanted.equal.is_empty() {
            draft.set_up("CREATE EXTENSION IF NOT EXISTS btree_gist");
        }
        let equal = wanted.equal.iter().map(|column| format!("{column} WITH =, ")).collect::<String>();
        draft.set_up(&format!("ALTER TABLE {} ADD EXCLUDE USING gist ({equal}{} WITH &&)", wanted.table, wanted.range));
        Some(draft.named(format!("exclusion constraint on {}", wanted.table)))
    }

    /// ON CONFLICT DO NOTHING where an insertion was refused for a row that is there.
    pub(super) fn on_conflict(&self) -> Option<Variation> {
        let of_key = |(actor, step, code): &(usize, usize, &str)| {
            let shown = &self.shown.actors[*actor];
            matches!(*code, "23505" | "1555" | "2067") && !shown.has_handler(*step, code)
        };
        let (actor, step, _) = self.refusals().into_iter().find(of_key)?;
        let table = Tree::of(&self.shown.actors[actor].steps[step].sql)?.change()?.table;
        let mut draft = self.draft();
        self.do_nothing(&mut draft, &table).then(|| draft.named(format!("ON CONFLICT DO NOTHING into {table}")))
    }

    /// Has insertions do nothing where there is a row; whether there is one that did something else.
    fn do_nothing(&self, draft: &mut Draft, table: &str) -> bool {
        let rule = TextRule::DoNothing { table: table.to_owned(), returning: self.means == Means::Steps };
        let mut changed = false;
        for actor in 0..draft.script.actors.len() {
            for step in 0..draft.script.actors[actor].steps.len() {
                changed |= draft.applies(&rule, (actor, step));
            }
        }
        draft.on_wire.rules.push(rule);
        changed
    }

    /// A savepoint before what was refused, and back to it, where the refusal undid the whole transaction.
    pub(super) fn savepoint(&self) -> Option<Variation> {
        if !self.is_undone() {
            return None;
        }
        let mut draft = self.draft();
        let mut done: Vec<(usize, String)> = Vec::new();
        for (actor, step, code) in self.refusals().into_iter().filter(|(.., code)| *code != "25P02") {
            // The others of the same kind, too: whoever comes second is refused, and that may be any.
            let sql = self.script.actors[actor].steps[step].sql.clone();
            let kind = Tree::of(&sql)?.change()?;
            for number in 0..draft.script.actors.len() {
                let looked = look(&draft.script.actors[number], &draft.case);
                let alike =
                    |change: &crate::syntax::Change| change.does == kind.does && same_table(&change.table, &kind.table);
                let Some(one) = looked.into_iter().find(|one| one.change.as_ref().is_some_and(alike)) else { continue };
                if done.contains(&(number, code.to_owned())) {
                    continue;
                }
                done.push((number, code.to_owned()));
                let back = draft.new_step(number, "back", "ROLLBACK TO SAVEPOINT before".to_owned());
                let back = draft.script.actors[number].handle(one.step, code, back);
                draft.alters((number, back));
                let save = draft.new_step(number, "savepoint", "SAVEPOINT before".to_owned());
                let save = draft.script.actors[number].insert_before(one.step, save);
                draft.alters((number, save));
            }
        }
        (!done.is_empty()).then(|| draft.named("a savepoint before what is refused, and back to it"))
    }
}

fn index(wanted: &Grouped, nulls: &str) -> String {
    let condition = wanted.condition.as_ref().map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    let is_name = |column: &str| column.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'"'));
    let part = |column: &String| if is_name(column) { column.clone() } else { format!("({column})") };
    let columns: Vec<String> = wanted.columns.iter().map(part).collect();
    // SQLite wants a name, and gives an index none by itself.
    let bare = wanted.table.rsplit('.').next().unwrap_or(&wanted.table);
    let letters = |text: &str| text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let name: Vec<String> =
        std::iter::once(bare).chain(wanted.columns.iter().map(String::as_str)).map(letters).collect();
    let name: String = name.join("_").chars().take(50).collect();
    format!("CREATE UNIQUE INDEX {name}_once ON {} ({}){nulls}{condition}", wanted.table, columns.join(", "))
}
