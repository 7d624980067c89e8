//! What `initdb` makes, kept for the next start: it takes two seconds, and a copy of its files a tenth of one.
//!
//! Prototypes lie in the user's own cache directory, which nobody else may enter. Each is named after what it depends on:
//! the server's version, its program file, and the arguments of `initdb`. A list of every file with its SHA-256 is
//! written last, and each copy is held against it: a prototype that is not intact is removed, and `initdb` runs as if
//! there had been none. Whatever goes wrong here costs time and nothing else.
//!
//! `DRIFTLOCK_CACHE_DIR` names another directory; empty, it turns this off.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::binaries::Binaries;

/// Names another cache directory.
pub(super) const CACHE_VARIABLE: &str = "DRIFTLOCK_CACHE_DIR";
/// The list of a prototype's files: a SHA-256 and a path for each, a `d` and a path for each directory.
const LIST: &str = "list";
/// The files themselves.
const FILES: &str = "files";
/// How many prototypes are kept: one a version and set of arguments.
const KEPT_MAX: usize = 6;
/// The most files that a prototype has; a cluster has about a thousand.
const FILES_MAX: usize = 20_000;

/// A place for the prototype of one kind of cluster.
#[derive(Clone, Debug)]
pub(super) struct Prototype {
    /// Private to the user.
    cache: PathBuf,
    name: String,
}

impl Prototype {
    /// Where that of these programs and arguments is, or is to be; none if there is no place for it.
    pub(super) fn of(binaries: &Binaries, arguments: &[&str]) -> Option<Self> {
        let about = fs::metadata(binaries.program("postgres")).ok()?;
        let program = format!("{} {} {}", about.len(), about.mtime(), about.mtime_nsec());
        let directory = binaries.directory.to_string_lossy();
        let all = [&[&*directory, &binaries.version, &program], arguments].concat();
        let digest = Sha256::digest(all.join("\n").as_bytes());
        Some(Self { cache: cache()?, name: format!("initdb-{}", hex(&digest[..12])) })
    }

    /// Fills an empty directory with a copy that is proved intact, each file given to this owner. `false`: there is none,
    /// and the directory is as empty as before.
    pub(super) fn copy_to(&self, data: &Path, owner: Option<(u32, u32)>) -> bool {
        let from = self.cache.join(&self.name);
        let Ok(list) = fs::read_to_string(from.join(LIST)) else {
            // What is left of one whose removal was cut short would keep a new one from its place.
            let _ = fs::remove_dir_all(&from);
            return false;
        };
        let copied = copy(&from.join(FILES), &list, data, owner);
        if let Err(error) = &copied {
            tracing::warn!(%error, prototype = %from.display(), "a kept cluster cannot be used");
            // A full disk, or an owner that cannot be given, says nothing about what is kept.
            if matches!(error.kind(), io::ErrorKind::Other | io::ErrorKind::NotFound) {
                let _ = fs::remove_dir_all(&from);
            }
            empty(data);
        }
        copied.is_ok()
    }

    /// Keeps a copy of what `initdb` has just made. Where that fails, the next start takes as long as this one.
    pub(super) fn keep(&self, data: &Path) {
        if let Err(error) = self.try_keep(data) {
            tracing::debug!(%error, cache = %self.cache.display(), "a new cluster is not kept");
        }
    }

    fn try_keep(&self, data: &Path) -> io::Result<()> {
        let made = tempfile::Builder::new()
            .prefix("making-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&self.cache)?;
        let (mut list, mut files) = (String::new(), 0);
        let to = made.path().join(FILES);
        fs::DirBuilder::new().mode(0o700).create(&to)?;
        let mut waiting = vec![PathBuf::new()];
        while let Some(inside) = waiting.pop() {
            for entry in fs::read_dir(data.join(&inside))? {
                let entry = entry?;
                let path = inside.join(entry.file_name());
                let Some(text) = path.to_str().filter(|text| !text.contains('\n')) else { continue };
                files += 1;
                if files > FILES_MAX {
                    return Err(io::Error::other("it has too many files"));
                }
                // A cluster that has just been made has no links.
                if entry.file_type()?.is_dir() {
                    fs::DirBuilder::new().mode(0o700).create(to.join(&path))?;
                    list.push_str(&format!("d {text}\n"));
                    waiting.push(path);
                } else {
                    fs::copy(data.join(&path), to.join(&path))?;
                    list.push_str(&format!("{} {text}\n", hash(&data.join(&path))?));
                }
            }
        }
        fs::write(made.path().join(LIST), list)?;
        // Whoever else has made it meanwhile has made the same.
        let kept = fs::rename(made.path(), self.cache.join(&self.name));
        if kept.is_ok() {
            let _ = made.keep();
        }
        forget_oldest(&self.cache);
        kept
    }
}

/// The user's cache directory of this program: made if need be, and private. Nothing in it is removed that is not named
/// and made as a prototype is.
fn cache() -> Option<PathBuf> {
    let named = std::env::var_os(CACHE_VARIABLE).map(PathBuf::from);
    let usual = || {
        let home = || Some(PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from);
        Some(cache.or_else(home)?.join("driftlock"))
    };
    let path = named.map_or_else(usual, Some).filter(|path| path.is_absolute())?;
    // As root in somebody else's home, nothing is made there.
    let me = nix::unistd::geteuid().as_raw();
    let there = path.ancestors().find_map(|path| fs::metadata(path).ok())?;
    if there.uid() != me {
        return None;
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).ok()?;
    // What others could write to, or put in its place, would be run as a server.
    let about = |path: &Path| fs::symlink_metadata(path).ok();
    let own = about(&path).is_some_and(|it| it.is_dir() && it.uid() == me && it.mode() & 0o022 == 0);
    let above = about(path.parent()?).is_some_and(|it| {
        let is_closed = it.mode() & 0o022 == 0 || it.mode() & 0o1000 != 0;
        (it.uid() == me || it.uid() == 0) && is_closed
    });
    (own && above).then_some(path)
}

/// Copies the files of a list, and compares each copy with it.
fn copy(from: &Path, list: &str, to: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut files = 0;
    for line in list.lines() {
        let (hashed, path) = line.split_once(' ').ok_or_else(|| io::Error::other("its list cannot be read"))?;
        let is_inside = Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_inside {
            return Err(io::Error::other("its list names what lies elsewhere"));
        }
        let copy = to.join(path);
        if hashed == "d" {
            fs::DirBuilder::new().mode(0o700).create(&copy)?;
        } else {
            fs::copy(from.join(path), &copy)?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))?;
            if hash(&copy)? != hashed {
                return Err(io::Error::other(format!("{path} is not what it was")));
            }
            files += 1;
        }
        if let Some((user, group)) = owner {
            chown(&copy, Some(user), Some(group))?;
        }
    }
    if files == 0 { Err(io::Error::other("it has no files")) } else { Ok(()) }
}

