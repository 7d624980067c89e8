//! The user that a throw-away server runs as, and where that user gets to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::User;

use super::ProvisionError;

/// As root, the user that the server must run as: PostgreSQL refuses to run as root. Nobody else needs another one.
pub(super) fn server_user() -> Result<Option<User>, ProvisionError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let found = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
    match found.filter(|user| !user.uid.is_root()) {
        Some(user) => Ok(Some(user)),
        None => Err(ProvisionError::Program {
            program: "postgres",
            why: "it refuses to run as root, and there is neither a user postgres nor nobody".into(),
            log: String::new(),
        }),
    }
}

/// The first directory on the way that the user cannot get through, if there is one.
pub(super) fn closed_to<'a>(user: &User, path: &'a Path) -> Option<&'a Path> {
    let is_open = |part: &&Path| {
        fs::metadata(part).is_ok_and(|about| {
            let bit = match about {
                ref about if about.uid() == user.uid.as_raw() => 0o100,
                ref about if about.gid() == user.gid.as_raw() => 0o010,
                _ => 0o001,
            };
            about.mode() & bit != 0
        })
    };
    path.ancestors().filter(|part| !part.as_os_str().is_empty()).find(|part| !is_open(part))
}
