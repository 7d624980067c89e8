//! An output whose reader may leave early, as `head` does: whoever has seen enough, the answer stands.

use std::io::{self, ErrorKind, Write};

/// Writes on as if nothing had happened once nobody reads any more.
pub(super) struct Leavable<'a>(pub &'a mut (dyn Write + Send));

impl Write for Leavable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_has_left_is_no_error_and_a_full_disk_is() {
        let mut left = Fails(ErrorKind::BrokenPipe);
        assert!(write!(Leavable(&mut left), "x").is_ok() && Leavable(&mut left).flush().is_ok());
        let mut full = Fails(ErrorKind::StorageFull);
        assert!(write!(Leavable(&mut full), "x").is_err() && Leavable(&mut full).flush().is_err());
    }
}
