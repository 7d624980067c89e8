//! The exit codes of every command. They are part of the interface: CI systems branch on them.

use std::process::ExitCode;

/// How a command ended. When several apply, [`Exit::worst`] says which one is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// 0: every expectation was met.
    Met = 0,
    /// 1: a violation, an expected violation that did not appear, or a surviving mutant.
    Violated = 1,
    /// 2: the command line or a scenario file makes no sense.
    Usage = 2,
    /// 3: no answer: something was never put to the test.
    Inconclusive = 3,
    /// 4: no database could be had, or one was lost.
    Environment = 4,
    /// 5: a performance regression.
    Regression = 5,
    /// 130: interrupted.
    Interrupted = 130,
}

impl Exit {
    /// The order in which they win, the strongest first.
    const BY_STRENGTH: [Self; 7] = [
        Self::Interrupted,
        Self::Usage,
        Self::Violated,
        Self::Environment,
        Self::Regression,
        Self::Inconclusive,
        Self::Met,
    ];

    /// The one with this code, if there is one.
    pub fn of_code(code: u8) -> Option<Self> {
        Self::BY_STRENGTH.into_iter().find(|exit| *exit as u8 == code)
    }

    /// The one to report of two that apply.
    pub fn worst(self, other: Self) -> Self {
        Self::BY_STRENGTH.into_iter().find(|exit| *exit == self || *exit == other).unwrap_or(self)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn a_violation_outweighs_a_missing_backend_and_an_interrupt_outweighs_all() {
        assert_eq!(Exit::Inconclusive.worst(Exit::Violated), Exit::Violated);
        assert_eq!(Exit::Environment.worst(Exit::Violated), Exit::Violated);
        assert_eq!(Exit::Violated.worst(Exit::Interrupted), Exit::Interrupted);
        assert_eq!(Exit::Met.worst(Exit::Inconclusive), Exit::Inconclusive);
    }
}
