//! A Unix socket that is woken for reading alone. Such a socket is writable again whenever its peer has read, and the
//! kernel says so each time: a task that listens to it is woken twice a round trip, once for nothing, while the server
//! wants the processor. So writing is waited for only while a write has failed for want of room.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// See the module.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    readable: AsyncFd<UnixStream>,
    /// The same socket, while a write waits.
    writable: Option<AsyncFd<UnixStream>>,
}

impl UnixSocket {
    /// Takes over a connected stream.
    pub(crate) fn new(stream: tokio::net::UnixStream) -> io::Result<UnixSocket> {
        let readable = listen_for(stream.into_std()?, Interest::READABLE)?;
        Ok(UnixSocket { readable, writable: None })
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.readable.get_ref().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "deprecated for types that do not own their descriptor, or give another one later; a UnixStream owns one, \
              and keeps it until it is dropped, after it was deregistered. What replaces it would be unsafe code here"
)]
fn listen_for(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(stream, interest)
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for UnixSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.readable.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            match ready.get_inner().read(room) {
                Ok(read) => {
                    if 0 < read && read < room.len() {
                        // All was read, and more would be told: the kernel need not be asked again.
                        ready.clear_ready();
                    }
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for UnixSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(writable) = &self.writable {
                let mut ready = ready!(writable.poll_write_ready(cx))?;
                let written = self.try_write(bytes);
                if would_block(&written) {
                    ready.clear_ready();
                    continue;
                }
                self.writable = None;
                return Poll::Ready(written);
            }
            let written = self.try_write(bytes);
            if !would_block(&written) {
                return Poll::Ready(written);
            }
            let same = self.readable.get_ref().try_clone()?;
            self.writable = Some(listen_for(same, Interest::WRITABLE)?);
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.readable.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::UnixSocket;

    #[tokio::test]
    async fn more_than_the_kernel_holds_goes_both_ways_and_the_end_is_seen() {
        const BYTES: usize = 8 << 20;
        let (one, other) = tokio::net::UnixStream::pair().expect("a pair");
        let sides = [one, other].map(|stream| UnixSocket::new(stream).expect("registered"));
        let talks = sides.map(|socket| {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(socket);
                let writing = tokio::spawn(async move {
                    write.write_all(&vec![7; BYTES]).await.expect("written");
                    write.shutdown().await.expect("shut");
                });
                let mut all = Vec::new();
                read.read_to_end(&mut all).await.expect("the end");
                writing.await.expect("no panic");
                assert!(all.len() == BYTES && all.iter().all(|byte| *byte == 7));
            })
        });
        for talk in talks {
            talk.await.expect("no panic");
        }
    }
}
