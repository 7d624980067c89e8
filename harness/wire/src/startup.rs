//! The client's side of a start-up: encryption, version, parameters, password.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::bounds::STARTUP_BYTES_MAX;
use crate::fields::Fields;
use crate::random;
use crate::reply::{fatal, message};
use crate::scram::{self, Exchange, Failure, Verifier};
use crate::socket::Socket;
use crate::tls::Tls;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSSENC: u32 = 80_877_104;
/// 3.2: the newest version that is known here.
const MINOR_MAX: u32 = 2;

/// What a client came for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A session.
    Session(Parameters),
    /// To cancel what another session does.
    Cancel {
        /// Which one,
        pid: i32,
        /// and the proof that it may.
        secret: Vec<u8>,
    },
}

/// A client's start-up packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parameters {
    pub(crate) minor: u32,
    pub(crate) user: String,
    pub(crate) database: String,
    /// What else it asked for, in its order.
    pub(crate) others: Vec<(String, String)>,
    /// Protocol options, all of them unknown.
    pub(crate) options: Vec<String>,
    pub(crate) replication: bool,
}

/// Why a client was not let in.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is told.
    Told(Vec<u8>),
    /// It is gone, or says nothing that could be answered.
    Gone,
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Refused {
        Refused::Gone
    }
}

fn told(sqlstate: &str, text: &str) -> Refused {
    Refused::Told(fatal(sqlstate, text))
}

/// Reads one packet without a tag: what it is, and its rest.
async fn packet<C: AsyncRead + Unpin>(client: &mut C) -> Result<(u32, Vec<u8>), Refused> {
    let length = usize::try_from(client.read_u32().await?).unwrap_or(usize::MAX);
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return Err(told("08P01", "invalid length of startup packet"));
    }
    let mut rest = vec![0; length - 4];
    client.read_exact(&mut rest).await?;
    let mut fields = Fields(&rest);
    let code = fields.u32().unwrap_or(0);
    Ok((code, fields.0.to_vec()))
}

/// Finds out what a client wants, and encrypts the connection if it may.
pub(crate) async fn wish(mut client: Socket, tls: Option<&Tls>) -> Result<(Socket, Wish), (Option<Socket>, Refused)> {
    let (mut asked_for_tls, mut asked_for_gss) = (false, false);
    loop {
        let (code, rest) = match packet(&mut client).await {
            Ok(packet) => packet,
            Err(refused) => return Err((Some(client), refused)),
        };
        match code {
            SSL if !asked_for_tls => {
                asked_for_tls = true;
                client = match (client, tls) {
                    (Socket::Tcp(mut stream), Some(tls)) => {
                        let stream = match stream.write_all(b"S").await {
                            Ok(()) => tls.acceptor.accept(stream).await,
                            Err(error) => Err(error),
                        };
                        stream.map(|stream| Socket::Tls(Box::new(stream))).map_err(|_| (None, Refused::Gone))?
                    }
                    (other, _) => no(other).await?,
                };
            }
            GSSENC if !asked_for_gss => {
                asked_for_gss = true;
                client = no(client).await?;
            }
            CANCEL => {
                let mut fields = Fields(&rest);
                let Some(pid) = fields.i32() else { return Err((Some(client), Refused::Gone)) };
                let secret = fields.0.to_vec();
                return Ok((client, Wish::Cancel { pid, secret }));
            }
            _ => match parameters(code, &rest) {
                Ok(parameters) => return Ok((client, Wish::Session(parameters))),
                Err(refused) => return Err((Some(client), refused)),
            },
        }
    }
}

async fn no(mut client: Socket) -> Result<Socket, (Option<Socket>, Refused)> {
    match client.write_all(b"N").await {
        Ok(()) => Ok(client),
        Err(_) => Err((None, Refused::Gone)),
    }
}

/// Reads the body of a start-up packet.
fn parameters(version: u32, body: &[u8]) -> Result<Parameters, Refused> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != 3 {
        let text = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR_MAX}");
        return Err(told("0A000", &text));
    }
    let malformed = || told("08P01", "invalid startup packet layout: expected terminator as last byte");
    let mut parameters = Parameters { minor, ..Parameters::default() };
    let mut fields = Fields(body);
    loop {
        let name = fields.string().ok_or_else(malformed)?;
        if name.is_empty() {
            break;
        }
        let value = fields.string().ok_or_else(malformed)?;
        let text = |bytes| String::from_utf8(Vec::from(bytes));
        let (Ok(name), Ok(value)) = (text(name), text(value)) else {
            return Err(told("22021", "a start-up parameter is not UTF-8"));
        };
        match &*name {
            "user" => parameters.user = value,
            "database" => parameters.database = value,
            "replication" => parameters.replication = !is_false(&value),
            _ if name.starts_with("_pq_.") => parameters.options.push(name),
            _ => parameters.others.push((name, value)),
        }
    }
    if !fields.0.is_empty() {
        return Err(malformed());
    }
    if parameters.user.is_empty() {
        return Err(told("28000", "no PostgreSQL user name specified in startup packet"));
    }
    if parameters.database.is_empty() {
        parameters.database.clone_from(&parameters.user);
    }
    Ok(parameters)
}

