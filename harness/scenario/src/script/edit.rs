//! Changes to an actor that leave the rest as it is: a step more, a step less.

use super::condition::Condition;
use super::flow::{Instruction, OnError};
use super::{ScriptActor, ScriptStep};

impl ScriptActor {
    /// Sends one step more, right after another one. What leads elsewhere leads there still. Answers its number.
    pub fn insert_after(&mut self, step: usize, new: ScriptStep) -> usize {
        self.spell_out();
        let at = self.position(step).map_or(self.flow.len(), |at| at + 1);
        self.insert(step + 1, at, new)
    }

    /// Sends one step more before another one, also where something leads to that. Answers its number.
    pub fn insert_before(&mut self, step: usize, new: ScriptStep) -> usize {
        self.spell_out();
        let at = self.position(step).unwrap_or(self.flow.len());
        let number = self.insert(step, at, new);
        // What led to the step leads to the new one now.
        self.redirect(|to| if to == at + 1 { at } else { to });
        number
    }

    /// Sends one step more, after all. Answers its number.
    pub fn append(&mut self, new: ScriptStep) -> usize {
        self.spell_out();
        let number = self.steps.len();
        self.steps.push(new);
        self.flow.push(Instruction::Send(number));
        number
    }

    /// Puts a step at `number`, sent by the instruction at `at`.
    fn insert(&mut self, number: usize, at: usize, new: ScriptStep) -> usize {
        for instruction in &mut self.flow {
            if let Instruction::Send(step) = instruction
                && *step >= number
            {
                *step += 1;
            }
        }
        self.redirect(|to| if to >= at { to + 1 } else { to });
        self.flow.insert(at, Instruction::Send(number));
        self.steps.insert(number, new);
        number
    }

    /// Leaves a step out.
    pub fn remove(&mut self, number: usize) {
        self.spell_out();
        self.steps.remove(number);
        for instruction in &mut self.flow {
            match instruction {
                Instruction::Send(step) if *step == number => *instruction = Instruction::Nothing,
                Instruction::Send(step) if *step > number => *step -= 1,
                _ => {}
            }
        }
    }

    /// The conditions that must hold for a step to be sent.
    pub fn guards(&self, step: usize) -> Vec<&Condition> {
        let Some(at) = self.position(step) else { return Vec::new() };
        let guard = |(number, instruction)| match instruction {
            &Instruction::Unless(ref condition, to) if number < at && to > at => Some(condition),
            _ => None,
        };
        self.flow.iter().enumerate().filter_map(guard).collect()
    }

    /// Has a refusal of a step with this code lead to another step first, then to where it led, or else to what follows.
    pub fn handle(&mut self, step: usize, code: &str, handler: ScriptStep) -> usize {
        self.spell_out();
        let after = match self.on_error(step, code) {
            Some(OnError::Go(to)) => to,
            _ => self.position(step).map_or(self.flow.len(), |at| at + 1),
        };
        let number = self.steps.len();
        self.steps.push(handler);
        // Whoever comes to the end does not run into it.
        self.flow.push(Instruction::End);
        let begins = self.flow.len();
        self.flow.extend([Instruction::Send(number), Instruction::Go(after)]);
        self.steps[step].on_error.retain(|(known, _)| known != code);
        self.steps[step].on_error.push((code.to_owned(), OnError::Go(begins)));
        number
    }

    /// Whether a refusal of a step with this code leads to steps of its own, and not only to what follows.
    pub fn has_handler(&self, step: usize, code: &str) -> bool {
        let next = |mut at: usize| {
            // Every jump is forward but those of repetitions, which are looked at as ends.
            for _ in 0..=self.flow.len() {
                at = match self.flow.get(at) {
                    Some(Instruction::Nothing) => at + 1,
                    Some(Instruction::Go(to)) => *to,
                    _ => return at,
                };
            }
            at
        };
        let after = self.position(step).map_or(self.flow.len(), |at| at + 1);
        matches!(self.on_error(step, code), Some(OnError::Go(to)) if next(to) != next(after))
    }

