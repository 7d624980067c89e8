//! What dead harnesses left on this machine is stopped and removed, once it is proved to be ours.

use super::container;
use super::directory::{self, Contents, OwnedDirectory};

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// What was removed: directories and databases, as a person would name them.
    pub removed: Vec<String>,
    /// What was recognised as ours and could not be removed, and why; the next sweep tries again.
    pub kept: Vec<String>,
}

/// Removes the directories of dead harnesses from this machine's temporary directories, and stops
/// the servers in them. What a living harness owns, or anybody else, is not touched.
///
/// Cancellation: the sweep runs on a thread of its own, and ends what it has begun.
pub async fn sweep() -> Swept {
    let abandoned = tokio::task::spawn_blocking(|| {
        let mut all = Vec::new();
        for parent in directory::parents() {
            all.extend(OwnedDirectory::abandoned(&parent));
        }
        all
    });
    let mut swept = Swept::default();
    for (directory, contents) in abandoned.await.unwrap_or_default() {
        let path = directory.path().to_owned();
        match remove(directory, contents).await {
            Ok(()) => swept.removed.push(path.display().to_string()),
            Err(why) => swept.kept.push(format!("{}: {why}", path.display())),
        }
    }
    swept.tell();
    swept
}

impl Swept {
    pub(super) fn tell(&self) {
        if !self.removed.is_empty() || !self.kept.is_empty() {
            tracing::info!(removed = ?self.removed, kept = ?self.kept, "swept what dead harnesses left behind");
        }
    }

    /// Adds what another sweep found.
    pub fn and(mut self, other: Self) -> Self {
        self.removed.extend(other.removed);
        self.kept.extend(other.kept);
        self
    }
}

async fn remove(mut directory: OwnedDirectory, contents: Contents) -> Result<(), String> {
    if let Contents::Container { token } = &contents
        && let Err(error) = container::remove_all(token).await
    {
        directory.abandon();
        return Err(error.to_string());
    }
    let remove = move || {
        if contents == Contents::Cluster && !directory.end() {
            directory.abandon();
            return Err("its server does not end".to_owned());
        }
        directory.remove().map_err(|e| e.to_string())
    };
    tokio::task::spawn_blocking(remove).await.unwrap_or_else(|e| Err(e.to_string()))
}
