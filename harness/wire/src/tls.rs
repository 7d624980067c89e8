//! Encryption with a certificate that nobody has signed: enough for drivers that want to speak TLS and do not ask to
//! whom. It lives as long as its proxy.

use std::sync::Arc;

use rcgen::generate_simple_self_signed;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::error::Error;

/// A certificate and how it is used.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// Of the certificate: what a channel is bound to.
    pub(crate) hash: Vec<u8>,
    /// The certificate itself, for clients that want to verify it.
    pub(crate) der: Vec<u8>,
}

impl Tls {
    pub(crate) fn new() -> Result<Tls, Error> {
        let certified = generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
            .map_err(|error| Error::Certificate { why: error.to_string() })?;
        let certificate = certified.cert.der().clone();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())
            .map_err(|why| Error::Certificate { why: why.to_owned() })?;
        let (hash, der) = (Sha256::digest(&certificate).to_vec(), certificate.to_vec());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
            .map_err(|error| Error::Certificate { why: error.to_string() })?;
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), hash, der })
    }
}
