//! Programs that a disagreement was found with, and that drawing meets too rarely to be relied on.

use drift_engine::op::Isolation;
use driftlock::model::rule::Rule;

use crate::program::{Act, Program};

/// The rules that only these programs are asked to notice.
pub const RULES: [Rule; 1] = [Rule::ConflictGoesOnWhereItWaited];

/// A run: its identity and its name.
type Run = (u8, u8);

/// The second session opens or fails a run of identity 0 under name 0, and waits for the third, which has
/// inserted one of the two keys. Meanwhile the first takes the other key; then the third ends.
///
/// In half of the programs the wait is at the identity, and the primary key is taken meanwhile; in the
/// other half it is the other way round.
pub fn programs() -> Vec<Program> {
    let (other_name, other_identity): (Run, Run) = ((0, 1), (1, 0));
    let mut programs = Vec::new();
    for [holder, taker] in [[other_name, other_identity], [other_identity, other_name]] {
        for isolation in [Isolation::ReadCommitted, Isolation::RepeatableRead] {
            for asks in [open((0, 0)), Act::FailRun { identity: 0, run: 0, fresh: false }] {
                for end in [Act::Commit, Act::Rollback] {
                    let begin = |isolation| Act::Begin { isolation, immediate: false };
                    let first = vec![begin(Isolation::ReadCommitted), open(taker)];
                    let second = vec![begin(isolation), asks];
                    let third = vec![begin(Isolation::ReadCommitted), open(holder), end];
                    // The third inserts, the second asks, the first takes, and the third ends.
                    let turns = vec![2, 2, 1, 1, 0, 0, 0];
                    programs.push(Program { there: 0, sessions: vec![first, second, third], turns });
                }
            }
        }
    }
    programs
}

fn open((identity, run): Run) -> Act {
    Act::OpenRun { identity, run, fresh: false }
}
