//! What would mend an application whose programs are not touched: repairs of what it was seen to send, and of its schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Observed, OfApplication, SERIAL_MAX, Worlds, case_of};
use crate::app::rewriting::Rewriter;
use crate::explore::application::rules::AppRules;
use crate::explore::application::sent::Alteration;
use crate::explore::case::{Options, compare_serial_runs};
use crate::explore::judge::Found;
use crate::explore::world::Lost;
use crate::scenario::application::Application;
use crate::scenario::script::{Script, ScriptActor, ScriptStep};
use crate::variation::mutate::Looked;
use crate::variation::repair::Subject;
use crate::variation::repairs::on_wire::begins;
use crate::variation::repairs::{Proposal, proposals_on_wire};
use crate::variation::{Refused, Serially, Variation};

/// The most texts of an actor from which repairs are proposed.
const TEXTS_MAX: usize = 1_000;

/// An application that is to be mended.
pub struct Mending<'w, W> {
    of: OfApplication<'w, W>,
    /// What was sent in the order that was found, as a script's steps.
    shown: Arc<Script>,
}

impl<'w, W: Worlds> Mending<'w, W> {
    /// Of this application.
    pub fn new(worlds: &'w mut W, app: &Arc<Application>) -> Self {
        Self { of: OfApplication::new(worlds, app), shown: Arc::default() }
    }

    async fn runs(&mut self, world: &mut super::AppWorld, app: &Arc<Application>) -> Result<Vec<Serially>, Lost> {
        let mut rules = AppRules::new(app, world);
        compare_serial_runs(world, &mut rules, None).await?;
        let runs = rules.serial_runs(world, SERIAL_MAX).await?;
        Ok(runs.into_iter().map(|(wrong, state)| Serially { wrong, state }).collect())
    }
}

impl<W: Worlds> Subject for Mending<'_, W> {
    type Error = W::Error;

    fn actors(&self) -> usize {
        self.of.app.actors.len()
    }

    async fn explore(
        &mut self,
        with: Option<&Variation>,
        compared: bool,
        options: &Options,
    ) -> Result<Result<Looked, Refused>, W::Error> {
        let (app, alteration) = (self.of.comparing(compared), with.map(alteration).unwrap_or_default());
        let made = self.of.worlds.make(&app, &alteration).await;
        let mut world = match self.of.refused(made)? {
            Ok(world) => world,
            Err(refused) => return Ok(Err(refused)),
        };
        let rewrites = with.map(|_| alteration.rewriter.is_some());
        let looked = self.of.look(&mut world, &app, rewrites, &alteration, options).await;
        let looked = self.of.closed(world, looked).await?;
        if let (None, Ok(Looked { script: Some(script), .. })) = (with, &looked) {
            self.shown = script.clone();
        }
        Ok(looked)
    }

    async fn serially(&mut self, with: Option<&Variation>) -> Result<Result<Vec<Serially>, Refused>, W::Error> {
        let (app, alteration) = (self.of.comparing(true), with.map(alteration).unwrap_or_default());
        let made = self.of.worlds.make(&app, &alteration).await;
        let mut world = match self.of.refused(made)? {
            Ok(world) => world,
            Err(refused) => return Ok(Err(refused)),
        };
        let runs = self.runs(&mut world, &app).await;
        self.of.closed(world, runs).await
    }

    async fn proposals(&mut self, found: &Found) -> Result<Result<Vec<Proposal>, Refused>, W::Error> {
        let (app, seen) = (&self.of.app, &self.of.seen);
        let sent = sent(app, seen);
        let mut all = proposals_on_wire(&sent, &case_of(app), &seen.catalog, found, &self.shown);
        for (place, _) in all.iter_mut().flat_map(|one| &mut one.variation.statements) {
            *place = of_unit(place).to_owned();
        }
        Ok(Ok(all))
    }

    fn shown(&self) -> Arc<Script> {
        self.shown.clone()
    }
}

/// The place of a unit, however many texts it may have.
fn of_unit(place: &str) -> &str {
    let unit = place.rfind('.').and_then(|dot| Some(dot + place[dot..].find('-')?));
    unit.map_or(place, |end| &place[..end])
}

/// All that was seen to be sent, as the steps of a script: by the number of the unit that was the first to have it.
fn sent(app: &Application, seen: &Observed) -> Script {
    let actor = |name: &String| {
        let sends = |(text, places): (&String, &BTreeMap<String, usize>)| Some((*places.get(name)?, text.clone()));
        let mut texts: Vec<(usize, String)> = seen.sent.texts.iter().filter_map(sends).collect();
        texts.sort();
        texts.truncate(TEXTS_MAX);
        let mut steps: Vec<ScriptStep> = Vec::new();
        let mut last = (0, 1);
        for (unit, sql) in texts {
            last = if last.0 == unit { (unit, last.1 + 1) } else { (unit, 1) };
            let name = if last.1 == 1 { unit.to_string() } else { format!("{unit}-{}", last.1) };
            steps.push(ScriptStep { name, sql, ..ScriptStep::default() });
        }
        ScriptActor { name: name.clone(), steps, goes_on: true, ..ScriptActor::default() }
    };
    Script {
        name: app.name.clone(),
        actors: app.actors.iter().map(|of| actor(&of.name)).collect(),
        invariants: app.invariants.clone(),
        cases: vec![case_of(app)],
        ..Script::default()
    }
}

/// What a variation changes of an application.
fn alteration(with: &Variation) -> Alteration {
    let (rules, first) = (with.on_wire.rules.clone(), with.on_wire.first.clone());
    let (after_setup, stays) = (with.on_wire.after_setup.clone(), with.on_wire.stays.clone());
    let rewriter = (!rules.is_empty() || first.is_some()).then(|| {
        let rewriter = Rewriter::new(move |text| {
            if stays.contains(text) {
                return Ok(None);
            }
            let anew = rules
                .iter()
                .fold(None, |anew: Option<String>, rule| rule.anew(anew.as_deref().unwrap_or(text)).or(anew));
            Ok(anew)
        });
        match first {
            Some(first) => rewriter.followed_by(move |text| begins(text).then(|| first.clone())),
            None => rewriter,
        }
    });
    Alteration { rewriter, after_setup, ..Alteration::default() }
}

#[cfg(test)]
mod tests {
    use super::of_unit;

    #[test]
    fn a_place_is_an_actor_s_unit() {
        for (place, unit) in
            [("ann.4-2", "ann.4"), ("cus-1.4", "cus-1.4"), ("cus-1.4-12", "cus-1.4"), ("set-up", "set-up")]
        {
            assert_eq!(of_unit(place), unit);
        }
    }
}
