//! What an application protects itself with, as it was seen on the wire and in the catalogue, and the application without
//! it: its statements are written anew on their way to the server, constraints are dropped after the set-up.
//!
//! What is taken away of a text is found by its words and its tables, whoever sends it and however often. A program that
//! begins its transaction anew after 40001 or 40P01 is refused again, whenever it does.

mod mending;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use drift_engine::lock::Backend;

pub use self::mending::Mending;
use super::catalog::{Catalog, Constraint, queries};
use super::defences::{Written, named, names, same_table, what_it_is};
use super::mutate::{Looked, Subject, cannot_run};
use super::{OnWire, Refused, Seen, Variation};
use crate::app::rewriting::Rewriter;
use crate::explore::application::AppWorld;
use crate::explore::application::case::reproduce;
use crate::explore::application::rules::AppRules;
use crate::explore::application::sent::{Alteration, Sent};
use crate::explore::case::{Options, compare_serial_runs, explore};
use crate::explore::judge::Limit;
use crate::explore::world::Lost;
use crate::scenario::application::Application;
use crate::scenario::script::{ERRORS, Script, ScriptCase};
use crate::sql::{in_short, one_line};
use crate::syntax::{Does, Protection, Tree};

/// The most places that a defence's name tells.
const PLACES_SHOWN: usize = 4;
/// The most texts whose new form is told of one defence.
const TEXTS_SHOWN: usize = 8;
/// The most defences that are taken away.
const DEFENCES_MAX: usize = 64;
/// The most statements that are told not to have been written anew.
const NOT_REWRITTEN_SHOWN: usize = 4;
/// The longest text in a note, in characters.
const TEXT_CHARS_MAX: usize = 100;
/// The most serial orders that are compared.
const SERIAL_MAX: usize = 120;

/// Who sends something, each with its first such unit.
type Places = BTreeMap<String, usize>;

/// Makes worlds of an application.
pub trait Worlds: Send {
    /// Why none can be had.
    type Error: Send;

    /// One in a database of its own.
    fn make(
        &mut self,
        app: &Arc<Application>,
        alteration: &Alteration,
    ) -> impl Future<Output = Result<AppWorld, Self::Error>> + Send;

    /// What a loss in it is.
    fn lost(&self, lost: Lost) -> Self::Error;

    /// An error as a refusal, where the application is to blame.
    ///
    /// # Errors
    /// It is not.
    fn by_application(&self, error: Self::Error) -> Result<Refused, Self::Error>;
}

/// Something by which an application protects itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppDefence {
    /// What it is, and who sends it: `FOR UPDATE on seats (ann.2, bob.2)`.
    pub name: String,
    edit: Edit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    /// Parts of texts, by what is alike in the names of the protections.
    Part(String),
    /// A constraint, and the ON CONFLICT clauses that need it.
    Constraint(Box<Constraint>),
    /// What transactions are where nobody asks for anything.
    DefaultIsolation,
    /// Other attempts after a refusal.
    Retries,
}

/// An application whose defences are taken away.
pub struct OfApplication<'w, W> {
    worlds: &'w mut W,
    app: Arc<Application>,
    seen: Observed,
}

/// What was seen of an application as it is.
#[derive(Default)]
struct Observed {
    sent: Sent,
    catalog: Catalog,
    default_isolation: String,
    /// The types of the parameters of those texts that may lose some.
    types: Arc<BTreeMap<String, Vec<String>>>,
    /// How many defences there are beyond those that are taken away.
    beyond: usize,
    /// Codes of [`cannot_run`] that it meets as it is.
    codes: BTreeSet<String>,
}

impl<'w, W: Worlds> OfApplication<'w, W> {
    /// Of this application.
    pub fn new(worlds: &'w mut W, app: &Arc<Application>) -> Self {
        Self { worlds, app: app.clone(), seen: Observed::default() }
    }