/// As the server reads a boolean; whatever is not false asks for replication, or for an error.
fn is_false(value: &str) -> bool {
    matches!(&*value.to_ascii_lowercase(), "false" | "f" | "no" | "n" | "off" | "of" | "0")
}

/// Tells a client which version and options are spoken, if they are not those that it asked for.
pub(crate) fn negotiation(parameters: &Parameters) -> Option<Vec<u8>> {
    if parameters.minor <= MINOR_MAX && parameters.options.is_empty() {
        return None;
    }
    let mut body = (3 << 16 | parameters.minor.min(MINOR_MAX)).to_be_bytes().to_vec();
    body.extend((parameters.options.len() as u32).to_be_bytes());
    for option in &parameters.options {
        body.extend(option.as_bytes());
        body.push(0);
    }
    Some(message(b'v', &body))
}

/// The bytes of a key for a session of this version.
pub(crate) fn key_bytes(minor: u32) -> usize {
    if minor >= 2 { 32 } else { 4 }
}

fn authentication(kind: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes(), rest].concat())
}

/// Reads a password message of SASL.
async fn response<C: AsyncRead + Unpin>(client: &mut C) -> Result<Vec<u8>, Refused> {
    let tag = client.read_u8().await?;
    let length = usize::try_from(client.read_u32().await?).unwrap_or(usize::MAX);
    if tag != b'p' || !(4..=STARTUP_BYTES_MAX).contains(&length) {
        return Err(told("08P01", "expected SASL response"));
    }
    let mut body = vec![0; length - 4];
    client.read_exact(&mut body).await?;
    Ok(body)
}

/// Has a client prove that it knows the password.
///
/// # Errors
///
/// If it does not.
pub(crate) async fn authenticate<C>(
    client: &mut C,
    user: &str,
    verifier: &Verifier,
    certificate: Option<&[u8]>,
) -> Result<(), Refused>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let refused = |failure: Failure| match failure {
        Failure::Malformed(why) => told("08P01", why),
        Failure::WrongPassword => wrong_password(user),
    };
    let mechanisms = if certificate.is_some() { vec![scram::BOUND, scram::PLAIN] } else { vec![scram::PLAIN] };
    let offered = mechanisms.iter().map(|name| format!("{name}\0")).collect::<String>() + "\0";
    client.write_all(&authentication(10, offered.as_bytes())).await?;
    client.flush().await?;
    let first = response(client).await?;
    let mut fields = Fields(&first);
    let malformed = || told("08P01", "malformed SASL response");
    let mechanism = fields.string().and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(malformed)?;
    if !mechanisms.contains(&mechanism) {
        return Err(told("08P01", "client selected an invalid SASL authentication mechanism"));
    }
    let length = fields.i32().and_then(|length| usize::try_from(length).ok()).ok_or_else(malformed)?;
    let body = fields.bytes(length).ok_or_else(malformed)?;
    let nonce = random::bytes::<18>()?;
    let exchange = Exchange::begin(verifier, mechanism, body, certificate, &nonce).map_err(refused)?;
    client.write_all(&authentication(11, exchange.challenge())).await?;
    client.flush().await?;
    let last = exchange.finish(&response(client).await?).map_err(refused)?;
    client.write_all(&authentication(12, &last)).await?;
    Ok(())
}

pub(crate) fn wrong_password(user: &str) -> Refused {
    told("28P01", &format!("password authentication failed for user \"{user}\""))
}

/// AuthenticationOk.
pub(crate) fn authenticated() -> Vec<u8> {
    authentication(0, &[])
}

#[cfg(test)]
mod tests {
    use super::{Refused, negotiation, parameters};
    use crate::response::report;

    const V3: u32 = 3 << 16;

    fn refusal(version: u32, body: &[u8]) -> String {
        match parameters(version, body) {
            Err(Refused::Told(message)) => report(&message[5..], false).sqlstate,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packet_is_read_and_what_it_asks_for_is_kept() {
        let found = parameters(V3, b"user\0me\0application_name\0test\0options\0-c x=y\0\0").expect("a packet");
        assert_eq!((&*found.user, &*found.database), ("me", "me"));
        assert_eq!(found.others.len(), 2);
        assert!(!found.replication);
        assert!(parameters(V3, b"user\0me\0replication\0database\0\0").expect("a packet").replication);
        assert!(!parameters(V3, b"user\0me\0replication\0off\0\0").expect("a packet").replication);
    }

    #[test]
    fn what_is_no_packet_is_refused_with_the_server_s_codes() {
        assert_eq!(refusal(2 << 16, b""), "0A000");
        assert_eq!(refusal(V3, b""), "08P01");
        assert_eq!(refusal(V3, b"user\0me\0"), "08P01");
        assert_eq!(refusal(V3, b"user\0me\0\0more"), "08P01");
        assert_eq!(refusal(V3, b"database\0x\0\0"), "28000");
        assert_eq!(refusal(V3, b"user\0\xff\0\0"), "22021");
    }

    #[test]
    fn a_newer_version_and_options_are_negotiated_down() {
        let found = parameters(V3 | 9999, b"user\0me\0_pq_.x\0y\0\0").expect("a packet");
        let message = negotiation(&found).expect("something to negotiate");
        assert_eq!(message, b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0");
        assert_eq!(negotiation(&parameters(V3 | 2, b"user\0me\0\0").expect("a packet")), None);
    }
}
