//! Puts the rows of the beginning back, and proves that it did.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::digest::Digest;
use super::state::{keep_rows, without_triggers};
use super::{STEP_MAX, said};
use crate::explore::world::Lost;

/// How much longer than at its fastest it may take to put the rows back, before the tables are vacuumed: each execution
/// leaves dead rows behind, as many as the set-up has made. Not earlier, and not for a machine that is busy for a moment:
/// the server plans by what a vacuum counts, and a statement that is planned anew may take another course.
const SLOWER_MAX: Duration = Duration::from_millis(20);
/// How many times in a row.
const SLOW_MAX: u64 = 3;

/// How the state of the beginning is put back.
pub(in crate::explore) enum Beginning {
    /// By deleting and filling rows; then it is looked whether all is as it was.
    Rows(Kept),
    /// Each execution has a copy of the database of its own.
    Copies,
    /// Each execution has a database for which the set-up was run anew: roles change, and no copy puts them back.
    SetUps,
}

/// The rows of the beginning.
pub(in crate::explore) struct Kept {
    restore: String,
    digest: Digest,
    /// How long putting them back took at its fastest, and how many times in a row it took too long.
    fastest: Option<Duration>,
    slow: u64,
}

impl Kept {
    /// Keeps what is in the database now.
    pub async fn keep(control: &Client) -> Result<Self, Lost> {
        let restore = keep_rows(control).await?;
        Self::of(restore, control).await
    }

    /// Of the same rows in another session.
    pub async fn again(self, control: &Client) -> Result<Self, Lost> {
        without_triggers(control).await;
        Self::of(self.restore, control).await
    }

    /// Goes on in another session, whatever is in the database now.
    pub async fn move_to(&mut self, control: &Client) {
        without_triggers(control).await;
        self.digest.move_to(control).await;
    }

    async fn of(restore: String, control: &Client) -> Result<Self, Lost> {
        Ok(Self { restore, digest: Digest::take(control).await?, fastest: None, slow: 0 })
    }

    /// Deletes and fills; answers whether all is as it was at the beginning.
    pub async fn put_back(&mut self, control: &Client) -> Result<bool, Lost> {
        let begin = Instant::now();
        let restored = tokio::time::timeout(STEP_MAX, control.batch_execute(&self.restore)).await;
        let holds = match restored.map_err(|_| Lost::during("put the rows back", "no answer"))? {
            Ok(()) => self.digest.holds(control).await?,
            Err(error) if error.as_db_error().is_some() => false,
            Err(error) => return Err(said("put the rows back", &error)),
        };
        if holds {
            let took = begin.elapsed();
            let fastest = self.fastest.map_or(took, |fastest| fastest.min(took));
            self.fastest = Some(fastest);
            self.slow = if took > fastest + SLOWER_MAX { self.slow + 1 } else { 0 };
            if self.slow >= SLOW_MAX {
                self.slow = 0;
                control.batch_execute("VACUUM").await.map_err(|error| said("vacuum", &error))?;
            }
        }
        Ok(holds)
    }
}