fn empty(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let (mut file, mut digest) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes the prototypes that were made first, if there are too many, and what was begun and never finished.
fn forget_oldest(cache: &Path) {
    let named =
        |path: &Path, prefix: &str| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let made = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let entries = fs::read_dir(cache).into_iter().flatten().flatten().map(|entry| entry.path());
    let (mut kept, begun): (Vec<PathBuf>, Vec<PathBuf>) = entries
        .filter(|path| path.is_dir())
        .filter(|path| path.join(FILES).is_dir())
        .partition(|path| path.join(LIST).is_file() && named(path, "initdb-"));
    kept.sort_by_key(|path| std::cmp::Reverse(made(path)));
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let old = |path: &PathBuf| named(path, "making-") && made(path).elapsed().is_ok_and(|age| age > day);
    for path in kept.iter().skip(KEPT_MAX).chain(begun.iter().filter(|path| old(path))) {
        let _ = fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cluster's directory with two files, and a prototype that is kept of it.
    fn kept() -> (tempfile::TempDir, Prototype, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (cache, data) = (place.path().join("cache"), place.path().join("data"));
        fs::create_dir(&cache).unwrap();
        fs::create_dir_all(data.join("base/1")).unwrap();
        fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        fs::write(data.join("base/1/1259"), vec![7; 300_000]).unwrap();
        let prototype = Prototype { cache, name: "initdb-1".to_owned() };
        prototype.keep(&data);
        let to = place.path().join("new");
        fs::create_dir(&to).unwrap();
        (place, prototype, to)
    }

    #[test]
    fn a_copy_is_what_was_kept_and_nobody_elses() {
        let (_place, prototype, to) = kept();
        assert!(prototype.copy_to(&to, None));
        assert_eq!(fs::read(to.join("base/1/1259")).unwrap(), vec![7; 300_000]);
        let mode = |path: &str| fs::metadata(to.join(path)).unwrap().mode() & 0o777;
        assert_eq!((mode("base/1"), mode("PG_VERSION")), (0o700, 0o600));
        // Kept once more, it is the same.
        prototype.keep(&to);
        assert_eq!(fs::read_dir(&prototype.cache).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_intact_is_removed_and_leaves_nothing() {
        let spoil: [fn(&Path); 5] = [
            |at| fs::write(at.join("files/base/1/1259"), vec![7; 299_999]).unwrap(),
            |at| fs::remove_file(at.join("files/PG_VERSION")).unwrap(),
            |at| fs::write(at.join("list"), "").unwrap(),
            |at| fs::write(at.join("list"), "nonsense").unwrap(),
            |at| fs::write(at.join("list"), "00 ../../escaped\n").unwrap(),
        ];
        for spoil in spoil {
            let (_place, prototype, to) = kept();
            let at = prototype.cache.join(&prototype.name);
            spoil(&at);
            assert!(!prototype.copy_to(&to, None));
            assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
            assert!(!at.exists());
        }
    }

    #[test]
    fn only_so_many_are_kept() {
        let (place, prototype, _) = kept();
        for number in 0..KEPT_MAX + 3 {
            let other = Prototype { name: format!("initdb-{}", number + 2), ..prototype.clone() };
            other.keep(&place.path().join("data"));
        }
        assert_eq!(fs::read_dir(&prototype.cache).unwrap().count(), KEPT_MAX);
    }
}
