//! Signs a session in at the server, with credentials of our own.

use std::io;

use bytes::{Buf, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::bounds::SIGN_IN_BYTES_MAX;
use crate::config::{Address, Upstream};
use crate::fields::Fields;
use crate::socket::Socket;
use crate::unix::UnixSocket;

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The server's ErrorResponse, as it came.
    Server(Vec<u8>),
    /// Something else.
    Other(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Other(error.to_string())
    }
}

/// The session's key at the server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BackendKey {
    pub(crate) pid: i32,
    pub(crate) secret: Vec<u8>,
}

/// A session that is ready.
pub(crate) struct SignedIn {
    /// ParameterStatus and NoticeResponse, as they came.
    pub(crate) greeting: Vec<u8>,
    pub(crate) key: Option<BackendKey>,
    /// ReadyForQuery, as it came.
    pub(crate) ready: Vec<u8>,
    /// Whatever came behind it.
    pub(crate) rest: BytesMut,
}

pub(crate) async fn connect(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Tcp { host, port } => Ok(Socket::tcp(TcpStream::connect((&**host, *port)).await?)),
        Address::Unix(path) => Ok(Socket::Unix(UnixSocket::new(UnixStream::connect(path).await?)?)),
    }
}

/// Asks the server to cancel what a session of ours does, and waits until it has taken note.
pub(crate) async fn cancel(address: &Address, key: &BackendKey) -> io::Result<()> {
    let mut server = connect(address).await?;
    let mut packet = BytesMut::new();
    // 3.0 keys have four bytes, later ones up to 256.
    packet.extend_from_slice(&(12 + key.secret.len() as u32).to_be_bytes());
    packet.extend_from_slice(&80_877_102_u32.to_be_bytes());
    packet.extend_from_slice(&key.pid.to_be_bytes());
    packet.extend_from_slice(&key.secret);
    server.write_all(&packet).await?;
    // The server says nothing, and closes. Whatever another one may say is not read to its end.
    server.read(&mut [0; 16]).await.map(drop)
}

/// Reads one whole message; its tag and its length with the header.
async fn message<S: AsyncRead + Unpin>(server: &mut S, buffer: &mut BytesMut) -> Result<(u8, usize), Refusal> {
    loop {
        let mut fields = Fields(buffer);
        if let (Some(tag), Some(length)) = (fields.u8(), fields.u32()) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if !(4..SIGN_IN_BYTES_MAX).contains(&length) {
                return Err(Refusal::Other("the server sent a message of an impossible length".to_owned()));
            }
            if buffer.len() > length {
                return Ok((tag, length + 1));
            }
        }
        if server.read_buf(buffer).await? == 0 {
            return Err(Refusal::Other("the server closed the connection".to_owned()));
        }
    }
}

/// Signs in. `parameters` are those of the client's start-up packet, without user and database.
///
/// # Errors
///
/// If the server does not let us in.
pub(crate) async fn sign_in<S>(
    server: &mut S,
    upstream: &Upstream,
    parameters: &[(String, String)],
    session: &str,
) -> Result<SignedIn, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ours = [("user", &*upstream.user), ("database", &*upstream.database)];
    let theirs = parameters.iter().map(|(name, value)| (&**name, &**value)).filter(|(name, _)| *name != "options");
    let options = parameters.iter().filter(|(name, _)| name == "options").map(|(_, value)| &**value);
    // The server reads them in order, and the last one prevails.
    let options = std::iter::once(session).filter(|text| !text.is_empty()).chain(options).collect::<Vec<_>>().join(" ");
    let options = Some(("options", &*options)).filter(|(_, options)| !options.is_empty());
    let mut packet = BytesMut::new();
    frontend::startup_message(ours.into_iter().chain(theirs).chain(options), &mut packet)?;
    server.write_all(&packet).await?;
    let mut buffer = BytesMut::with_capacity(4096);
    let mut scram = None;
    let mut signed_in = SignedIn { greeting: Vec::new(), key: None, ready: Vec::new(), rest: BytesMut::new() };
    loop {
        let (tag, length) = message(server, &mut buffer).await?;
        let body = &buffer[5..length];
        match tag {
            b'R' => {
                if let Some(reply) = authenticate(body, upstream, &mut scram)? {
                    server.write_all(&reply).await?;
                }
            }
            b'E' => return Err(Refusal::Server(buffer[..length].to_vec())),
            b'K' => {
                let mut fields = Fields(body);
                let pid = fields.i32();
                signed_in.key = pid.map(|pid| BackendKey { pid, secret: fields.0.to_vec() });
            }
            b'S' | b'N' => {
                signed_in.greeting.extend(&buffer[..length]);
                if signed_in.greeting.len() > SIGN_IN_BYTES_MAX {
                    return Err(Refusal::Other("the server says too much".to_owned()));
                }
            }
            b'Z' => {
                signed_in.ready = buffer.split_to(length).to_vec();
                signed_in.rest = buffer;
                return Ok(signed_in);
            }
            _ => return Err(Refusal::Other(format!("the server sent {:?} before it was ready", char::from(tag)))),
        }
        buffer.advance(length);
    }
}

/// What is replied to a request for authentication.
fn authenticate(
    body: &[u8],
    upstream: &Upstream,
    scram: &mut Option<ScramSha256>,
) -> Result<Option<BytesMut>, Refusal> {
    let mut fields = Fields(body);
    let malformed = || Refusal::Other("the server asked for authentication in a way that is none".to_owned());
    let password = || {
        let none = "the server asks for a password, and none was given for it";
        upstream.password.as_deref().map(str::as_bytes).ok_or_else(|| Refusal::Other(none.to_owned()))
    };
    let mut reply = BytesMut::new();
    match fields.u32().ok_or_else(malformed)? {
        0 => return Ok(None),
        3 => frontend::password_message(password()?, &mut reply)?,
        5 => {
            let salt = fields.bytes(4).and_then(|salt| salt.try_into().ok()).ok_or_else(malformed)?;
            let hash = md5_hash(upstream.user.as_bytes(), password()?, salt);
            frontend::password_message(hash.as_bytes(), &mut reply)?;
        }
        10 => {
            let offered = std::iter::from_fn(|| fields.string().filter(|name| !name.is_empty()));
            if !offered.into_iter().any(|name| name == SCRAM_SHA_256.as_bytes()) {
                return Err(Refusal::Other("the server offers no SCRAM-SHA-256".to_owned()));
            }
            let exchange = scram.insert(ScramSha256::new(password()?, ChannelBinding::unsupported()));
            frontend::sasl_initial_response(SCRAM_SHA_256, exchange.message(), &mut reply)?;
        }
        11 => {
            let exchange = scram.as_mut().ok_or_else(malformed)?;
            exchange.update(fields.0)?;
            frontend::sasl_response(exchange.message(), &mut reply)?;
        }
        12 => {
            scram.as_mut().ok_or_else(malformed)?.finish(fields.0)?;
            return Ok(None);
        }
        method => {
            return Err(Refusal::Other(format!("the server asks for authentication {method}, which is not known")));
        }
    }
    Ok(Some(reply))
}