    /// Writes its instructions out, where it has none for the steps simply follow one another.
    fn spell_out(&mut self) {
        if self.flow.is_empty() {
            self.flow = (0..self.steps.len()).map(Instruction::Send).collect();
        }
    }

    /// The instruction that sends a step.
    fn position(&self, step: usize) -> Option<usize> {
        self.flow.iter().position(|instruction| *instruction == Instruction::Send(step))
    }

    /// Changes where everything leads to.
    fn redirect(&mut self, to: impl Fn(usize) -> usize) {
        for instruction in &mut self.flow {
            match instruction {
                Instruction::Unless(_, target) | Instruction::Go(target) => *target = to(*target),
                Instruction::Repeat { start, .. } => *start = to(*start),
                Instruction::Send(_) | Instruction::Nothing | Instruction::End => {}
            }
        }
        for (_, way) in self.steps.iter_mut().flat_map(|step| &mut step.on_error) {
            if let OnError::Go(target) = way {
                *target = to(*target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Script;
    use super::*;

    fn actor() -> ScriptActor {
        let text = "name = \"x\"\nsummary = \"x\"\nsetup = \"SELECT 1\"\n[[actor]]\nname = \"a\"\nsteps = [\
                    { name = \"begin\", sql = \"BEGIN\" }, { name = \"read\", sql = \"SELECT 1\", capture = \"n\" }, \
                    { if = \"{n} = 1\", steps = [{ name = \"yes\", sql = \"x\" }], else = [{ name = \"no\", sql = \"x\" }] }, \
                    { name = \"write\", sql = \"x\", on-error = { \"23505\" = [{ name = \"back\", sql = \"x\" }] } }, \
                    { name = \"commit\", sql = \"COMMIT\" }]\n[[invariant]]\nname = \"i\"\nsql = \"SELECT 1\"\n";
        let script = Script::parse(Path::new("x.toml"), text.as_bytes());
        script.unwrap_or_else(|problems| panic!("{problems:?}")).actors.remove(0)
    }

    fn named(name: &str) -> ScriptStep {
        ScriptStep { name: name.to_owned(), sql: "SELECT 1".to_owned(), ..ScriptStep::default() }
    }

    /// The steps by name where every condition holds, and where what is refused leads.
    fn course(actor: &ScriptActor) -> (String, String) {
        let names: Vec<&str> = actor.main_course().into_iter().map(|step| actor.steps[step].name.as_str()).collect();
        let write = actor.steps.iter().position(|step| step.name == "write").expect("it is there");
        let Some(OnError::Go(to)) = actor.on_error(write, "23505") else { panic!("it leads somewhere") };
        let Instruction::Send(handler) = actor.flow[to] else { panic!("{:?}", actor.flow[to]) };
        (names.join(" "), actor.steps[handler].name.clone())
    }

    #[test]
    fn a_step_more_or_less_leaves_every_way_where_it_led() {
        let mut after = actor();
        assert_eq!(after.insert_after(0, named("lock")), 1);
        assert_eq!(course(&after), ("begin lock read yes write commit".to_owned(), "back".to_owned()));
        let mut before = actor();
        before.insert_before(4, named("savepoint"));
        assert_eq!(course(&before), ("begin read yes savepoint write commit".to_owned(), "back".to_owned()));
        // From the other branch, too.
        let Some(Instruction::Go(to)) = before.flow.iter().find(|one| matches!(one, Instruction::Go(_))) else {
            panic!("{:?}", before.flow)
        };
        assert_eq!(before.flow[*to], Instruction::Send(4));
        let mut less = actor();
        less.remove(1);
        assert_eq!(course(&less), ("begin yes write commit".to_owned(), "back".to_owned()));
        let mut more = actor();
        more.append(named("end"));
        assert_eq!(course(&more), ("begin read yes write commit end".to_owned(), "back".to_owned()));
    }
}