    /// What may protect it and could not be looked at: nothing of it was taken away.
    pub fn not_rewritten(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let sent = &self.seen.sent;
        for (text, places) in &sent.texts {
            let why = match Tree::of(text) {
                None if may_protect(text) => Some("it cannot be read".to_owned()),
                None => None,
                Some(tree) => stays(&tree, self.seen.types.get(text))
                    .map(|(name, why)| format!("{name}: {why}"))
                    .or_else(|| tree.hides_a_level().then(|| "a parameter may ask for an isolation level".to_owned())),
            };
            let Some(why) = why else { continue };
            notes.push(format!("{} ({}): {why}", in_short(text, TEXT_CHARS_MAX), shown_places(places).join(", ")));
        }
        let more = notes.len().saturating_sub(NOT_REWRITTEN_SHOWN);
        notes.truncate(NOT_REWRITTEN_SHOWN);
        if more > 0 {
            notes.push(format!("{more} more"));
        }
        if sent.asks_at_connection {
            notes.push("an isolation level that is asked for when connecting".to_owned());
        }
        if self.seen.beyond > 0 {
            notes.push(format!("{} defences more than the {DEFENCES_MAX} that are taken away", self.seen.beyond));
        }
        if sent.is_cut {
            notes.push("what was not seen as a whole: too long, too much, or named in SQL only".to_owned());
        }
        notes
    }

    /// How texts are written anew without these defences.
    fn alteration(&self, without: &[&AppDefence]) -> Alteration {
        let mut alteration = Alteration::default();
        let (mut parts, mut constraints) = (BTreeSet::new(), Vec::new());
        for defence in without {
            match &defence.edit {
                Edit::Part(alike) => drop(parts.insert(alike.clone())),
                Edit::Constraint(constraint) => {
                    alteration.after_setup.push(constraint.dropped());
                    constraints.extend(constraint.keeps_apart().then(|| (**constraint).clone()));
                }
                Edit::Retries => alteration.keeps_from_retrying = true,
                Edit::DefaultIsolation => {
                    alteration.session.push_str(" -c default_transaction_isolation=read\\ committed");
                }
            }
        }
        if !parts.is_empty() || !constraints.is_empty() {
            let types = self.seen.types.clone();
            alteration.rewriter = Some(Rewriter::new(move |text| anew(text, &parts, &constraints, &types)));
        }
        alteration
    }

    /// The same application, with its outcomes compared with those of serial orders.
    fn comparing(&self, compared: bool) -> Arc<Application> {
        Arc::new(Application { serial: self.app.serial || compared, violates: None, ..(*self.app).clone() })
    }

    /// Keeps what was seen of the application as it is.
    async fn observe(&mut self, world: &mut AppWorld, codes: BTreeSet<String>) -> Result<(), Lost> {
        let catalog = Catalog::of(Vec::new(), world.ask_beside(&queries(Backend::Postgres)).await?)?;
        let sent = world.sent_so_far().clone();
        let mut types = BTreeMap::new();
        for text in sent.texts.keys() {
            let loses_a_parameter = Tree::of(text).is_some_and(|tree| stays(&tree, None).is_some());
            if loses_a_parameter && let Some(of) = world.types_of(text).await {
                types.insert(text.clone(), of);
            }
        }
        let default_isolation = world.default_isolation().to_owned();
        self.seen = Observed { sent, catalog, default_isolation, types: Arc::new(types), beyond: 0, codes };
        Ok(())
    }

