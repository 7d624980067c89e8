//! What dead harnesses left on this machine is stopped and removed, once it is proved to be ours.

use std::path::PathBuf;

use super::directory::{self, Contents, OwnedDirectory};
use super::{cluster, process};

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
    if !swept.removed.is_empty() || !swept.kept.is_empty() {
        tracing::info!(removed = ?swept.removed, kept = ?swept.kept, "swept what dead harnesses left behind");
    }
    swept
}

async fn remove(directory: OwnedDirectory, contents: Contents) -> Result<(), String> {
    let data: PathBuf = directory.path().join(cluster::DATA);
    let blocking = move |mut directory: OwnedDirectory| {
        if contents == Contents::Cluster && !process::end_strangers(&data) {
            directory.abandon();
            return Err("its server does not end".to_owned());
        }
        directory.remove().map_err(|e| e.to_string())
    };
    tokio::task::spawn_blocking(move || blocking(directory)).await.unwrap_or_else(|e| Err(e.to_string()))
}
