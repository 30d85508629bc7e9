//! Exit codes: one documented enum for every verb.

use super::RunVerdict;

/// What the process says to its caller. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every hypothesis held and every fault bit; for `recover`: nothing is left; for `check`: no error.
    Passed = 0,
    /// Squall's own fault.
    Errored = 1,
    /// Usage, or an invalid document: it never became a run.
    Usage = 2,
    /// Refused before any act: limits, no targets, no permission, cluster unreachable, lease held.
    Refused = 3,
    /// Not steady before; nothing was injected.
    Unsteady = 4,
    /// A hypothesis deviated, or a step did not come out as expected.
    Deviated = 5,
    /// Ended early and undone.
    Aborted = 6,
    /// Something is left behind: a person is needed.
    UndoIncomplete = 7,
    /// Nothing deviated, but something could not be shown.
    Inconclusive = 8,
}

impl Exit {
    /// Worst first. `Usage` never meets the others: a document that is not valid keeps every file of the call from running.
    const ORDER: [Self; 9] = [
        Self::UndoIncomplete,
        Self::Errored,
        Self::Aborted,
        Self::Deviated,
        Self::Unsteady,
        Self::Refused,
        Self::Usage,
        Self::Inconclusive,
        Self::Passed,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The worse of two.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        Self::ORDER.into_iter().find(|exit| [self, other].contains(exit)).unwrap_or(self)
    }
}

impl From<RunVerdict> for Exit {
    fn from(verdict: RunVerdict) -> Self {
        match verdict {
            RunVerdict::Passed => Self::Passed,
            RunVerdict::Deviated => Self::Deviated,
            RunVerdict::Inconclusive => Self::Inconclusive,
            RunVerdict::Aborted => Self::Aborted,
            RunVerdict::Refused => Self::Refused,
            RunVerdict::Unsteady => Self::Unsteady,
            RunVerdict::Errored => Self::Errored,
            RunVerdict::UndoIncomplete => Self::UndoIncomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_worst_wins_in_the_documented_order() {
        let order = [7, 1, 6, 5, 4, 3, 2, 8, 0];
        assert_eq!(Exit::ORDER.map(Exit::code), order);
        for (i, worse) in Exit::ORDER.into_iter().enumerate() {
            for better in &Exit::ORDER[i..] {
                assert_eq!(worse.worse(*better), worse);
                assert_eq!(better.worse(worse), worse);
            }
        }
    }
}
