//! A private directory whose owner is alive exactly as long as its lock is held.
//!
//! The lock is `flock` on the directory itself: the kernel lets go of it when its owner is gone,
//! however it went, and it is never inherited (the descriptor is close-on-exec). Between the making
//! of a directory and its locking a sweep of another process may take it; the maker notices, and
//! makes another one. A watcher, where there is one, has the lock too, and removes the directory once its owner is gone;
//! a sweep finds what neither of them could.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ProvisionError;
use super::watcher::Watcher;

const PREFIX: &str = "driftlock-";
const RANDOM_CHARS: usize = 10;
const MARKER: &str = "owner";
const MAGIC: &str = "driftlock throw-away directory, safe to delete when no driftlock runs\n";
const MARKER_BYTES_MAX: u64 = 1024;
const ATTEMPTS_MAX: usize = 16;
/// How long to rest before a directory that was not empty is removed again.
const REMOVE_AGAIN: Duration = Duration::from_millis(50);

/// A name as long as every other one of a directory.
pub(super) const EXAMPLE: &str = "driftlock-0123456789";

/// The temporary directories of this machine, the preferred one first. Throw-away directories are
/// made, and looked for, in these.
pub(super) fn parents() -> Vec<PathBuf> {
    let mut all = vec![std::env::temp_dir(), PathBuf::from("/tmp")];
    all.dedup();
    all
}

/// The temporary directory for what makes no demands on its place.
pub(super) fn parent() -> PathBuf {
    parents().into_iter().find(|path| path.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// What a directory holds, and therefore what must be stopped before it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// A PostgreSQL cluster.
    Cluster,
    /// Nothing but the proof that a container's owner is alive; the container carries the token.
    Container { token: String },
    /// SQLite files.
    Sqlite,
}

impl Contents {
    fn line(&self) -> String {
        match self {
            Self::Cluster => "cluster\n".into(),
            Self::Container { token } => format!("container {token}\n"),
            Self::Sqlite => "sqlite\n".into(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.strip_suffix('\n')? {
            "cluster" => Some(Self::Cluster),
            "sqlite" => Some(Self::Sqlite),
            other => other.strip_prefix("container ").map(|token| Self::Container { token: token.to_owned() }),
        }
    }
}

/// A directory that this process owns. Dropping it removes it and what is in it.
#[derive(Debug)]
pub(super) struct OwnedDirectory {
    path: PathBuf,
    lock: Option<File>,
    watcher: Option<Watcher>,
}

impl OwnedDirectory {
    /// Makes a directory in `parent`; `mode` says who may enter it besides its owner.
    pub(super) fn create(parent: &Path, mode: u32, contents: &Contents) -> Result<Self, ProvisionError> {
        for _ in 0..ATTEMPTS_MAX {
            let path = tempfile::Builder::new()
                .prefix(PREFIX)
                .rand_bytes(RANDOM_CHARS)
                .permissions(fs::Permissions::from_mode(mode))
                .tempdir_in(parent)
                .map_err(ProvisionError::file("make a directory in", parent))?
                .keep();
            let locked = lock(&path).map_err(ProvisionError::file("lock", &path))?;
            let Some(file) = locked else { continue };
            let owned = Self { path, lock: Some(file), watcher: None };
            // For its owner alone, whatever the umask: it decides what a sweep does.
            let marker = File::options().write(true).create_new(true).mode(0o600).open(owned.path.join(MARKER));
            marker
                .and_then(|mut marker| marker.write_all(format!("{MAGIC}{}", contents.line()).as_bytes()))
                .map_err(ProvisionError::file("write a file in", &owned.path))?;
            return Ok(owned);
        }
        Err(ProvisionError::File {
            what: "make a directory that nobody else takes in",
            path: parent.to_owned(),
            source: io::ErrorKind::ResourceBusy.into(),
        })
    }

    /// The directories in `parent` whose owner is dead, each now owned, and so kept from other
    /// sweeps, by this process.
    ///
    /// Passed over: what belongs to another user, what others may write to, what has no marker of
    /// ours, what is locked. A parent that cannot be read has none.
    pub(super) fn abandoned(parent: &Path) -> Vec<(Self, Contents)> {
        let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
        entries.flatten().filter_map(|entry| Self::take_over(entry.path())).collect()
    }

    fn take_over(path: PathBuf) -> Option<(Self, Contents)> {
        let random = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
        if random.len() != RANDOM_CHARS || !random.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let about = fs::symlink_metadata(&path).ok()?;
        let me = nix::unistd::geteuid().as_raw();
        if !about.is_dir() || about.uid() != me || about.mode() & 0o022 != 0 {
            return None;
        }
        let lock = lock(&path).ok()??;
        let contents = read_marker(&path)?;
        Some((Self { path, lock: Some(lock), watcher: None }, contents))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Has it watched over: should this process go without removing it, somebody else does, and ends the server in it.
    pub(super) fn watch(&mut self) -> Result<(), ProvisionError> {
        if let Some(lock) = &self.lock {
            let watcher = Watcher::start(&self.path, lock);
            self.watcher = Some(watcher.map_err(ProvisionError::file("start a shell that watches over", &self.path))?);
        }
        Ok(())
    }

    /// Ends the server in it and removes it, the way its watcher does; returns whether no server is left.
    pub(super) fn end(&mut self) -> bool {
        if self.watcher.is_none() && self.watch().is_err() {
            return false;
        }
        self.watcher.take().is_none_or(Watcher::end)
    }

    /// Gives it back without removing it: a later sweep will find it abandoned.
    pub(super) fn abandon(mut self) {
        self.watcher.take().map(Watcher::dismiss).unwrap_or_default();
        self.lock = None;
    }

    /// Removes it, and then lets go of the lock.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        let Some(_lock) = self.lock.take() else { return Ok(()) };
        let mut result = fs::remove_dir_all(&self.path);
        // Processes that are just dying may put a last file where we have already been, or take one away.
        for _ in 0..ATTEMPTS_MAX {
            match &result {
                Err(e) if e.kind() == io::ErrorKind::NotFound && !self.path.exists() => result = Ok(()),
                Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "lets dying processes go, bounded, also while dropping"
                    )]
                    std::thread::sleep(REMOVE_AGAIN);
                    result = fs::remove_dir_all(&self.path);
                }
                _ => break,
            }
        }
        // One that is not dismissed tries as well.
        if let Some(watcher) = self.watcher.take().filter(|_| result.is_ok()) {
            watcher.dismiss();
        }
        result
    }
}

