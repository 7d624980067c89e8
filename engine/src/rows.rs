//! What both sessions share: rows into the engine's values, and dates into text.
//!
//! The drivers' row types have no common trait that says which types they decode, hence the macro.

use crate::policy::Windows;

/// Defines `opened`, `cell` and `signal` for a driver's row.
macro_rules! decoders {
    ($row:ty) => {
        fn opened(row: &$row) -> Result<$crate::op::Opened, sqlx::Error> {
            let id = $crate::run::RunId::new(row.try_get("id")?).map_err($crate::rows::decode)?;
            let status = $crate::run::Status::parse(row.try_get("status")?)
                .ok_or_else(|| $crate::rows::decode("unknown status of a run"))?;
            Ok($crate::op::Opened { run: $crate::run::Run { id, status }, same: row.try_get("same")? })
        }

        fn cell(row: &$row) -> Result<$crate::drift::Cell, sqlx::Error> {
            Ok($crate::drift::Cell {
                payer: std::sync::Arc::from(row.try_get::<&str, _>("payer")?),
                cpt_group: std::sync::Arc::from(row.try_get::<&str, _>("cpt_group")?),
                window: if row.try_get("is_current")? {
                    $crate::policy::Window::Current
                } else {
                    $crate::policy::Window::Baseline
                },
                outcome: $crate::claim::Outcome::parse(row.try_get("outcome")?)
                    .ok_or_else(|| $crate::rows::decode("unknown outcome of a claim"))?,
                decision_days: row.try_get("decision_days")?,
                count: row.try_get::<i64, _>("claims")?.unsigned_abs(),
            })
        }

        fn signal(row: &$row) -> Result<$crate::drift::Signal, sqlx::Error> {
            Ok($crate::drift::Signal {
                payer: std::sync::Arc::from(row.try_get::<&str, _>("payer")?),
                cpt_group: std::sync::Arc::from(row.try_get::<&str, _>("cpt_group")?),
                drift_type: $crate::drift::DriftType::parse(row.try_get("drift_type")?)
                    .ok_or_else(|| $crate::rows::decode("unknown type of a drift"))?,
                baseline_value: row.try_get("baseline_value")?,
                current_value: row.try_get("current_value")?,
                delta: row.try_get("delta")?,
                severity: row.try_get("severity")?,
                confidence: row.try_get("confidence")?,
            })
        }
    };
}
pub(crate) use decoders;

pub(crate) fn decode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

/// The first day of the baseline, the first day of the current window, its exclusive end: as the
/// databases take them.
pub(crate) fn dates(windows: &Windows) -> [String; 3] {
    [windows.baseline_start, windows.current_start, windows.current_end].map(|date| date.to_string())
}
