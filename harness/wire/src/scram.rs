//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), with channel binding where there is a certificate
//! (RFC 5929, `tls-server-end-point`). `postgres-protocol` has the client's side alone.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::random;

/// As in the server's default.
const ITERATIONS: u32 = 4096;

/// Without channel binding.
pub(crate) const PLAIN: &str = "SCRAM-SHA-256";
/// With channel binding.
pub(crate) const BOUND: &str = "SCRAM-SHA-256-PLUS";

type Key = [u8; 32];

/// Why a client was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It does not speak SCRAM.
    Malformed(&'static str),
    /// It does not know the password.
    WrongPassword,
}

/// What a password comes to. Derived once an endpoint, for it takes thousands of hashes.
pub(crate) struct Verifier {
    salt: [u8; 16],
    stored_key: Key,
    server_key: Key,
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| hmac.update(part));
    hmac.finalize().into_bytes().into()
}

fn salted(password: &[u8], salt: &[u8]) -> Key {
    let mut block = hmac(password, &[salt, &1_u32.to_be_bytes()]);
    let mut sum = block;
    for _ in 1..ITERATIONS {
        block = hmac(password, &[&block]);
        sum.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

impl Verifier {
    /// # Errors
    ///
    /// If the system gives no random bytes.
    pub(crate) fn new(password: &str) -> io::Result<Verifier> {
        let salt = random::bytes()?;
        let salted = salted(password.as_bytes(), &salt);
        let stored_key = Sha256::digest(hmac(&salted, &[b"Client Key"])).into();
        Ok(Verifier { salt, stored_key, server_key: hmac(&salted, &[b"Server Key"]) })
    }
}

/// One client's attempt, after its first message.
pub(crate) struct Exchange<'a> {
    verifier: &'a Verifier,
    /// What the client must repeat of its first message, with the certificate's hash where it is bound.
    binding: Vec<u8>,
    client_first: String,
    nonce: String,
    server_first: String,
}

/// The value of `name=value`.
fn attribute(text: Option<&str>, name: char) -> Result<&str, Failure> {
    let value = text.and_then(|text| text.strip_prefix(name)).and_then(|text| text.strip_prefix('='));
    value.ok_or(Failure::Malformed("malformed SCRAM message"))
}

impl<'a> Exchange<'a> {
    /// Reads the client's first message. `certificate` is the hash of ours, on an encrypted connection.
    ///
    /// # Errors
    ///
    /// If the message is none.
    pub(crate) fn begin(
        verifier: &'a Verifier,
        mechanism: &str,
        message: &[u8],
        certificate: Option<&[u8]>,
        server_nonce: &[u8],
    ) -> Result<Exchange<'a>, Failure> {
        let message = std::str::from_utf8(message).map_err(|_| Failure::Malformed("malformed SCRAM message"))?;
        let mut parts = message.splitn(3, ',');
        let (flag, authorization) = (parts.next().unwrap_or_default(), parts.next());
        if authorization != Some("") {
            return Err(Failure::Malformed("client uses authorization identity, but it is not supported"));
        }
        let mut binding = format!("{flag},,").into_bytes();
        match (mechanism, flag, certificate) {
            (BOUND, "p=tls-server-end-point", Some(hash)) => binding.extend(hash),
            (PLAIN, "n", _) | (PLAIN, "y", None) => {}
            _ => return Err(Failure::Malformed("SCRAM channel binding negotiation error")),
        }
        let client_first = parts.next().unwrap_or_default();
        let mut attributes = client_first.split(',');
        // The user is that of the start-up packet.
        attribute(attributes.next(), 'n')?;
        let client_nonce = attribute(attributes.next(), 'r')?;
        if client_nonce.is_empty() {
            return Err(Failure::Malformed("malformed SCRAM message"));
        }
        let nonce = format!("{client_nonce}{}", STANDARD.encode(server_nonce));
        let server_first = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(verifier.salt));
        Ok(Exchange { verifier, binding, client_first: client_first.to_owned(), nonce, server_first })
    }

    /// What the client is sent next.
    pub(crate) fn challenge(&self) -> &[u8] {
        self.server_first.as_bytes()
    }

    /// Reads the client's last message; gives ours.
    ///
    /// # Errors
    ///
    /// If the client does not know the password.
    pub(crate) fn finish(self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let malformed = Failure::Malformed("malformed SCRAM message");
        let message = std::str::from_utf8(message).map_err(|_| malformed)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(malformed)?;
        let proof: Key = STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or(malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = STANDARD.decode(attribute(attributes.next(), 'c')?).map_err(|_| malformed)?;
        if binding != self.binding {
            return Err(Failure::Malformed("SCRAM channel binding check failed"));
        }
        if attribute(attributes.next(), 'r')? != self.nonce {
            return Err(Failure::Malformed("invalid SCRAM response"));
        }
        let signed = [&*self.client_first, ",", &*self.server_first, ",", without_proof].map(str::as_bytes);
        let signature = hmac(&self.verifier.stored_key, &signed);
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(key, byte)| *key ^= byte);
        let stored_key: Key = Sha256::digest(client_key).into();
        if bool::from(stored_key.ct_eq(&self.verifier.stored_key)) {
            let signature = hmac(&self.verifier.server_key, &signed);
            Ok(format!("v={}", STANDARD.encode(signature)).into_bytes())
        } else {
            Err(Failure::WrongPassword)
        }
    }
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    use super::{BOUND, Exchange, Failure, PLAIN, Verifier};

    /// Plays one attempt against the client of postgres-protocol.
    fn attempt(known: &str, given: &str, client_hash: Option<&[u8]>, hash: Option<&[u8]>) -> Result<(), Failure> {
        let verifier = Verifier::new(known).expect("random bytes");
        let (binding, mechanism) = match client_hash {
            Some(hash) => (ChannelBinding::tls_server_end_point(hash.to_vec()), BOUND),
            None => (ChannelBinding::unsupported(), PLAIN),
        };
        let mut client = ScramSha256::new(given.as_bytes(), binding);
        let exchange = Exchange::begin(&verifier, mechanism, client.message(), hash, &[7; 18])?;
        client.update(exchange.challenge()).expect("a challenge");
        let last = exchange.finish(client.message())?;
        client.finish(&last).expect("the client, too, is convinced");
        Ok(())
    }

    #[test]
    fn who_knows_the_password_is_let_in_and_nobody_else() {
        assert_eq!(attempt("secret", "secret", None, None), Ok(()));
        assert_eq!(attempt("secret", "secrets", None, None), Err(Failure::WrongPassword));
        assert_eq!(attempt("secret", "", None, None), Err(Failure::WrongPassword));
    }

    #[test]
    fn a_bound_channel_is_that_of_our_certificate() {
        assert_eq!(attempt("secret", "secret", Some(b"hash"), Some(b"hash")), Ok(()));
        assert!(matches!(attempt("s", "s", Some(b"other"), Some(b"hash")), Err(Failure::Malformed(_))));
        assert!(matches!(attempt("s", "s", Some(b"hash"), None), Err(Failure::Malformed(_))));
    }

    #[test]
    fn what_is_no_scram_is_refused() {
        let verifier = Verifier::new("secret").expect("random bytes");
        for first in ["", "n", "n,,", "n,a=root,n=,r=x", "n,,r=x", "n,,n=,r=", "z,,n=,r=x", "p=other,,n=,r=x"] {
            assert!(Exchange::begin(&verifier, PLAIN, first.as_bytes(), None, &[0; 18]).is_err(), "{first}");
        }
        for last in ["", "c=biws", "c=biws,r=x,p=AAAA", "c=!,r=x,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            let exchange = Exchange::begin(&verifier, PLAIN, b"n,,n=,r=x", None, &[0; 18]).expect("a first message");
            assert!(exchange.finish(last.as_bytes()).is_err(), "{last}");
        }
    }
}
