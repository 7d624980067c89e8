//! All orders of the sessions' steps, in the order in which isolationtester runs them.
//!
//! An order is a word over the sessions' numbers; they come in lexicographic order, one at a time:
//! there are too many to hold.

use super::spec::{Begin, Permutation, Spec};

/// All orders of a specification's steps in which each session keeps its own.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Steps of each session.
    steps: Vec<Vec<usize>>,
    /// The sessions' numbers, in the next order.
    next: Option<Vec<usize>>,
}

impl Orders {
    /// The orders of a specification.
    pub fn new(spec: &Spec) -> Self {
        let of = |session| (0..spec.steps.len()).filter(|step| spec.steps[*step].session == session).collect();
        let steps: Vec<Vec<usize>> = (0..spec.sessions.len()).map(of).collect();
        let first = steps.iter().enumerate().flat_map(|(session, steps)| vec![session; steps.len()]).collect();
        Self { steps, next: Some(first) }
    }
}

impl Iterator for Orders {
    type Item = Permutation;

    fn next(&mut self) -> Option<Permutation> {
        let order = self.next.take()?;
        let mut taken = vec![0; self.steps.len()];
        let steps = order.iter().map(|&session| {
            let step = self.steps[session][taken[session]];
            taken[session] += 1;
            Begin { step, blockers: Vec::new() }
        });
        let permutation = Permutation { steps: steps.collect() };
        self.next = successor(order);
        Some(permutation)
    }
}

/// The next word with the same letters, in lexicographic order.
fn successor(mut word: Vec<usize>) -> Option<Vec<usize>> {
    let at = word.windows(2).rposition(|pair| pair[0] < pair[1])?;
    let with = word.iter().rposition(|&letter| letter > word[at]).expect("the letter after it is greater");
    word.swap(at, with);
    word[at + 1..].reverse();
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::super::parser::parse;
    use super::*;

    fn orders(text: &str) -> Vec<String> {
        let spec = parse(text).unwrap();
        let name = |begin: &Begin| spec.steps[begin.step].name.as_str();
        Orders::new(&spec).map(|order| order.steps.iter().map(name).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn the_first_sessions_steps_come_first_and_each_session_keeps_its_order() {
        let text = "session s1 step a {} step b {} session s2 step c {} step d {}";
        assert_eq!(orders(text), ["a b c d", "a c b d", "a c d b", "c a b d", "c a d b", "c d a b"]);
    }

    #[test]
    fn three_sessions_of_three_steps_have_1680_different_orders() {
        let session = |s: &str| format!("session {s} step {s}1 {{}} step {s}2 {{}} step {s}3 {{}} ");
        let mut all = orders(&["x", "y", "z"].map(session).concat());
        assert_eq!(all.len(), 1680);
        all.dedup();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1680);
    }

    #[test]
    fn one_session_has_one_order() {
        assert_eq!(orders("session s step a {} step b {}"), ["a b"]);
    }
}
