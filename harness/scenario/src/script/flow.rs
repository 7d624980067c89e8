//! In which order an actor's steps are sent: conditions, what an error leads to, repetitions.
//!
//! A file nests them; here they are flat, as instructions with jumps, so that a step has one number wherever it is
//! named. Every loop has a bound, so that every actor comes to an end.

use std::collections::BTreeMap;

use super::condition::Condition;
use super::{ScriptActor, ScriptStep, is_retryable};

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Sends a step, by its number.
    Send(usize),
    /// Does nothing: a step that the case does not have.
    Nothing,
    /// Goes on elsewhere unless this holds.
    Unless(Condition, usize),
    /// Goes on elsewhere.
    Go(usize),
    /// Goes back to `start`, up to so many times in all, until this holds.
    Repeat {
        /// The first instruction of the repeated ones.
        start: usize,
        /// How often they are run at most.
        times: u64,
        /// Ends it earlier.
        until: Option<Condition>,
    },
    /// The actor has come to its end.
    End,
}

/// What a refusal of a step leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// To this instruction, in the transaction as it is.
    Go(usize),
    /// The actor rolls back and begins anew, as often as its `retry` allows.
    Retry,
    /// The actor rolls back and has ended; that is no violation.
    End,
}

/// The code that stands for every one.
pub(super) const ANY_CODE: &str = "*";

/// Steps as a file nests them.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Step { step: Box<ScriptStep>, on_error: Vec<(String, Handler)>, ends: bool },
    If { condition: Condition, then: Vec<Node>, otherwise: Vec<Node> },
    Repeat { times: u64, until: Option<Condition>, body: Vec<Node> },
}

/// What stands for a code in `on-error`.
#[derive(Clone, Debug)]
pub(super) enum Handler {
    Steps(Vec<Node>),
    Retry,
    End,
}

/// The steps of nested ones, in the order in which they stand in the file, and their instructions.
pub(super) fn flatten(nodes: Vec<Node>) -> (Vec<ScriptStep>, Vec<Instruction>) {
    let mut flat = Flat::default();
    flat.add(nodes);
    (flat.steps, flat.instructions)
}

#[derive(Default)]
struct Flat {
    steps: Vec<ScriptStep>,
    instructions: Vec<Instruction>,
}

impl Flat {
    fn add(&mut self, nodes: Vec<Node>) {
        for node in nodes {
            match node {
                Node::Step { step, on_error, ends } => self.step(*step, on_error, ends),
                Node::If { condition, then, otherwise } => {
                    let test = self.hole();
                    self.add(then);
                    let mut after = self.instructions.len();
                    if !otherwise.is_empty() {
                        let skip = self.hole();
                        after = self.instructions.len();
                        self.add(otherwise);
                        self.instructions[skip] = Instruction::Go(self.instructions.len());
                    }
                    self.instructions[test] = Instruction::Unless(condition, after);
                }
                Node::Repeat { times, until, body } => {
                    let start = self.instructions.len();
                    self.add(body);
                    self.instructions.push(Instruction::Repeat { start, times, until });
                }
            }
        }
    }

    fn step(&mut self, step: ScriptStep, on_error: Vec<(String, Handler)>, ends: bool) {
        let number = self.steps.len();
        self.steps.push(step);
        self.instructions.push(Instruction::Send(number));
        if ends {
            self.instructions.push(Instruction::End);
        }
        let mut ways = Vec::new();
        let handled = on_error.iter().any(|(_, handler)| matches!(handler, Handler::Steps(_)));
        // Who was not refused passes over what refusals lead to.
        let over = (handled && !ends).then(|| self.hole());
        let mut behind = Vec::new();
        for (code, handler) in on_error {
            let way = match handler {
                Handler::Retry => OnError::Retry,
                Handler::End => OnError::End,
                Handler::Steps(nodes) => {
                    let begins = self.instructions.len();
                    self.add(nodes);
                    behind.push(self.hole());
                    OnError::Go(begins)
                }
            };
            ways.push((code, way));
        }
        let after = self.instructions.len();
        for at in behind.into_iter().chain(over) {
            self.instructions[at] = Instruction::Go(after);
        }
        self.steps[number].on_error = ways;
    }

    /// An instruction that is known later.
    fn hole(&mut self) -> usize {
        self.instructions.push(Instruction::Nothing);
        self.instructions.len() - 1
    }
}

impl ScriptActor {
    /// What to do at a place: the actor's instructions, or where it has none its steps one after the other.
    pub(super) fn instruction(&self, at: usize) -> Instruction {
        match self.flow.get(at) {
            Some(instruction) => instruction.clone(),
            None if self.flow.is_empty() && at < self.steps.len() => Instruction::Send(at),
            None => Instruction::End,
        }
    }

    /// Whether its steps are sent one after the other, whatever comes of them but a refusal.
    pub fn is_straight(&self) -> bool {
        self.flow.iter().all(|one| matches!(one, Instruction::Send(_) | Instruction::Nothing | Instruction::End))
            && self.steps.iter().all(|step| step.on_error.is_empty())
    }

    /// The steps that are sent if every condition holds, nothing is refused, and nothing is repeated.
    pub fn main_course(&self) -> Vec<usize> {
        let (mut steps, mut at) = (Vec::new(), 0);
        loop {
            match self.instruction(at) {
                Instruction::Send(step) => steps.push(step),
                // Only ever forward.
                Instruction::Go(to) => at = to.max(at + 1) - 1,
                Instruction::End => return steps,
                // What ends the actor early is not its main course.
                Instruction::Unless(_, to) if (at + 1..to).any(|one| self.instruction(one) == Instruction::End) => {
                    at = to - 1;
                }
                Instruction::Nothing | Instruction::Unless(..) | Instruction::Repeat { .. } => {}
            }
            at += 1;
        }
    }

    /// What a step's refusal with this code leads to, where the file says so.
    pub fn on_error(&self, step: usize, code: &str) -> Option<OnError> {
        let ways = &self.steps[step].on_error;
        let named = ways.iter().find(|(named, _)| named == code);
        named.or_else(|| ways.iter().find(|(named, _)| named == ANY_CODE)).map(|(_, way)| *way)
    }

    /// Whether a refusal with this code has it begin anew, as often as its `retry` allows, where no step says more.
    pub fn retries_after(&self, code: &str) -> bool {
        match &self.retries_on[..] {
            [] => is_retryable(code),
            codes => codes.iter().any(|named| named == code),
        }
    }

    /// Leaves out the steps of which this does not hold.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&ScriptStep) -> bool) {
        let mut numbers = BTreeMap::new();
        let steps = std::mem::take(&mut self.steps);
        for (number, step) in steps.into_iter().enumerate() {
            if is_kept(&step) {
                numbers.insert(number, self.steps.len());
                self.steps.push(step);
            }
        }
        for instruction in &mut self.flow {
            if let Instruction::Send(step) = instruction {
                *instruction = numbers.get(step).map_or(Instruction::Nothing, |number| Instruction::Send(*number));
            }
        }
    }
}
