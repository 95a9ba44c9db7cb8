//! Which servers are believed: those that an authority vouches for, and those that show a certificate of the file of
//! authorities itself, as one that signed itself.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a file of authorities holds.
#[derive(Debug)]
pub struct Trusted {
    pub roots: Arc<RootCertStore>,
    /// Each certificate, byte for byte.
    certificates: BTreeSet<Vec<u8>>,
}

impl Trusted {
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Self {
        let bytes = certificates.iter().map(|it| it.as_ref().to_vec());
        let bytes = bytes.collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        Self {
            roots: Arc::new(roots),
            certificates: bytes,
        }
    }
}

#[derive(Debug)]
pub struct Vouched {
    pub authorities: Arc<WebPkiServerVerifier>,
    pub trusted: Arc<Trusted>,
}

impl ServerCertVerifier for Vouched {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .authorities
            .verify_server_cert(certificate, others, name, ocsp, now);
        match verified {
            Err(error)
                if is_about_issuer(&error)
                    && self.trusted.certificates.contains(certificate.as_ref()) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether no more is wrong than who made the certificate. That is looked at last, after its time.
fn is_about_issuer(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.to_string().contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}
