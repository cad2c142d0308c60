//! The face over TLS.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use crate::serving::{Server, ask_http2};
use crate::support::Face;
use http::Version;
use miroir_http::{TlsFiles, TlsServer, Transport};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A root, a server's certificate and a client's, all of one issuer.
struct Paper {
    folder: TempDir,
    root: CertificateDer<'static>,
    client: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Paper {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (server, server_key) = issue("localhost");
        let (client, client_key) = issue("client");
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
        write("root.pem", issuer.pem()).unwrap();
        write("server.pem", server.pem()).unwrap();
        write("server.key", server_key.serialize_pem()).unwrap();
        write("other.key", client_key.serialize_pem()).unwrap();
        let root = issuer.der().clone();
        let client_key = PrivateKeyDer::try_from(client_key.serialize_der()).unwrap();
        Self {
            root,
            client: (client.der().clone(), client_key),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self, client_roots: Option<&str>, require_client: bool) -> TlsFiles {
        TlsFiles {
            cert: self.path("server.pem"),
            key: self.path("server.key"),
            client_roots: client_roots.map(|name| self.path(name)),
            require_client,
        }
    }

    async fn serve(&self, files: &TlsFiles) -> Server {
        let transport = Transport {
            tls: Some(TlsServer::load(files).unwrap()),
            ..Transport::default()
        };
        let face = Face::open().await;
        Server::start(face.router, transport).await
    }

    /// A connection that offers these protocols, with the client's certificate or without.
    async fn connect(
        &self,
        server: &Server,
        alpn: &[&[u8]],
        shows_certificate: bool,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = if shows_certificate {
            let (certificate, key) = (self.client.0.clone(), self.client.1.clone_key());
            builder
                .with_client_auth_cert(vec![certificate], key)
                .unwrap()
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

async fn ask_http1(mut stream: TlsStream<TcpStream>) -> std::io::Result<String> {
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn both_protocols_are_served_over_tls_as_agreed() {
    let paper = Paper::new();
    let server = paper.serve(&paper.files(None, false)).await;
    let stream = paper
        .connect(&server, &[b"h2", b"http/1.1"], false)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (version, status, body) = ask_http2(stream).await;
    assert_eq!((version, status), (Version::HTTP_2, 200));
    assert_eq!(&body[..], br#"{"status":"available"}"#);
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let stream = paper.connect(&server, alpn, false).await.unwrap();
        let answer = ask_http1(stream).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn clear_text_is_not_answered_where_there_is_tls() {
    let paper = Paper::new();
    let server = paper.serve(&paper.files(None, false)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // Closed, or reset.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_must() {
    let paper = Paper::new();
    for (require, shows, expected) in [
        (true, true, true),
        (true, false, false),
        (false, true, true),
        (false, false, true),
    ] {
        let server = paper.serve(&paper.files(Some("root.pem"), require)).await;
        // With TLS 1.3 a client learns of the refusal when it reads.
        let answer = match paper.connect(&server, &[], shows).await {
            Ok(stream) => ask_http1(stream).await,
            Err(error) => Err(error),
        };
        let is_served = answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
        assert_eq!(is_served, expected, "required: {require}, shown: {shows}");
        server.stop().await;
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let paper = Paper::new();
    let told = |files: &TlsFiles| TlsServer::load(files).unwrap_err().to_string();
    let files = paper.files(None, false);
    let missing = TlsFiles {
        cert: paper.path("nowhere.pem"),
        ..files.clone()
    };
    assert!(told(&missing).contains("nowhere.pem"), "{}", told(&missing));
    let swapped = TlsFiles {
        cert: files.key.clone(),
        ..files.clone()
    };
    assert!(told(&swapped).starts_with("the certificate in"));
    let keyless = TlsFiles {
        key: files.cert.clone(),
        ..files.clone()
    };
    assert!(told(&keyless).starts_with("the private key in"));
    let other = TlsFiles {
        key: paper.path("other.key"),
        ..files
    };
    assert!(told(&other).contains("cannot be used together"));
    let text = format!("{:?}", TlsServer::load(&paper.files(None, false)));
    assert!(text.contains("<hidden>"), "{text}");
}
