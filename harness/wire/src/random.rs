//! Randomness for what nobody may guess: passwords, keys, nonces. It comes from the system, since a seed that is in a
//! replay command would be a password in a log.

use std::io;

use rand::TryRng;
use rand::rngs::SysRng;

pub(crate) fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// A password of hexadecimal digits: no driver has to escape any.
pub(crate) fn password() -> io::Result<String> {
    Ok(bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
