//! Moves the bytes of one session, from after its sign-in to its end. One task serves both directions: it reads what is
//! there, has the [`Conversation`] look at it, and writes what may go on, each flight with one write.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;

use crate::bounds::READ_BYTES_MAX;
use crate::conversation::{Asked, Broken, Conversation};
use crate::gate::{Admission, Ending, Gate, Ticket};
use crate::reply;
use crate::rewrite::Rewrite;
use crate::unit::ConnectionId;

/// What an idle session reads into.
const READ_BYTES_MIN: usize = 4 << 10;
/// How long a client that reads nothing may keep the end of a session.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(10);

type Held = Pin<Box<dyn Future<Output = Admission> + Send>>;

/// Both sides of a session, and where it stands.
pub(crate) struct Relay<C, S> {
    client: C,
    server: S,
    conversation: Conversation,
    gate: Arc<dyn Gate>,
    connection: ConnectionId,
    held: Option<Held>,
    /// How much is read at once, which goes with what was there the last time.
    client_read: usize,
    server_read: usize,
    client_flush: bool,
    server_shut: bool,
}

/// Reads once, and adapts to what there is.
fn poll_read<T: AsyncRead + Unpin>(
    from: &mut T,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
    size: &mut usize,
) -> Poll<io::Result<usize>> {
    if buffer.is_empty() && buffer.capacity() > READ_BYTES_MAX && *size == READ_BYTES_MIN {
        // A large message is over: its memory is not kept.
        *buffer = BytesMut::new();
    }
    if buffer.capacity() - buffer.len() < *size / 2 {
        buffer.reserve(*size);
    }
    let spare = buffer.capacity() - buffer.len();
    let read = poll_read_buf(Pin::new(from), cx, buffer);
    if let Poll::Ready(Ok(read)) = read {
        *size = if read == spare { (*size * 2).min(READ_BYTES_MAX) } else { READ_BYTES_MIN.max(*size / 2) };
    }
    read
}

