//! What the server still owes. A batch that ends with Flush has no last message of its own: its answer is complete when
//! each of its messages has had its response, and this queue is how that is known.

use std::collections::VecDeque;

/// The response that one message of the client's is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owed {
    Parse,
    Bind,
    /// The parameters, and then the columns.
    DescribeStatement,
    /// The columns, or word that there are none.
    Describe,
    Execute,
    Close,
    /// Anything, and then ReadyForQuery.
    Query,
    /// The function's result, and then ReadyForQuery.
    Call,
    /// ReadyForQuery.
    Sync,
}

impl Owed {
    /// Whether ReadyForQuery is what settles it.
    fn is_settled_by_ready(self) -> bool {
        matches!(self, Owed::Query | Owed::Call | Owed::Sync)
    }
}

/// A response, and whether it is due to a message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) owed: Owed,
    /// The client has not asked for it, and does not see it.
    pub(crate) is_ours: bool,
}

/// All that is owed, in the order in which it will come.
#[derive(Debug, Default)]
pub(crate) struct Debt {
    queue: VecDeque<Due>,
    /// The server ignores everything up to a Sync: a message before has failed.
    skipping: bool,
}

impl Debt {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the server ignores everything up to a Sync.
    pub(crate) fn is_skipping(&self) -> bool {
        self.skipping
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn next(&self) -> Option<Owed> {
        self.queue.front().map(|due| due.owed)
    }

    /// Whether the next response is to a message of ours.
    pub(crate) fn next_is_ours(&self) -> bool {
        self.queue.front().is_some_and(|due| due.is_ours)
    }

    /// Whether a simple query or a function call is under way.
    pub(crate) fn next_is_simple(&self) -> bool {
        matches!(self.next(), Some(Owed::Query | Owed::Call))
    }

    /// A message goes to the server.
    pub(crate) fn owe(&mut self, owed: Owed) {
        self.owe_to(Due { owed, is_ours: false });
    }

    /// A message of the client's or of ours goes to the server.
    pub(crate) fn owe_to(&mut self, due: Due) {
        if self.skipping {
            if due.owed != Owed::Sync {
                return;
            }
            self.skipping = false;
        }
        self.queue.push_back(due);
    }

    /// The response to this has come; `false` if it was not the next.
    pub(crate) fn settle(&mut self, owed: Owed) -> bool {
        let next = self.next() == Some(owed);
        if next {
            self.queue.pop_front();
        }
        next
    }

    /// A statement's parameters were described; its columns follow.
    pub(crate) fn settle_parameters(&mut self) -> bool {
        match self.queue.front_mut() {
            Some(next) if next.owed == Owed::DescribeStatement => {
                next.owed = Owed::Describe;
                true
            }
            _ => false,
        }
    }

    /// An error came in place of the next response; what it takes with it is forgiven.
    pub(crate) fn fail(&mut self) {
        if self.queue.is_empty() || self.next_is_simple() {
            return;
        }
        while self.queue.front().is_some_and(|due| due.owed != Owed::Sync) {
            self.queue.pop_front();
        }
        self.skipping = self.queue.is_empty();
    }

    /// ReadyForQuery came; `false` if none was due.
    pub(crate) fn ready(&mut self) -> bool {
        while let Some(due) = self.queue.pop_front() {
            if due.owed.is_settled_by_ready() {
                return true;
            }
        }
        // Only a Sync brings this outside of a simple query, so the server listens again.
        self.skipping = false;
        false
    }

    /// COPY has begun in the next response: the server overlooks a Sync that it was sent before the data.
    pub(crate) fn keep_next_alone(&mut self) {
        self.queue.truncate(1);
    }

    /// Nothing of what is owed will be waited for.
    pub(crate) fn forgive(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Debt, Due, Owed};

    fn debt(owed: &[Owed]) -> Debt {
        let mut debt = Debt::default();
        owed.iter().for_each(|owed| debt.owe(*owed));
        debt
    }

    #[test]
    fn what_is_ours_is_known_when_it_is_due() {
        let mut debt = debt(&[Owed::Execute]);
        debt.owe_to(Due { owed: Owed::Parse, is_ours: true });
        debt.owe(Owed::Sync);
        assert!(!debt.next_is_ours() && debt.settle(Owed::Execute));
        assert!(debt.next_is_ours() && debt.settle(Owed::Parse));
        assert!(!debt.next_is_ours() && debt.ready());
    }

    #[test]
    fn an_error_takes_everything_up_to_the_sync() {
        let mut debt = debt(&[Owed::Parse, Owed::Bind, Owed::Execute, Owed::Sync]);
        assert!(debt.settle(Owed::Parse));
        debt.fail();
        assert_eq!(debt.next(), Some(Owed::Sync));
        assert!(debt.ready());
        assert!(debt.is_empty());
    }

    #[test]
    fn after_an_error_without_a_sync_only_a_sync_is_answered() {
        let mut debt = debt(&[Owed::Parse, Owed::Bind]);
        debt.fail();
        assert!(debt.is_empty());
        for ignored in [Owed::Execute, Owed::Query, Owed::Call] {
            debt.owe(ignored);
            assert!(debt.is_empty());
        }
        debt.owe(Owed::Sync);
        assert!(debt.ready());
    }

    #[test]
    fn a_simple_query_that_fails_is_still_owed_its_end() {
        let mut debt = debt(&[Owed::Query]);
        debt.fail();
        assert_eq!(debt.next(), Some(Owed::Query));
        assert!(debt.ready());
        assert!(!debt.ready());
    }

    #[test]
    fn a_statement_is_described_in_two_parts() {
        let mut debt = debt(&[Owed::DescribeStatement]);
        assert!(!debt.settle(Owed::Describe));
        assert!(debt.settle_parameters());
        assert!(!debt.settle_parameters());
        assert!(debt.settle(Owed::Describe));
    }
}