    /// Explores it in a world. `rewrites` says whether texts are written anew; nothing where it is as it is.
    async fn look(
        &mut self,
        world: &mut AppWorld,
        app: &Arc<Application>,
        rewrites: Option<bool>,
        alteration: &Alteration,
        options: &Options,
    ) -> Result<Looked, Lost> {
        let rules = AppRules::new(app, world);
        let (mut explored, mut rules) = match explore(world, rules, None, options).await {
            Err(lost) if lost.by_script && rewrites.is_some() => {
                // It fails with nothing concurrent, too: that is noticed, if a check says so.
                let once = Options { limit: Some(Limit::Executions(1)), ..options.clone() };
                let rules = AppRules::new(app, world);
                let (explored, rules) = explore(world, rules, Some(ERRORS), &once).await?;
                if explored.found.is_empty() {
                    return Err(lost);
                }
                (explored, rules)
            }
            explored => explored?,
        };
        (explored.refused, explored.not_compared) = (rules.refusals(), rules.not_compared());
        let mut script = None;
        if let Some(of) = explored.found.first().cloned()
            && let Some(shown) = reproduce(world, &mut rules, &of, &mut explored).await?
        {
            script = Some(Arc::new(shown.script));
            explored.found[0].execution = shown.with_rows;
        }
        let refused = explored.refused.iter().filter(|(_, code, _)| cannot_run(code));
        let (codes, mut news): (BTreeSet<String>, Vec<String>) =
            refused.map(|(step, code, _)| (code.clone(), format!("{step} is refused with {code}"))).unzip();
        news.retain(|one| !self.seen.codes.iter().any(|code| one.ends_with(code.as_str())));
        let sent = world.sent_so_far();
        let executed = if rewrites == Some(true) { sent.rewritten } else { explored.searched.executions };
        if rewrites.is_none() && self.seen.sent.texts.is_empty() {
            self.observe(world, codes).await?;
            news.clear();
        }
        let seen = Seen { explored, ran: BTreeMap::new() };
        let left = alteration.rewriter.as_ref().and_then(Rewriter::left);
        Ok(Looked { seen, executed, script, cannot_run: news.into_iter().next(), left })
    }

    async fn states(&mut self, world: &mut AppWorld, app: &Arc<Application>) -> Result<BTreeSet<String>, Lost> {
        let mut rules = AppRules::new(app, world);
        compare_serial_runs(world, &mut rules, None).await?;
        rules.serial_states(world, SERIAL_MAX).await
    }

    /// Closes a world: what came of it.
    async fn closed<T>(&mut self, world: AppWorld, result: Result<T, Lost>) -> Result<Result<T, Refused>, W::Error> {
        world.close().await.map_err(|lost| self.worlds.lost(lost))?;
        self.refused(result.map_err(|lost| self.worlds.lost(lost)))
    }

    /// A loss as a refusal, where the application is to blame.
    fn refused<T>(&self, result: Result<T, W::Error>) -> Result<Result<T, Refused>, W::Error> {
        result.map(Ok).or_else(|error| self.worlds.by_application(error).map(Err))
    }
}

impl<W: Worlds> Subject for OfApplication<'_, W> {
    type Error = W::Error;
    type Defence = AppDefence;

    fn name<'d>(&self, defence: &'d AppDefence) -> &'d str {
        &defence.name
    }

    fn actors(&self) -> usize {
        self.app.actors.len()
    }

    fn gives_up(&self, _: &Variation) -> bool {
        false
    }

    fn without(&self, defences: &[&AppDefence]) -> Variation {
        let alteration = self.alteration(defences);
        let mut statements: Vec<(String, String)> =
            alteration.after_setup.iter().map(|sql| ("set-up".to_owned(), sql.clone())).collect();
        let rewriter = alteration.rewriter.as_ref();
        let texts = self.seen.sent.texts.iter();
        let anew = texts.filter_map(|(text, places)| {
            let anew = rewriter?.rewritten(text)?;
            Some((shown_places(places).join(", "), anew))
        });
        statements.extend(anew.take(TEXTS_SHOWN));
        if alteration.keeps_from_retrying {
            let again = "-- sent again after 40001 or 40P01: refused with that once more, each time";
            let places = self.seen.retrying().into_iter().collect::<Vec<_>>().join(", ");
            statements.push((places, again.to_owned()));
        }
        let names: Vec<&str> = defences.iter().map(|defence| defence.name.as_str()).collect();
        Variation {
            name: format!("without {}", names.join(" and ")),
            script: Arc::new(Script { name: self.app.name.clone(), ..Script::default() }),
            case: case_of(&self.app),
            altered: Vec::new(),
            statements,
            on_wire: OnWire::default(),
        }
    }

    async fn explore(
        &mut self,
        without: &[&AppDefence],
        compared: bool,
        options: &Options,
    ) -> Result<Result<Looked, Refused>, W::Error> {
        let app = self.comparing(compared);
        let alteration = self.alteration(without);
        let made = self.worlds.make(&app, &alteration).await;
        let mut world = match self.refused(made)? {
            Ok(world) => world,
            Err(refused) => return Ok(Err(refused)),
        };
        let has_parts = || without.iter().any(|defence| matches!(defence.edit, Edit::Part(_) | Edit::Retries));
        let rewrites = (!without.is_empty()).then(has_parts);
        let looked = self.look(&mut world, &app, rewrites, &alteration, options).await;
        self.closed(world, looked).await
    }

    async fn serially(&mut self, without: &[&AppDefence]) -> Result<Result<BTreeSet<String>, Refused>, W::Error> {
        let app = self.comparing(true);
        let made = self.worlds.make(&app, &self.alteration(without)).await;
        let mut world = match self.refused(made)? {
            Ok(world) => world,
            Err(refused) => return Ok(Err(refused)),
        };
        let states = self.states(&mut world, &app).await;
        self.closed(world, states).await
    }

    async fn defences(&mut self) -> Result<Result<Vec<AppDefence>, Refused>, W::Error> {
        let mut all = self.seen.defences();
        self.seen.beyond = all.len().saturating_sub(DEFENCES_MAX);
        all.truncate(DEFENCES_MAX);
        Ok(Ok(all))
    }
}

