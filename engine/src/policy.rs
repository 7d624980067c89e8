//! The windows that are compared, and the thresholds from which a difference is a drift.
//!
//! The thresholds are constants: a run's identity holds the windows and the minimum volume only,
//! so nothing else may change what the run's events are for given claims.

use jiff::civil::Date;
use jiff::{Span, ToSpan};
use serde::{Deserialize, Serialize};

/// An absolute change of the denial rate from which it is a drift: 5 percentage points, as a fraction.
pub const DENIAL_ABS: (i128, i128) = (5, 100);
/// A relative change, of either measure, from which it is a drift: one half of the baseline, as a fraction.
pub const RELATIVE: (i128, i128) = (1, 2);
/// An absolute change of the median decision time from which it is a drift, in days.
pub const DECISION_ABS_DAYS: i128 = 3;
/// The largest minimum volume, in claims.
pub const MIN_VOLUME_MAX: u32 = 1_000_000_000;
/// The longest window, in days.
pub const WINDOW_DAYS_MAX: u32 = 3_650;

/// How a customer's claims are compared: lengths of the windows and the volume that a comparison needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Policy {
    baseline_days: u32,
    current_days: u32,
    min_volume: u32,
}

/// A policy as it was written, before it is checked.
#[derive(Deserialize)]
struct Unchecked {
    baseline_days: u32,
    current_days: u32,
    min_volume: u32,
}

impl TryFrom<Unchecked> for Policy {
    type Error = PolicyError;

    fn try_from(Unchecked { baseline_days, current_days, min_volume }: Unchecked) -> Result<Self, PolicyError> {
        Self::new(baseline_days, current_days, min_volume)
    }
}

impl Default for Policy {
    /// 90 days against 14, at least 30 claims in both windows.
    fn default() -> Self {
        Self { baseline_days: 90, current_days: 14, min_volume: 30 }
    }
}

/// Why a policy, or a policy at a date, makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A window is empty or too long.
    #[error("the {which} window is {days} days long; it must be 1 to {WINDOW_DAYS_MAX} days")]
    WindowDays {
        /// `baseline` or `current`.
        which: &'static str,
        /// What was asked for, in days.
        days: u32,
    },
    /// The minimum volume is zero, or more than any window can hold.
    #[error("the minimum volume is {claims} claims; it must be 1 to {MIN_VOLUME_MAX}")]
    MinVolume {
        /// What was asked for.
        claims: u32,
    },
    /// The windows reach before the first day of the calendar.
    #[error("the windows before {as_of} reach beyond the calendar")]
    Calendar {
        /// The day of the recompute.
        as_of: Date,
    },
}

impl Policy {
    /// Checks and makes a policy; lengths in days, `min_volume` in claims for each window.
    ///
    /// # Errors
    /// A window shorter than 1 or longer than [`WINDOW_DAYS_MAX`] days, or a minimum volume of 0 or
    /// more than [`MIN_VOLUME_MAX`].
    pub fn new(baseline_days: u32, current_days: u32, min_volume: u32) -> Result<Self, PolicyError> {
        for (which, days) in [("baseline", baseline_days), ("current", current_days)] {
            if days == 0 || days > WINDOW_DAYS_MAX {
                return Err(PolicyError::WindowDays { which, days });
            }
        }
        if min_volume == 0 || min_volume > MIN_VOLUME_MAX {
            return Err(PolicyError::MinVolume { claims: min_volume });
        }
        Ok(Self { baseline_days, current_days, min_volume })
    }

    /// The length of the baseline window, in days.
    pub fn baseline_days(&self) -> u32 {
        self.baseline_days
    }

    /// The length of the current window, in days.
    pub fn current_days(&self) -> u32 {
        self.current_days
    }

    /// The number of claims that both windows must hold.
    pub fn min_volume(&self) -> u32 {
        self.min_volume
    }

    /// The two windows that end at `as_of`.
    ///
    /// # Errors
    /// The baseline would begin before the first day of the calendar.
    pub fn windows(&self, as_of: Date) -> Result<Windows, PolicyError> {
        let back = |from: Date, days: u32| {
            let span: Span = i64::from(days).days();
            from.checked_sub(span).map_err(|_| PolicyError::Calendar { as_of })
        };
        let current_start = back(as_of, self.current_days)?;
        let baseline_start = back(current_start, self.baseline_days)?;
        Ok(Windows { baseline_start, current_start, current_end: as_of })
    }
}

/// Two adjacent half-open windows of submission dates: the baseline ends where the current one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Windows {
    /// The first day of the baseline.
    pub baseline_start: Date,
    /// The first day of the current window, which is the exclusive end of the baseline.
    pub current_start: Date,
    /// The exclusive end of the current window.
    pub current_end: Date,
}

/// One of the two windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// What the current window is compared with.
    Baseline,
    /// The most recent days.
    Current,
}

impl Windows {
    /// Which window a submission date falls into, if any.
    pub fn of(&self, day: Date) -> Option<Window> {
        if day < self.baseline_start || day >= self.current_end {
            None
        } else if day < self.current_start {
            Some(Window::Baseline)
        } else {
            Some(Window::Current)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn windows_are_adjacent_and_half_open() {
        let windows = Policy::default().windows(date(2026, 4, 15)).expect("in the calendar");
        assert_eq!(windows.current_start, date(2026, 4, 1));
        assert_eq!(windows.baseline_start, date(2026, 1, 1));
        assert_eq!(windows.of(date(2026, 3, 31)), Some(Window::Baseline));
        assert_eq!(windows.of(date(2026, 4, 1)), Some(Window::Current));
        assert_eq!(windows.of(date(2026, 4, 15)), None);
        assert_eq!(windows.of(date(2025, 12, 31)), None);
    }

    #[test]
    fn senseless_policies_are_refused() {
        assert!(Policy::new(0, 14, 30).is_err());
        assert!(Policy::new(90, WINDOW_DAYS_MAX + 1, 30).is_err());
        assert!(Policy::new(90, 14, 0).is_err());
        assert!(Policy::new(90, 14, MIN_VOLUME_MAX + 1).is_err());
        assert!(Policy::default().windows(date(-9999, 1, 1)).is_err());
    }
}
