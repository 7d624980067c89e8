//! Where driftlock keeps the PostgreSQL versions that it has installed itself: one directory a version, below `postgresql`
//! in its cache directory.
//!
//! For root that is `/var/cache/driftlock`, since the server's user must get to the programs and cannot enter root's home; for
//! everybody else `driftlock` in the user's cache directory. `DRIFTLOCK_CACHE_DIR` names another one; empty, there is none.
//! What others could write to is passed over: it would be run as a server.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::ProvisionError;
use super::user::{closed_to, server_user};

/// Whom the programs are for, where root has installed them.
const OF_THE_MACHINE: &str = "/var/cache/driftlock/postgresql";
const NAME: &str = "postgresql";
/// What is being installed, beside what is there.
pub(super) const UNFINISHED: &str = ".installing-";

/// The directories to look in, those that are not there included: one's own first, then the machine's.
pub(super) fn shelves() -> Vec<PathBuf> {
    let own = own();
    let all = match std::env::var_os(super::prototype::CACHE_VARIABLE) {
        Some(_) => own.into_iter().collect(),
        None => own.into_iter().chain([PathBuf::from(OF_THE_MACHINE)]).collect::<Vec<_>>(),
    };
    let mut seen = Vec::new();
    all.into_iter().for_each(|path| {
        if !seen.contains(&path) {
            seen.push(path);
        }
    });
    seen
}

/// The directories of programs that are on the shelves.
pub(super) fn installed() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for shelf in shelves().into_iter().filter(|shelf| is_safe(shelf)) {
        let entries = fs::read_dir(&shelf).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(entries.filter(|path| is_safe(path)).filter_map(|path| programs(&path)));
    }
    found.sort();
    found
}

/// Where the programs are in what was installed: npm's packages have them in `bin`, Debian's where Debian has them.
pub(super) fn programs(installed: &Path) -> Option<PathBuf> {
    let of_debian = fs::read_dir(installed.join("usr/lib/postgresql")).into_iter().flatten().flatten();
    let candidates = std::iter::once(installed.join("bin")).chain(of_debian.map(|entry| entry.path().join("bin")));
    candidates.into_iter().find(|path| path.join("postgres").is_file())
}

/// The shelf to install on, made if need be.
///
/// # Errors
/// There is none, it cannot be made, others may write to it, or the server's user cannot get there.
pub(super) fn shelf() -> Result<PathBuf, ProvisionError> {
    let unusable = |problem: String| ProvisionError::NoShelf { problem };
    let Some(path) = own() else {
        return Err(unusable("DRIFTLOCK_CACHE_DIR is empty, which turns the cache off, or there is no HOME".into()));
    };
    let me = nix::unistd::geteuid().as_raw();
    let there = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
    if let Some((at, about)) = there.filter(|(_, about)| about.uid() != me) {
        let (at, uid) = (at.display(), about.uid());
        return Err(unusable(format!("{at} belongs to another user (uid {uid}): nothing is made there")));
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&path);
    made.map_err(ProvisionError::file("make the directory", &path))?;
    if let Some(user) = server_user()? {
        // The directory around it is private as long as nobody but its owner has to get through.
        for part in [Some(path.as_path()), path.parent()].into_iter().flatten() {
            let about = fs::metadata(part).map_err(ProvisionError::file("look at", part))?;
            if about.uid() == me && about.mode() & 0o011 != 0o011 {
                let open = fs::Permissions::from_mode(about.mode() | 0o011);
                fs::set_permissions(part, open).map_err(ProvisionError::file("let the server's user into", part))?;
            }
        }
        if let Some(closed) = closed_to(&user, &path) {
            return Err(unusable(format!("the server's user {} cannot enter {}", user.name, closed.display())));
        }
    }
    if !is_safe(&path) {
        return Err(unusable(format!("{} is not yours alone to write to", path.display())));
    }
    Ok(path)
}

fn own() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    if let Some(named) = set(super::prototype::CACHE_VARIABLE) {
        return Some(named).filter(|path| path.is_absolute()).map(|path| path.join(NAME));
    }
    if nix::unistd::geteuid().is_root() {
        return Some(PathBuf::from(OF_THE_MACHINE));
    }
    let is_used = |path: &PathBuf| path.is_absolute();
    let home = || Some(set("HOME").filter(is_used)?.join(".cache"));
    Some(set("XDG_CACHE_HOME").filter(is_used).or_else(home)?.join("driftlock").join(NAME))
}

/// Whether nobody but root and this user can change what is in a directory, or put another one in its place.
fn is_safe(path: &Path) -> bool {
    let me = nix::unistd::geteuid().as_raw();
    let of_ours = |about: &fs::Metadata| about.uid() == me || about.uid() == 0;
    let about = |path: &Path| fs::symlink_metadata(path).ok();
    let own = about(path).is_some_and(|it| it.is_dir() && of_ours(&it) && it.mode() & 0o022 == 0);
    let above = path.parent().and_then(about);
    own && above.is_some_and(|it| of_ours(&it) && (it.mode() & 0o022 == 0 || it.mode() & 0o1000 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_write_to_is_passed_over() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("17.1");
        fs::create_dir(&path).unwrap();
        let open = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        open(0o755);
        assert!(is_safe(&path));
        open(0o777);
        assert!(!is_safe(&path));
        open(0o755);
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_safe(&path), "its place could be taken by another one");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&path, place.path().join("17.2")).unwrap();
        assert!(!is_safe(&place.path().join("17.2")), "a link leads elsewhere");
    }

    #[test]
    fn the_programs_are_found_in_both_layouts() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(programs(place.path()), None);
        let of_debian = place.path().join("usr/lib/postgresql/15/bin");
        fs::create_dir_all(&of_debian).unwrap();
        fs::write(of_debian.join("postgres"), "").unwrap();
        assert_eq!(programs(place.path()), Some(of_debian));
        fs::create_dir(place.path().join("bin")).unwrap();
        fs::write(place.path().join("bin/postgres"), "").unwrap();
        assert_eq!(programs(place.path()), Some(place.path().join("bin")));
    }
}
