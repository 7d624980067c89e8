//! A script under load, from the set-up to what was recorded: what `driftlock bench SCRIPT` does.

use std::sync::Arc;

use drift_engine::session::{DbError, Kind};
use tokio_util::sync::CancellationToken;

use super::ScriptJob;
use super::connection::Place;
use super::steps::StepRow;
use crate::capacity::alarm::Alarm;
use crate::capacity::bed::BedError;
use crate::capacity::calibrate::{Calibration, calibrate};
use crate::capacity::drive::{Driven, drive};
use crate::capacity::load::Load;
use crate::clock::Clock;
use crate::database::STATEMENT_MAX;
use crate::database::postgres::PgDatabase;
use crate::database::sqlite::SqliteDatabase;
use crate::explore::world::Lost;
use crate::fixture::Host;
use crate::isolation::{TargetError, config};
use crate::scenario::script::{Script, ScriptCase};

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum ScriptBenchError {
    /// There is no database, or it is lost, or somebody interrupted it.
    #[error(transparent)]
    Bed(#[from] BedError),
    /// The database refuses the set-up.
    #[error("the set-up of {script} is refused: {error}")]
    Setup {
        /// Whose.
        script: String,
        /// How.
        error: DbError,
    },
    /// The types of what is captured could not be asked for.
    #[error("{0}")]
    Types(#[from] Lost),
}

/// What a load came to.
pub struct Benched {
    /// What its parts take alone.
    pub calibration: Option<Calibration>,
    /// What was recorded.
    pub driven: Driven,
    /// The same by step.
    pub steps: Vec<StepRow>,
    /// What was really added to a round trip, on average, in nanoseconds.
    pub round_trip_added: Option<f64>,
}

/// Makes a database with the set-up, and puts the load on it. The script must be [that of the case](Script::of_case), and
/// [repeatable](super::unrepeatable).
///
/// Cancellation: the database goes with the host.
///
/// # Errors
/// See [`ScriptBenchError`].
pub async fn bench_script(
    host: &Host,
    script: &Arc<Script>,
    case: &ScriptCase,
    load: &Load,
    cancel: &CancellationToken,
) -> Result<Benched, ScriptBenchError> {
    let (place, server) = place(host).await?;
    let mut connection = place.connect().await.map_err(BedError::from)?;
    let set_up = connection.send(&script.setup, Kind::Write, None).await;
    set_up.map_err(|error| ScriptBenchError::Setup { script: script.name.clone(), error })?;
    drop(connection);
    let clock = Clock::start();
    let alarm = Arc::new(Alarm::start(clock.clone()).map_err(BedError::Thread)?);
    let measures = (clock.clone(), alarm.clone());
    let types = place.types(script, case).await?;
    let job = Arc::new(ScriptJob::new(place, (script.clone(), case.clone(), types), load, measures));
    let calibrating = calibrate(job.clone(), load, server.as_ref(), &clock, &alarm, cancel);
    let calibration = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(BedError::Interrupted.into()),
        calibration = calibrating => calibration.map_err(BedError::from)?,
    };
    let driven = drive(job.clone(), load, &clock, &alarm, cancel).await.map_err(BedError::from)?;
    Ok(Benched { calibration, driven, steps: job.counted(), round_trip_added: alarm.round_trip_added() })
}

/// A database for the script, and where there is a server one beside it for what is measured of the server alone.
async fn place(host: &Host) -> Result<(Place, Option<PgDatabase>), BedError> {
    Ok(match host {
        Host::Postgres(server) if !server.confines_foreign_code() => {
            return Err(TargetError::Powerful { role: server.role().name.clone() }.into());
        }
        Host::Postgres(server) => {
            let own = server.create_database("script", None).await?;
            let beside = server.create_database("beside", None).await?;
            let place = Place::Postgres(Box::new(config(server, &own)?));
            (place, Some(PgDatabase::new(server.connect_options(&beside), None)))
        }
        Host::Sqlite(files) => {
            let made = files.create_database("script", None).await?;
            (Place::Sqlite(Box::new(SqliteDatabase::new(files.connect_options(&made), STATEMENT_MAX))), None)
        }
    })
}
