//! How a connection says who it is: by trust, by a password, or by proof of it (SCRAM, MD5).

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

/// The server's words about it, by their numbers (the manual's chapter on message formats).
const YOU_ARE_IN: i32 = 0;
const PASSWORD: i32 = 3;
const MD5: i32 = 5;
const SASL: i32 = 10;
const SASL_GOES_ON: i32 = 11;
const SASL_ENDS: i32 = 12;

/// One sign-in.
pub(super) struct SignIn<'a> {
    user: &'a str,
    password: Option<&'a [u8]>,
    scram: Option<ScramSha256>,
}

impl<'a> SignIn<'a> {
    pub(super) fn new(user: &'a str, password: Option<&'a [u8]>) -> Self {
        Self { user, password, scram: None }
    }

    /// Answers one of the server's words, or says why that is not possible; never with the password.
    pub(super) fn answer(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), String> {
        let (word, rest) = body.split_first_chunk().ok_or("the server does not speak PostgreSQL's protocol")?;
        let word = i32::from_be_bytes(*word);
        let wanted = || self.password.ok_or("the server wants a password, and the URL has none");
        let failed = |error: std::io::Error| format!("the password could not be proved: {error}");
        match word {
            YOU_ARE_IN => Ok(()),
            PASSWORD => frontend::password_message(wanted()?, out).map_err(failed),
            MD5 => {
                let salt = *rest.first_chunk().ok_or("the server's salt is too short")?;
                let hash = md5_hash(self.user.as_bytes(), wanted()?, salt);
                frontend::password_message(hash.as_bytes(), out).map_err(failed)
            }
            SASL => {
                if !rest.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
                    return Err("the server does not offer SCRAM-SHA-256".to_owned());
                }
                let scram = self.scram.insert(ScramSha256::new(wanted()?, ChannelBinding::unsupported()));
                frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out).map_err(failed)
            }
            SASL_GOES_ON => {
                let scram = self.scram.as_mut().ok_or("the server goes on with what was not begun")?;
                scram.update(rest).map_err(failed)?;
                frontend::sasl_response(scram.message(), out).map_err(failed)
            }
            SASL_ENDS => {
                let scram = self.scram.as_mut().ok_or("the server ends what was not begun")?;
                scram.finish(rest).map_err(failed)
            }
            _ => Err(format!("the server wants a proof of a kind that is not supported ({word})")),
        }
    }
}
