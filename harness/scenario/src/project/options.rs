//! The options of a run: the long options of its command, with their values as words.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeValue;

use super::{Check, CommandName, Extent};
use crate::read::Section;
use crate::value::{self, Wrong, mistyped};

/// How an option is written in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A text or a number.
    Value,
    /// A text or a number, or a list of them.
    Values,
    /// A path, from the file's directory on.
    File,
    /// `engine`, `none`, or such a path.
    Traffic,
    /// VERSION=SCENARIO, or a list of them.
    Apps,
}

/// The options that a run may have. Those that say what is printed, and where to, are `driftlock run`'s own.
const KNOWN: [(CommandName, &[(&str, Kind)]); 4] = [
    (
        CommandName::Verify,
        &[
            ("filter", Kind::Values),
            ("backend", Kind::Value),
            ("strategy", Kind::Value),
            ("rounds", Kind::Value),
            ("time-limit", Kind::Value),
            ("seed", Kind::Value),
        ],
    ),
    (
        CommandName::Mutate,
        &[
            ("filter", Kind::Values),
            ("backend", Kind::Value),
            ("budget", Kind::Value),
            ("time-limit", Kind::Value),
            ("seed", Kind::Value),
        ],
    ),
    (
        CommandName::Explore,
        &[
            ("filter", Kind::Value),
            ("backend", Kind::Value),
            ("strategy", Kind::Value),
            ("budget", Kind::Value),
            ("seed", Kind::Value),
            ("overlap", Kind::Values),
            ("overlap-tries", Kind::Value),
            ("all", Kind::Flag),
            ("export-spec", Kind::Flag),
            ("faults", Kind::Value),
        ],
    ),
    (
        CommandName::Rehearse,
        &[
            ("filter", Kind::Values),
            ("backend", Kind::Value),
            ("layout", Kind::Value),
            ("journal", Kind::Value),
            ("from", Kind::Value),
            ("to", Kind::Value),
            ("changed", Kind::Value),
            ("companion", Kind::Values),
            ("adversarial", Kind::Flag),
            ("runner", Kind::Value),
            ("runner-down", Kind::Value),
            ("fidelity", Kind::Value),
            ("failures", Kind::Flag),
            ("application", Kind::Value),
            ("traffic", Kind::Traffic),
            ("app", Kind::Apps),
            ("wal", Kind::Flag),
            ("target-version", Kind::Value),
            ("workers", Kind::Value),
            ("data", Kind::File),
            ("events", Kind::Value),
            ("rows", Kind::Values),
            ("read-block", Kind::Value),
            ("write-block", Kind::Value),
            ("access-exclusive", Kind::Value),
            ("allow-error", Kind::Values),
            ("seed", Kind::Value),
        ],
    ),
];

/// Options by their long names: the values of each, none for one that takes none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<&'static str, Vec<String>>);

impl Options {
    /// As the words of a command line.
    pub fn words(&self) -> Vec<String> {
        let of = |(name, values): (&&'static str, &Vec<String>)| match values[..] {
            [] => vec![format!("--{name}")],
            _ => values.iter().map(|value| format!("--{name}={value}")).collect(),
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Takes over another's, in place of what is here under the same names.
    pub fn take(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(name, values)| (*name, values.clone())));
    }

    /// Adds an option without a value.
    pub fn flag(&mut self, name: &'static str) {
        self.0.insert(name, Vec::new());
    }

    /// Sets an option to one value.
    pub fn set(&mut self, name: &'static str, value: String) {
        self.0.insert(name, vec![value]);
    }

    fn one(name: &'static str, values: Vec<String>) -> Self {
        Self([(name, values)].into())
    }
}

/// The names of the options of a command.
pub fn names(command: CommandName) -> impl Iterator<Item = &'static str> {
    known(command).iter().map(|(name, _)| *name)
}

/// The options of a command, and how each is written.
pub fn known(command: CommandName) -> &'static [(&'static str, Kind)] {
    KNOWN.iter().find(|(one, _)| *one == command).map_or(&[], |(_, known)| known)
}