impl Drop for OwnedDirectory {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a throw-away directory");
        }
    }
}

/// Locks a directory, unless somebody else has it locked or has removed it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    // The lock may be on a directory that was removed while we were opening it.
    let (held, named) = (file.metadata()?, fs::symlink_metadata(path));
    let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()));
    Ok(same.then_some(file))
}

fn read_marker(path: &Path) -> Option<Contents> {
    let marker = path.join(MARKER);
    if !fs::symlink_metadata(&marker).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(marker).ok()?.take(MARKER_BYTES_MAX).read_to_string(&mut text).ok()?;
    Contents::parse(text.strip_prefix(MAGIC)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn leave_behind(owned: OwnedDirectory) -> PathBuf {
        let path = owned.path().to_owned();
        owned.abandon();
        path
    }

    #[test]
    fn a_directory_of_a_living_owner_is_not_taken_over_and_that_of_a_dead_one_is() {
        let parent = parent();
        let living = OwnedDirectory::create(parent.path(), 0o700, &Contents::Sqlite).unwrap();
        let contents = Contents::Container { token: "abc".into() };
        let dead = leave_behind(OwnedDirectory::create(parent.path(), 0o711, &contents).unwrap());
        let found = OwnedDirectory::abandoned(parent.path());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0.path(), &found[0].1), (dead.as_path(), &contents));
        assert!(OwnedDirectory::abandoned(parent.path()).is_empty(), "a second sweep finds it locked by the first");
        drop(found);
        assert!(!dead.exists());
        assert!(living.path().exists());
    }

    #[test]
    fn what_only_looks_like_ours_is_never_touched() {
        let parent = parent();
        let inside = |name: &str, mode: u32, marker: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join(MARKER), marker).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let good = format!("{MAGIC}cluster\n");
        inside("driftlock-production1", 0o700, &good);
        inside("driftlock-abcdefghij", 0o700, "somebody else's notes");
        inside("driftlock-abcdefghik", 0o770, &good);
        inside("driftlock-abcdefghil", 0o700, &format!("{MAGIC}cluster"));
        fs::create_dir(parent.path().join("driftlock-abcdefghim")).unwrap();
        std::os::unix::fs::symlink("driftlock-abcdefghij", parent.path().join("driftlock-abcdefghin")).unwrap();
        assert!(OwnedDirectory::abandoned(parent.path()).is_empty());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 6);
    }

    #[test]
    fn makers_and_sweepers_at_the_same_time_never_lose_a_living_directory() {
        let parent = parent();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        drop(OwnedDirectory::abandoned(parent.path()));
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let owned = OwnedDirectory::create(parent.path(), 0o700, &Contents::Sqlite).unwrap();
                        fs::write(owned.path().join("proof"), "alive").unwrap();
                        assert_eq!(fs::read_to_string(owned.path().join("proof")).unwrap(), "alive");
                    }
                });
            }
        });
    }
}
