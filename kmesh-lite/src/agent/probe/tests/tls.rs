use super::http::{get, head};
use super::*;
use crate::api::{HttpProbe, TlsOptions};
use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{P256, SigningKey};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyIdMethod,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

/// A key, made by the same library that checks what is signed with it.
struct Key {
    secret: SigningKey<P256>,
    public: Vec<u8>,
}

impl Key {
    fn new() -> Self {
        let secret = SigningKey::generate().unwrap();
        let mut buffer = [0; 256];
        // The point is what ends it.
        let public = secret.to_spki_der(&mut buffer).unwrap();
        let public = public[public.len() - 65..].to_vec();
        Self { secret, public }
    }

    fn der(&self) -> Vec<u8> {
        let mut buffer = [0; 512];
        self.secret.to_pkcs8_der(&mut buffer).unwrap().to_vec()
    }

    fn pem(&self) -> String {
        pem("PRIVATE KEY", &self.der())
    }
}

fn pem_of(certificate: &Certificate) -> String {
    pem("CERTIFICATE", certificate.der())
}

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for three in der.chunks(3) {
        let bits = three
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place > three.len() {
                '='
            } else {
                digit.into()
            });
        }
    }
    text + &format!("\n-----END {label}-----\n")
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut buffer = [0; 128];
        let signed = self.secret.sign_asn1::<Sha256>(&[message], &mut buffer);
        Ok(signed.unwrap().to_vec())
    }
}

/// What rcgen leaves to its caller where it does no cryptography.
fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|it| (*it).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.serial_number = Some(7_u64.into());
    params.key_identifier_method = KeyIdMethod::PreSpecified(vec![7]);
    params
}

/// An authority, and files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, Key>,
    certificate: Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = Key::new();
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let this = Self {
            folder: tempfile::tempdir().unwrap(),
            issuer: Issuer::new(params, key),
            certificate,
        };
        fs::write(this.path("ca.pem"), pem_of(&this.certificate)).unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for `name` that is valid until the end of `year`.
    fn issue(&self, name: &str, year: i32) -> (Certificate, Key) {
        let key = Key::new();
        let mut params = params(&[name]);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }

    fn trusted(&self) -> TlsOptions {
        TlsOptions {
            authorities: Some(self.path("ca.pem")),
            ..believing()
        }
    }
}

fn believing() -> TlsOptions {
    TlsOptions {
        verify: true,
        server_name: None,
        authorities: None,
        certificate: None,
        key: None,
    }
}

/// Serves over TLS, to clients of `clients` if there are any.
async fn serves((certificate, key): (Certificate, Key), clients: Option<&Authority>) -> Server {
    let provider = Arc::new(rustls_graviola::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let key = PrivateKeyDer::Pkcs8(key.der().into());
    let config = builder
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                head(&mut stream).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        }
    })
    .await
}

fn over(options: TlsOptions) -> Probe {
    Probe::Http(HttpProbe {
        tls: Some(options),
        host: Some("shop.example".into()),
        ..get("/")
    })
}

#[tokio::test]
async fn a_certificate_is_believed_if_a_trusted_authority_made_it_for_that_name() {
    let authority = Authority::new("an authority");
    let server = serves(authority.issue("shop.example", 2099), None).await;
    assert_eq!(
        probe(server.at, over(authority.trusted())).await,
        up("status 200")
    );

    let other = TlsOptions {
        server_name: Some("other.example".into()),
        ..authority.trusted()
    };
    let outcome = probe(server.at, over(other.clone())).await;
    assert_eq!(outcome, down("certificate is not for other.example"));
    // The address is the name where there is no other.
    let Probe::Http(nameless) = over(authority.trusted()) else {
        return;
    };
    let nameless = HttpProbe {
        host: None,
        ..nameless
    };
    let outcome = probe(server.at, Probe::Http(nameless.clone())).await;
    assert_eq!(outcome, down("certificate is not for 127.0.0.1"));
    let by_address = serves(authority.issue("127.0.0.1", 2099), None).await;
    let outcome = probe(by_address.at, Probe::Http(nameless)).await;
    assert_eq!(outcome, up("status 200"));

    // None of this counts if nobody is to look.
    let blind = TlsOptions {
        verify: false,
        ..other
    };
    assert_eq!(probe(server.at, over(blind)).await, up("status 200"));
}

#[tokio::test]
async fn certificates_that_are_not_believed() {
    let authority = Authority::new("an authority");
    let expired = serves(authority.issue("shop.example", 2021), None).await;
    let outcome = probe(expired.at, over(authority.trusted())).await;
    assert_eq!(outcome, down("certificate has expired"));

    let stranger = Authority::new("a stranger");
    let unknown = serves(stranger.issue("shop.example", 2099), None).await;
    let outcome = probe(unknown.at, over(authority.trusted())).await;
    assert_eq!(outcome, down("certificate is of no known authority"));

    let namesake = Authority::new("an authority");
    let forged = serves(namesake.issue("shop.example", 2099), None).await;
    let outcome = probe(forged.at, over(authority.trusted())).await;
    let reason = "certificate is not signed by the authority that it names";
    assert_eq!(outcome, down(reason));

    let key = Key::new();
    let certificate = params(&["shop.example"]).self_signed(&key).unwrap();
    let itself = serves((certificate, key), None).await;
    let outcome = probe(itself.at, over(authority.trusted())).await;
    assert_eq!(outcome, down("certificate is of no known authority"));
}