/// Reads the options of a command, and has each of them, and then all of them together, looked at.
pub(super) fn read(section: &mut Section<'_>, command: CommandName, root: &Path, check: Check<'_>) -> Option<Options> {
    let (mut options, mut is_whole) = (Options::default(), true);
    for (name, kind) in known(command).iter().copied() {
        let read = section.optional(name, |value| {
            let values = values(value, kind, root)?;
            if let Some(values) = &values {
                let why = check(command, &Options::one(name, values.clone()), Extent::One);
                why.map_err(|why| Wrong::new(format!("is not taken by `{}`: {why}", command.as_str())))?;
            }
            Ok(values)
        });
        match read.map_known(Some, None) {
            Some(Some(Some(values))) => drop(options.0.insert(name, values)),
            Some(_) => {}
            None => is_whole = false,
        }
    }
    match everywhere(section) {
        Some(own) => options.take(&own),
        None => is_whole = false,
    }
    is_whole.then_some(options)
}

/// Asks for every option that there is, so that none of them is called unknown.
pub(super) fn ignore(section: &mut Section<'_>) {
    for (name, _) in KNOWN.iter().flat_map(|(_, known)| known.iter()) {
        section.optional(name, |_| Ok(()));
    }
    section.optional("postgres", |_| Ok(()));
    section.optional("pg-bin", |_| Ok(()));
}

/// Reads where PostgreSQL comes from.
pub(super) fn everywhere(section: &mut Section<'_>) -> Option<Options> {
    let postgres = section.optional("postgres", postgres).map_known(Some, None);
    // Where the binaries are is the machine's matter: no path of the repository.
    let pg_bin = section.optional("pg-bin", value::text).map_known(Some, None);
    let mut options = Options::default();
    for (name, value) in [("postgres", postgres?), ("pg-bin", pg_bin?)] {
        if let Some(value) = value {
            options.set(name, value);
        }
    }
    Some(options)
}

/// A URL has a password, or a host that differs between machines: it belongs into the environment.
fn postgres(value: &DeValue<'_>) -> Result<String, Wrong> {
    if value.as_str().is_some_and(|text| text.contains(':')) {
        let help = "Set DRIFTLOCK_POSTGRES_URL where it is run, and leave this out, or say \"auto\".";
        return Err(Wrong::new("must not be a URL: the file is for everybody to read").help(help));
    }
    value::word([("auto", "auto"), ("local", "local"), ("docker", "docker")])(value).map(str::to_owned)
}

/// The values of an option; `None` for a flag that is not set.
fn values(value: &DeValue<'_>, kind: Kind, root: &Path) -> Result<Option<Vec<String>>, Wrong> {
    let path = |text: String| root.join(text).display().to_string();
    match kind {
        Kind::Flag => Ok(value::boolean(value)?.then(Vec::new)),
        Kind::Value => one(value).map(|one| Some(vec![one])),
        Kind::Values => many(value).map(Some),
        Kind::File => one(value).map(|one| Some(vec![path(one)])),
        Kind::Traffic => one(value).map(|one| match one.as_str() {
            "engine" | "none" => Some(vec![one]),
            _ => Some(vec![path(one)]),
        }),
        Kind::Apps => {
            let placed = |app: String| match app.split_once('=') {
                Some((version, what)) if !["plain", "on-conflict"].contains(&what) => {
                    format!("{version}={}", path(what.to_owned()))
                }
                _ => app,
            };
            Ok(Some(many(value)?.into_iter().map(placed).collect()))
        }
    }
}

/// A text, or a number as one.
fn one(value: &DeValue<'_>) -> Result<String, Wrong> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::String(_) => value::text(value),
        other => Err(mistyped("a text or a whole number", other)),
    }
}

fn many(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    let Some(items) = value.as_array() else { return Ok(vec![one(value)?]) };
    let all: Vec<String> = items.iter().map(|item| one(item.get_ref())).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(Wrong::new("must name one at least")) } else { Ok(all) }
}
