//! TLS to a target.
//!
//! rustls needs somebody who computes. Of ring, aws-lc-rs and OpenSSL each has code under a licence that
//! deny.toml refuses beside the GPL (Apache-2.0 or OpenSSL's own); rustls-rustcrypto is an alpha that has not
//! moved since 2024. Graviola (Apache-2.0, ISC or MIT-0) is alive, formally verified in its hard parts, and
//! needs no C compiler, but a processor with AVX2, ADX and AES, or AES and SHA-2 on aarch64: where there is
//! none, probes over TLS fail with these words.

mod files;
mod vouched;
mod words;

pub use words::words;

use super::{Deadline, Failed};
use crate::api::{Duties, GrpcProbe, HttpProbe, Probe, TlsOptions};
use files::{Stamp, read};
use hyper::http::uri::Authority;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vouched::{Trusted, Vouched};

/// Where distributions keep the authorities that they trust, as OpenSSL and Go look for them.
const AUTHORITIES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spoken {
    Http1,
    Http2,
}

/// What TLS needs, read from files when a probe needs it first, and again when they change.
#[derive(Default)]
pub struct Secrets {
    ready: Mutex<BTreeMap<(TlsOptions, Spoken), Ready>>,
    /// Authorities by their file, for all who name it.
    trusted: Mutex<BTreeMap<PathBuf, (Stamp, Arc<Trusted>)>>,
}

struct Ready {
    config: Arc<ClientConfig>,
    files: Vec<(PathBuf, Stamp)>,
}

impl Secrets {
    /// Forgets what no check needs any more.
    pub fn follow(&self, duties: &Duties) {
        let needed = |options: &TlsOptions| {
            duties.checks.iter().any(|check| match &check.probe {
                Probe::Http(HttpProbe { tls, .. }) | Probe::Grpc(GrpcProbe { tls, .. }) => {
                    tls.as_ref() == Some(options)
                }
                Probe::Tcp | Probe::Command(_) => false,
            })
        };
        let mut ready = locked(&self.ready);
        ready.retain(|(options, _), _| needed(options));
        if ready.is_empty() {
            locked(&self.trusted).clear();
        }
    }

    /// Shakes hands over `stream`. Its server is to be `host`, or whom the options name, or the address.
    pub async fn connect(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        options: &TlsOptions,
        host: Option<&str>,
        spoken: Spoken,
        until: Deadline,
    ) -> Result<TlsStream<TcpStream>, Failed> {
        let config = self.config(options, spoken)?;
        let name = name(options, host, address)?;
        let hands = TlsConnector::from(config).connect(name, stream);
        let shaken = until.no("TLS handshake", hands).await?;
        shaken.map_err(|error| words(&error))
    }

    fn config(&self, options: &TlsOptions, spoken: Spoken) -> Result<Arc<ClientConfig>, Failed> {
        let key = (options.clone(), spoken);
        let mut ready = locked(&self.ready);
        if let Some(ready) = ready.get(&key)
            && ready.files.iter().all(|(path, stamp)| stamp.is_of(path))
        {
            return Ok(Arc::clone(&ready.config));
        }
        let made = self.make(options, spoken)?;
        let config = Arc::clone(&made.config);
        ready.insert(key, made);
        Ok(config)
    }

    fn make(&self, options: &TlsOptions, spoken: Spoken) -> Result<Ready, Failed> {
        if !processor_is_enough() {
            return Err(
                "this host's processor lacks what TLS needs here: AVX2, ADX and AES".into(),
            );
        }
        let provider = Arc::new(rustls_graviola::default_provider());
        let mut files = Vec::new();
        let verifier: Arc<dyn ServerCertVerifier> = if options.verify {
            let path = authorities(options.authorities.as_deref())?;
            let (stamp, trusted) = self.trusted(&path)?;
            files.push((path, stamp));
            let roots = Arc::clone(&trusted.roots);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            Arc::new(Vouched {
                authorities: verifier.build().map_err(|error| error.to_string())?,
                trusted,
            })
        } else {
            Arc::new(Anybody(Arc::clone(&provider)))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&options.certificate, &options.key) {
            (Some(certificate), Some(key)) => {
                let (chain, key) = identity(certificate, key, &mut files)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    format!("{} cannot be shown: {error}", certificate.display())
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        // Who resumes a session does not look at the certificate.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = match spoken {
            Spoken::Http1 => vec![b"http/1.1".to_vec()],
            Spoken::Http2 => vec![b"h2".to_vec()],
        };
        let config = Arc::new(config);
        Ok(Ready { config, files })
    }

    fn trusted(&self, path: &Path) -> Result<(Stamp, Arc<Trusted>), Failed> {
        let mut known = locked(&self.trusted);
        if let Some((stamp, trusted)) = known.get(path)
            && stamp.is_of(path)
        {
            return Ok((*stamp, Arc::clone(trusted)));
        }
        let (stamp, text) = read(path)?;
        let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
        let trusted = Trusted::new(certificates.collect());
        if trusted.roots.is_empty() {
            return Err(format!("{} has no certificate in PEM", path.display()).into());
        }
        let trusted = Arc::new(trusted);
        known.insert(path.to_owned(), (stamp, Arc::clone(&trusted)));
        Ok((stamp, trusted))
    }
}

fn authorities(named: Option<&Path>) -> Result<PathBuf, Failed> {
    let of_host = || AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
    let path = named.or_else(of_host).map(Path::to_owned);
    path.ok_or_else(|| {
        "this host has no authorities; its package is ca-certificates in most distributions".into()
    })
}

fn identity(
    certificate: &Path,
    key: &Path,
    files: &mut Vec<(PathBuf, Stamp)>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failed> {
    let (stamp, text) = read(certificate)?;
    files.push((certificate.to_owned(), stamp));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .filter_map(Result::ok)
        .collect();
    if chain.is_empty() {
        return Err(format!("{} has no certificate in PEM", certificate.display()).into());
    }
    let (stamp, text) = read(key)?;
    files.push((key.to_owned(), stamp));
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| format!("{} has no key in PEM", key.display()))?;
    Ok((chain, key))
}

/// The name that the certificate has to be for.
fn name(
    options: &TlsOptions,
    host: Option<&str>,
    address: SocketAddr,
) -> Result<ServerName<'static>, Failed> {
    let text = match (&options.server_name, host) {
        (Some(name), _) => name.clone(),
        (None, Some(host)) => {
            let authority: Result<Authority, _> = host.parse();
            let authority = authority.map_err(|_| format!("`{host}` is no host"))?;
            authority.host().trim_matches(['[', ']']).to_owned()
        }
        (None, None) => return Ok(ServerName::from(address.ip())),
    };
    ServerName::try_from(text.clone())
        .map_err(|_| format!("`{text}` is no name of a server").into())
}

fn processor_is_enough() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("adx")
        && is_x86_feature_detected!("avx2");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2");
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is in it is whole at any time: entries are put in and taken out.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Believes every certificate, and that its owner is there.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
