//! The modes of PostgreSQL's table locks, and which of them exclude each other (its manual, 13.3.1).

use serde::{Deserialize, Serialize};

/// A mode, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// What SELECT takes.
    AccessShare,
    /// What SELECT FOR UPDATE takes.
    RowShare,
    /// What INSERT, UPDATE and DELETE take.
    RowExclusive,
    /// What VACUUM and concurrent builds take.
    ShareUpdateExclusive,
    /// What CREATE INDEX takes.
    Share,
    /// What CREATE TRIGGER takes.
    ShareRowExclusive,
    /// What REFRESH MATERIALIZED VIEW CONCURRENTLY takes.
    Exclusive,
    /// What most of ALTER TABLE takes.
    AccessExclusive,
}

impl Mode {
    /// Every mode, weakest first.
    pub const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];

    /// As LOCK TABLE names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessShare => "ACCESS SHARE",
            Self::RowShare => "ROW SHARE",
            Self::RowExclusive => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::Exclusive => "EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// From the name that `pg_locks` uses: `ShareRowExclusiveLock`.
    pub fn of_catalog(name: &str) -> Option<Self> {
        let plain: String = name.strip_suffix("Lock")?.to_uppercase();
        Self::ALL.into_iter().find(|mode| mode.as_str().replace(' ', "") == plain)
    }

    /// Whether two sessions cannot have these modes on one table at the same time.
    pub fn excludes(self, other: Self) -> bool {
        let (weaker, stronger) = if self <= other { (self, other) } else { (other, self) };
        match stronger {
            Self::AccessShare | Self::RowShare | Self::RowExclusive => false,
            Self::ShareUpdateExclusive => weaker == Self::ShareUpdateExclusive,
            Self::Share => matches!(weaker, Self::RowExclusive | Self::ShareUpdateExclusive),
            Self::ShareRowExclusive => weaker >= Self::RowExclusive,
            Self::Exclusive => weaker >= Self::RowShare,
            Self::AccessExclusive => true,
        }
    }

    /// Whether it keeps INSERT, UPDATE and DELETE out.
    pub fn blocks_writers(self) -> bool {
        self.excludes(Self::RowExclusive)
    }

    /// Whether it keeps SELECT out.
    pub fn blocks_readers(self) -> bool {
        self.excludes(Self::AccessShare)
    }
}

#[cfg(test)]
mod tests {
    use super::Mode::{self, *};

    #[test]
    fn the_table_is_that_of_the_manual() {
        // Each row: the modes that the first excludes.
        let manual: [(Mode, &[Mode]); 8] = [
            (AccessShare, &[AccessExclusive]),
            (RowShare, &[Exclusive, AccessExclusive]),
            (RowExclusive, &[Share, ShareRowExclusive, Exclusive, AccessExclusive]),
            (ShareUpdateExclusive, &[ShareUpdateExclusive, Share, ShareRowExclusive, Exclusive, AccessExclusive]),
            (Share, &[RowExclusive, ShareUpdateExclusive, ShareRowExclusive, Exclusive, AccessExclusive]),
            (
                ShareRowExclusive,
                &[RowExclusive, ShareUpdateExclusive, Share, ShareRowExclusive, Exclusive, AccessExclusive],
            ),
            (
                Exclusive,
                &[RowShare, RowExclusive, ShareUpdateExclusive, Share, ShareRowExclusive, Exclusive, AccessExclusive],
            ),
            (AccessExclusive, &Mode::ALL),
        ];
        for (mode, excluded) in manual {
            let found: Vec<Mode> = Mode::ALL.into_iter().filter(|other| mode.excludes(*other)).collect();
            assert_eq!(found, excluded, "{mode:?}");
        }
    }

    #[test]
    fn the_catalogs_names_are_known() {
        assert_eq!(Mode::of_catalog("ShareUpdateExclusiveLock"), Some(ShareUpdateExclusive));
        assert_eq!(Mode::of_catalog("AccessShareLock"), Some(AccessShare));
        assert_eq!(Mode::of_catalog("ShareRowExclusiveLock"), Some(ShareRowExclusive));
        assert_eq!((Mode::of_catalog("SIReadLock"), Mode::of_catalog("Share")), (None, None));
    }
}
