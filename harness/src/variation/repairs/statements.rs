//! Repairs of statements: what was read and then written, in one.

use super::Job;
use crate::scenario::script::{ScriptActor, fill_some, holes};
use crate::syntax::{Does, Read, Tree};
use crate::variation::Variation;
use crate::variation::course::look;
use crate::variation::defences::same_table;

impl Job<'_> {
    /// An UPDATE that computes from the column itself, in place of a value that was read before.
    pub(super) fn one_statement(&self) -> Option<Variation> {
        let mut draft = self.draft();
        for actor in 0..self.script.actors.len() {
            let of = &self.script.actors[actor];
            let looked = look(of, self.case);
            for one in &looked {
                let Some(update) = one.change.as_ref().filter(|change| change.does == Does::Update) else { continue };
                let reads = looked.iter().filter(|other| other.step < one.step);
                let same_rows = |read: &&(usize, &Read)| {
                    read.1.tables.len() == 1
                        && same_table(&read.1.tables[0], &update.table)
                        && read.1.equalities == update.equalities
                        && !update.equalities.is_empty()
                };
                let Some((from, read)) =
                    reads.filter_map(|other| Some((other.step, other.read.as_ref()?))).find(|read| same_rows(&read))
                else {
                    continue;
                };
                if let Some(sql) = in_one(of, one.step, from, read) {
                    draft.rewrite((actor, one.step), sql);
                }
            }
        }
        (!draft.altered.is_empty()).then(|| draft.named("one statement, from the column itself"))
    }
}

/// The UPDATE with columns where it had what was read of them, and with what decided whether it is sent.
fn in_one(actor: &ScriptActor, step: usize, from: usize, read: &Read) -> Option<String> {
    let captured = &actor.steps[from].capture;
    let column = |name: &str| {
        let at = captured.iter().position(|one| one == name)?;
        let column = read.columns.get(at)?;
        // An expression has no alias here, and a column needs none.
        column
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'"' | b'.'))
            .then(|| column.clone())
    };
    let sql = &actor.steps[step].sql;
    let guards: Vec<String> = actor.guards(step).into_iter().map(ToString::to_string).collect();
    let mut all = holes(sql).into_iter().chain(guards.iter().flat_map(|guard| holes(guard)));
    let mut any = false;
    if !all.all(|hole| column(hole).inspect(|_| any = true).is_some()) || !any {
        return None;
    }
    let put = |text: &str| fill_some(text, column);
    let mut new = put(sql);
    for guard in &guards {
        let condition = Tree::of(&new)?.change()?.condition?;
        new.insert_str(condition.end, &format!(" AND ({})", put(guard)));
    }
    Some(new)
}