impl<C, S> Relay<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(crate) fn new(
        client: C,
        server: S,
        gate: Arc<dyn Gate>,
        keeps_logs: bool,
        connection: ConnectionId,
    ) -> Relay<C, S> {
        let conversation = Conversation::new(gate.watch(), keeps_logs);
        Relay {
            client,
            server,
            conversation,
            gate,
            connection,
            held: None,
            client_read: READ_BYTES_MIN,
            server_read: READ_BYTES_MIN,
            client_flush: false,
            server_shut: false,
        }
    }

    /// Runs the session to its end; `said` is what the server has said already. Dropping this ends it at once.
    pub(crate) async fn run(mut self, said: BytesMut) -> Ending {
        self.conversation.from_server = said;
        let ending = match self.conversation.scan_server() {
            Ok(()) => poll_fn(|cx| self.poll(cx)).await,
            Err(error) => broken(error),
        };
        if matches!(ending, Ending::ServerGone | Ending::Broken(_)) {
            // Nothing is left to do for a client that does not take it.
            let _ = tokio::time::timeout(FAREWELL_TIME_MAX, self.say_farewell(&ending)).await;
        }
        ending
    }

    async fn say_farewell(&mut self, ending: &Ending) -> io::Result<()> {
        let waiting = self.conversation.deliverable;
        self.client.write_all(&self.conversation.from_server[..waiting]).await?;
        if let Ending::Broken(why) = ending {
            self.client.write_all(&reply::fatal("08P01", why)).await?;
        }
        self.client.shutdown().await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            let mut moved = false;
            for turn in [Self::poll_answers, Self::poll_requests] {
                match turn(self, cx) {
                    Ok(some) => moved |= some,
                    Err(ending) => return Poll::Ready(ending),
                }
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Result<bool, Ending> {
        let mut moved = false;
        if self.conversation.hears_server() {
            let talk = &mut self.conversation;
            match poll_read(&mut self.server, cx, &mut talk.from_server, &mut self.server_read) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(self.server_gone()),
                Poll::Ready(Ok(_)) => {
                    moved = true;
                    talk.scan_server().map_err(broken)?;
                    self.tell_answered();
                    if self.conversation.is_dropped() {
                        return Err(Ending::Dropped);
                    }
                }
                Poll::Pending => {}
            }
        }
        let talk = &mut self.conversation;
        while talk.deliverable > 0 {
            match Pin::new(&mut self.client).poll_write(cx, &talk.from_server[..talk.deliverable]) {
                Poll::Ready(Ok(written @ 1..)) => {
                    moved = true;
                    talk.delivered(written);
                    self.client_flush = true;
                }
                Poll::Ready(_) => return Err(self.farewell()),
                Poll::Pending => break,
            }
        }
        if self.client_flush {
            match Pin::new(&mut self.client).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.client_flush = false,
                Poll::Ready(Err(_)) => return Err(self.farewell()),
                Poll::Pending => {}
            }
        }
        Ok(moved)
    }

    /// Tells of the unit that was answered, if one was.
    fn tell_answered(&mut self) -> bool {
        // What the server logged comes before the answer's end.
        for log in self.conversation.take_logs() {
            self.gate.logged(self.connection, &log.detail, log.cut);
        }
        let answered = self.conversation.take_answered();
        if let Some(Some((unit, answer))) = &answered {
            self.gate.answered(self.connection, unit, answer);
        }
        answered.is_some()
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<bool, Ending> {
        let mut moved = false;
        if self.conversation.hears_client() {
            let talk = &mut self.conversation;
            match poll_read(&mut self.client, cx, &mut talk.from_client, &mut self.client_read) {
                Poll::Ready(Ok(0) | Err(_)) => {
                    moved = true;
                    self.held = None;
                    talk.client_left();
                }
                Poll::Ready(Ok(_)) => moved = true,
                Poll::Pending => {}
            }
        }
        self.poll_gate(cx)?;
        let talk = &mut self.conversation;
        while talk.sendable > 0 {
            match Pin::new(&mut self.server).poll_write(cx, &talk.from_client[..talk.sendable]) {
                Poll::Ready(Ok(written @ 1..)) => {
                    moved = true;
                    talk.sent(written);
                }
                // What the server said before it closed is still to be read, and then its end.
                Poll::Ready(_) => {
                    let unsent = talk.sendable;
                    talk.sent(unsent);
                    moved = true;
                }
                Poll::Pending => break,
            }
        }
        if talk.is_over() && talk.sendable == 0 && !self.server_shut {
            match Pin::new(&mut self.server).poll_shutdown(cx) {
                Poll::Ready(_) => self.server_shut = true,
                Poll::Pending => {}
            }
        }
        Ok(moved)
    }

    /// Has the units decided on that are there.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        loop {
            let admission = match &mut self.held {
                Some(held) => match held.as_mut().poll(cx) {
                    Poll::Ready(admission) => {
                        self.held = None;
                        admission
                    }
                    Poll::Pending => return Ok(()),
                },
                None => {
                    let (gate, connection) = (&self.gate, self.connection);
                    let rewrite = Rewrite {
                        anew: &|text| gate.rewritten(connection, text),
                        followed: &|text| gate.followed(connection, text),
                    };
                    self.conversation.scan_client(&rewrite).map_err(broken)?;
                    let told = self.tell_answered();
                    match self.conversation.take_asked() {
                        None if told => continue,
                        None => return Ok(()),
                        Some(Asked::Unseen) => Admission::Forward,
                        Some(Asked::Seen(unit)) => match self.gate.admit(self.connection, &unit) {
                            Ticket::Now(admission) => admission,
                            Ticket::Later(later) => {
                                self.held = Some(later);
                                continue;
                            }
                        },
                    }
                }
            };
            let dropped = admission == Admission::Drop;
            self.conversation.decide(admission);
            self.tell_answered();
            if dropped {
                return Err(Ending::Dropped);
            }
        }
    }

    /// Why the session ends that the server has closed.
    fn server_gone(&self) -> Ending {
        if self.conversation.dropped {
            Ending::Dropped
        } else if self.conversation.is_over() {
            self.farewell()
        } else {
            Ending::ServerGone
        }
    }

    /// How the client left.
    fn farewell(&self) -> Ending {
        if self.conversation.terminated { Ending::Terminated } else { Ending::ClientGone }
    }
}

fn broken(by: Broken) -> Ending {
    Ending::Broken(match by {
        Broken::Client => "invalid message length",
        Broken::Server => "the server sent a message without a length",
    })
}