impl Observed {
    /// What protects it: parts of its texts, in the order in which they are sent, then what its database refuses.
    fn defences(&self) -> Vec<AppDefence> {
        // By what is alike in them, with one of their names.
        let mut parts: BTreeMap<String, (String, Places)> = BTreeMap::new();
        for (text, places) in &self.sent.texts {
            let Some(tree) = Tree::of(text) else { continue };
            for one in tree.protections() {
                let (_, known) = parts.entry(one.alike).or_insert_with(|| (one.name, Places::new()));
                for (actor, unit) in places {
                    let first = known.entry(actor.clone()).or_insert(*unit);
                    *first = (*first).min(*unit);
                }
            }
        }
        let mut parts: Vec<(String, (String, Places))> = parts.into_iter().collect();
        parts.sort_by_key(|(_, (name, places))| (places.values().min().copied(), name.clone()));
        let mut defences: Vec<AppDefence> = parts
            .into_iter()
            .map(|(alike, (name, places))| AppDefence {
                name: named(&name, &shown_places(&places)),
                edit: Edit::Part(alike),
            })
            .collect();
        if !matches!(self.default_isolation.as_str(), "read committed" | "read uncommitted") {
            let name =
                named(&format!("default_transaction_isolation {}", self.default_isolation), &["database".into()]);
            defences.push(AppDefence { name, edit: Edit::DefaultIsolation });
        }
        if !self.sent.retried.is_empty() {
            let codes = self.sent.retried.keys().map(String::as_str).collect::<Vec<_>>().join(" and ");
            let places: Vec<String> = self.retrying().into_iter().collect();
            defences.push(AppDefence { name: named(&format!("retry after {codes}"), &places), edit: Edit::Retries });
        }
        let written = self.written();
        let met = self.catalog.constraints.iter().filter(|constraint| self.may_meet(&written, constraint));
        defences.extend(met.map(|constraint| AppDefence {
            name: named(&what_it_is(constraint), std::slice::from_ref(&constraint.table)),
            edit: Edit::Constraint(Box::new(constraint.clone())),
        }));
        defences
    }

    /// Who was seen to begin anew.
    fn retrying(&self) -> BTreeSet<String> {
        self.sent.retried.values().flatten().cloned().collect()
    }

