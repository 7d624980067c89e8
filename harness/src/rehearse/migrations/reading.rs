//! What a layout's reader fills: the migrations in their order, what it leaves out and why, and what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::foreign;
use super::layout::Layout;
use super::part::Part;
use super::script::Script;
use super::tree::{Entry, Tree};
use super::version::Version;
use super::{LeftOut, Migration, Mistake};
use crate::rehearse::settings::FILE as SETTINGS;
use crate::sql::Dialect;

/// The two ways of a version, as they are found.
#[derive(Debug, Default)]
pub(super) struct Halves {
    /// What its tool calls it.
    pub(super) name: String,
    /// What it says it does.
    pub(super) description: String,
    /// What applies it.
    pub(super) up: Option<Part>,
    /// What undoes it.
    pub(super) down: Option<Part>,
}

/// A directory that is being read.
pub(super) struct Reading<'t> {
    pub(super) tree: &'t Tree,
    pub(super) layout: &'static Layout,
    pub(super) dialect: Dialect,
    pub(super) list: Vec<Migration>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) mistakes: Vec<Mistake>,
    seen: BTreeSet<String>,
}

impl<'t> Reading<'t> {
    pub(super) fn new(tree: &'t Tree, layout: &'static Layout, dialect: Dialect) -> Self {
        let (list, left_out, mistakes) = (Vec::new(), Vec::new(), Vec::new());
        Self { tree, layout, dialect, list, left_out, mistakes, seen: BTreeSet::new() }
    }

    /// The text of a file that is taken. What hinders reading it is a mistake.
    pub(super) fn take(&mut self, entry: &'t Entry) -> Option<&'t str> {
        self.seen.insert(entry.path.clone());
        match &entry.text {
            Some(Ok(text)) => Some(text),
            Some(Err(mistake)) => {
                self.mistakes.push(mistake.clone());
                None
            }
            None => None,
        }
    }

    /// Notes that a file is no migration, and heeded all the same: settings, an order.
    pub(super) fn heed(&mut self, path: &str) {
        self.seen.insert(path.to_owned());
    }

    /// Leaves a file out, and says why.
    pub(super) fn leave(&mut self, path: &str, reason: impl Into<String>) {
        if self.seen.insert(path.to_owned()) {
            self.left_out.push(LeftOut { file: self.tree.show(path), reason: reason.into() });
        }
    }

    /// Says what is wrong with a file.
    pub(super) fn wrong(&mut self, path: &str, at: Option<(u32, u32)>, message: impl Into<String>, help: &'static str) {
        self.seen.insert(path.to_owned());
        self.mistakes.push(Mistake { file: self.tree.show(path), at, message: message.into(), help });
    }

    /// Puts one way of a version where it belongs, unless another file is there already.
    pub(super) fn put<K: Ord>(
        &mut self,
        halves: &mut BTreeMap<K, Halves>,
        key: K,
        (name, description): (&str, &str),
        is_up: bool,
        part: Part,
    ) {
        let half = halves.entry(key).or_insert_with(|| Halves { name: name.to_owned(), ..Halves::default() });
        let slot = if is_up { &mut half.up } else { &mut half.down };
        if let Some(other) = slot {
            let message = format!("version {name} is in {} already", self.within(&other.file));
            let mistake = Mistake { file: part.file, at: None, message, help: "Give each version one number." };
            self.mistakes.push(mistake);
            return;
        }
        *slot = Some(part);
        if is_up || half.description.is_empty() {
            description.replace(['_', '-'], " ").trim().clone_into(&mut half.description);
        }
    }

    /// Makes migrations of what was found, in the order of the keys.
    pub(super) fn finish<K: Ord>(&mut self, halves: BTreeMap<K, Halves>) {
        for Halves { name, description, up, down } in halves.into_values() {
            match (up, down) {
                (Some(up), down) => self.add(&name, description, up, down),
                (None, Some(down)) => self.mistakes.push(Mistake {
                    file: down.file,
                    at: None,
                    message: format!("undoes version {name}, which no file applies"),
                    help: "Add the file that applies it, or remove this one.",
                }),
                (None, None) => {}
            }
        }
    }

    /// Adds the next migration. A way down without a statement undoes nothing, and is none.
    pub(super) fn add(&mut self, name: &str, description: String, up: Part, down: Option<Part>) {
        let place = self.list.len() + 1;
        if let Some((line, whose)) = foreign::mark(&up.text) {
            let message = format!("a mark of {whose}'s, behind which the way down would be run on the way up");
            let help = "Remove the mark, or say whose files they are with --layout.";
            self.mistakes.push(Mistake { file: up.file.clone(), at: Some((line, 1)), message, help });
        }
        let up = self.script(up);
        let down = down.filter(|down| !down.is_empty()).map(|down| self.script(down));
        self.list.push(Migration { version: Version::at(place, name), description, up, down });
    }

    fn script(&mut self, part: Part) -> Script {
        let (file, mistakes) = (part.file.clone(), &mut self.mistakes);
        Script::parse(part, self.layout, self.dialect, &mut |at, message, help| {
            mistakes.push(Mistake { file: file.clone(), at, message, help });
        })
    }

    /// What no reader has spoken of is left out too: nothing is passed over in silence.
    pub(super) fn rest(&mut self) {
        let tool = self.layout.tool;
        for entry in &self.tree.files {
            let reason = match entry {
                _ if entry.path == SETTINGS => continue,
                _ if entry.path.ends_with('/') => "a directory that is not looked into".to_owned(),
                _ if entry.is_sql() => format!("its name is none of {tool}'s migrations"),
                _ => "not an SQL file".to_owned(),
            };
            self.leave(&entry.path, reason);
        }
        self.left_out.sort();
    }

    fn within(&self, shown: &str) -> String {
        shown.strip_prefix(&self.tree.shown).map_or(shown, |rest| rest.trim_start_matches('/')).to_owned()
    }
}