/// As `openssl req -x509` makes them: for a server, and an authority as well. Or by somebody who is not known.
#[tokio::test]
async fn a_certificate_that_is_trusted_itself_is_believed_for_its_name_and_time() {
    let authority = Authority::new("an authority");
    let own = |year, is_authority: bool| {
        let key = Key::new();
        let mut params = params(&["shop.example"]);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        (params.self_signed(&key).unwrap(), key)
    };
    let cases = [
        (own(2099, true), up("status 200")),
        (own(2099, false), up("status 200")),
        (authority.issue("shop.example", 2099), up("status 200")),
        (own(2021, true), down("certificate has expired")),
        (own(2021, false), down("certificate has expired")),
        (
            authority.issue("other.example", 2099),
            down("certificate is not for shop.example"),
        ),
    ];
    for (number, (pair, expected)) in cases.into_iter().enumerate() {
        let path = authority.path(&format!("own-{number}.pem"));
        fs::write(&path, pem_of(&pair.0)).unwrap();
        let server = serves(pair, None).await;
        let trusting = TlsOptions {
            authorities: Some(path),
            ..believing()
        };
        let outcome = probe(server.at, over(trusting)).await;
        assert_eq!(outcome, expected, "{number}");
    }
    // One with the same name and another key is another one.
    let path = authority.path("own-0.pem");
    let server = serves(own(2099, true), None).await;
    let trusting = TlsOptions {
        authorities: Some(path),
        ..believing()
    };
    let outcome = probe(server.at, over(trusting)).await;
    assert_eq!(
        outcome,
        down("certificate is self-signed, or that of an authority")
    );
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_gets_ours() {
    let authority = Authority::new("an authority");
    let server = serves(authority.issue("shop.example", 2099), Some(&authority)).await;
    let outcome = probe(server.at, over(authority.trusted())).await;
    assert_eq!(outcome, down("the server demands a client certificate"));

    let (certificate, key) = authority.issue("agent.example", 2099);
    fs::write(authority.path("agent.pem"), pem_of(&certificate)).unwrap();
    fs::write(authority.path("agent.key"), key.pem()).unwrap();
    let with = TlsOptions {
        certificate: Some(authority.path("agent.pem")),
        key: Some(authority.path("agent.key")),
        ..authority.trusted()
    };
    assert_eq!(probe(server.at, over(with)).await, up("status 200"));
}

#[tokio::test]
async fn a_server_without_tls_and_one_that_says_nothing() {
    let authority = Authority::new("an authority");
    let plain = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        hang().await;
    })
    .await;
    let outcome = probe(plain.at, over(authority.trusted())).await;
    assert_eq!(outcome, down("the server does not speak TLS"));
    let silent = serve(|stream| async move {
        hang().await;
        drop(stream);
    })
    .await;
    let outcome = probe_within(SHORT, silent.at, over(authority.trusted())).await;
    assert_eq!(outcome, down("no TLS handshake within 300 ms"));
}

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let authority = Authority::new("an authority");
    let server = serves(authority.issue("shop.example", 2099), None).await;
    let path = authority.path("later.pem");
    let options = TlsOptions {
        authorities: Some(path.clone()),
        ..believing()
    };
    let check = Check {
        probe: over(options),
        timeout: PATIENT,
        ..check()
    };
    let check = Arc::new(check);
    let probes = Probes::new(Reaping::Others);
    let missing = probes.probe(server.at, &check).await;
    assert!(!missing.success && missing.reason.starts_with("the agent cannot read "));
    fs::write(&path, "nothing").unwrap();
    let empty = probes.probe(server.at, &check).await;
    assert!(
        empty
            .reason
            .ends_with("later.pem has no certificate in PEM"),
        "{empty:?}"
    );
    fs::write(&path, pem_of(&Authority::new("a stranger").certificate)).unwrap();
    let other = probes.probe(server.at, &check).await;
    assert_eq!(other, down("certificate is of no known authority"));
    fs::copy(authority.path("ca.pem"), authority.path("new.pem")).unwrap();
    fs::rename(authority.path("new.pem"), &path).unwrap();
    assert_eq!(probes.probe(server.at, &check).await, up("status 200"));
}

#[test]
fn text_in_pem_is_what_it_was() {
    for length in [0, 1, 2, 3, 100] {
        let der: Vec<u8> = (0..length).collect();
        let text = pem("CERTIFICATE", &der);
        let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        assert_eq!(&*read, der);
    }
}
