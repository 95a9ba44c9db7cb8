//! What went wrong on a connection, in words.

use super::Failed;
use crate::agent::probe::socket;
use rustls::{AlertDescription, CertificateError, Error};
use std::io;

/// An error of a connection, which may be one of TLS below that.
pub fn words(error: &io::Error) -> Failed {
    let inner = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
    inner.map_or_else(|| socket::words(error), of_tls)
}

fn of_tls(error: &Error) -> Failed {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "the server demands a client certificate".into()
            }
            alert => format!("the server refused TLS: {alert:?}").into(),
        },
        Error::InvalidMessage(_) => "the server does not speak TLS".into(),
        Error::PeerIncompatible(_) => "no common version or cipher of TLS".into(),
        Error::NoApplicationProtocol => "the server does not speak this protocol over TLS".into(),
        _ => format!("TLS: {error}").into(),
    }
}

fn of_certificate(error: &CertificateError) -> Failed {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not valid yet".into()
        }
        CertificateError::NotValidForName => "certificate is for another name".into(),
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("certificate is not for {}", expected.to_str()).into()
        }
        CertificateError::UnknownIssuer => "certificate is of no known authority".into(),
        CertificateError::BadSignature => {
            "certificate is not signed by the authority that it names".into()
        }
        CertificateError::Revoked => "certificate was revoked".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for a server".into()
        }
        // A certificate that signed itself, as an authority does.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "certificate is self-signed, or that of an authority".into()
        }
        _ => format!("certificate is not valid: {error}").into(),
    }
}