    /// What is written, as far as the texts and the server say.
    fn written(&self) -> Written {
        let mut written = Written::default();
        let mut is_complex = self.catalog.has_triggers || self.sent.is_cut;
        for text in self.sent.texts.keys() {
            let tree = Tree::of(text);
            match tree.as_ref().filter(|tree| !tree.has_with()).and_then(Tree::change) {
                Some(change) => written.add(change),
                None => is_complex |= may_change(text, tree.as_ref()),
            }
        }
        // What no plain statement changes was changed by something whose columns are not known.
        let is_plain = |relation: &&String| written.columns.iter().any(|(table, _)| same_table(table, relation));
        let others: Vec<String> =
            self.sent.written.iter().filter(|relation| is_complex || !is_plain(relation)).cloned().collect();
        written.columns.extend(others.into_iter().map(|relation| (relation, None)));
        written.is_unknown = self.sent.is_unclear && is_complex;
        written
    }

    /// Whether something that is written could be what a constraint refuses.
    fn may_meet(&self, written: &Written, constraint: &Constraint) -> bool {
        let is_written = |table: &str| self.sent.written.iter().any(|relation| same_table(relation, table));
        let touches = is_written(&constraint.table)
            || constraint.refers_to.as_ref().is_some_and(|(parent, _)| is_written(parent));
        (touches || self.sent.is_unclear) && written.may_meet(constraint)
    }
}

/// A text without the parts that these are alike of, and without the ON CONFLICT clauses that need these constraints.
///
/// # Errors
/// It has such parts and cannot be written without them: the text, and why.
fn anew(
    text: &str,
    parts: &BTreeSet<String>,
    constraints: &[Constraint],
    types: &BTreeMap<String, Vec<String>>,
) -> Result<Option<String>, String> {
    let Some(tree) = Tree::of(text) else { return Ok(None) };
    let protections = tree.protections();
    let needs = |one: &Protection| {
        let into = || tree.change().filter(|change| change.does == Does::Insert).map(|change| change.table);
        one.is_on_conflict()
            && constraints.iter().any(|constraint| {
                names(&text[one.range.clone()], constraint)
                    && into().is_none_or(|table| same_table(&table, &constraint.table))
            })
    };
    let taken: Vec<&Protection> = protections.iter().filter(|one| parts.contains(&one.alike) || needs(one)).collect();
    if taken.is_empty() {
        return Ok(None);
    }
    let anew = tree.without_protections(&taken, types.get(text).map(Vec::as_slice));
    anew.map(Some).map_err(|why| format!("{}: {why}", in_short(text, TEXT_CHARS_MAX)))
}

/// The first protection of a text that cannot be taken away, and why.
fn stays(tree: &Tree, types: Option<&Vec<String>>) -> Option<(String, &'static str)> {
    let types = types.map(Vec::as_slice);
    let why = |one: Protection| tree.without_protections(&[&one], types).err().map(|why| (one.name, why));
    tree.protections().into_iter().find_map(why)
}

/// Whether a text that cannot be read may hold a protection.
fn may_protect(text: &str) -> bool {
    let lower = one_line(text).to_ascii_lowercase();
    let words =
        ["for update", "for no key", "for share", "for key share", "lock ", "advisory", "on conflict", "isolation"];
    words.iter().any(|word| lower.contains(word))
}

/// Whether a text that is no plain change of a table may change something by itself.
fn may_change(text: &str, tree: Option<&Tree>) -> bool {
    if tree.is_some_and(|tree| tree.read().is_some() && !tree.has_with()) {
        return false;
    }
    let Ok(statements) = crate::sql::split(text) else { return true };
    let words = ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE", "EXECUTE", "CALL", "DO"];
    statements.iter().any(|statement| words.iter().any(|word| statement.has(word)))
}

/// Where a text is sent: an actor and the number of its unit, as steps are called.
fn shown_places(places: &Places) -> Vec<String> {
    let mut shown: Vec<String> =
        places.iter().take(PLACES_SHOWN).map(|(actor, unit)| format!("{actor}.{unit}")).collect();
    let more = places.len().saturating_sub(PLACES_SHOWN);
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown
}

/// An application as a case, for what shows cases.
fn case_of(app: &Application) -> ScriptCase {
    ScriptCase {
        name: app.name.clone(),
        backend: Backend::Postgres,
        begin: String::new(),
        violates: app.violates.clone(),
        set: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests;
