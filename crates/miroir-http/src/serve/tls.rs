//! TLS: the server's certificate, and the clients' where they must show one.

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The protocols offered, in order of preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files that TLS is made of, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its root, in this order.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The roots of clients' certificates; `None` asks clients for none.
    pub client_roots: Option<PathBuf>,
    /// Whether a client without a certificate is turned away; only with `client_roots`.
    pub require_client: bool,
}

/// Why TLS cannot be served.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read or holds nothing of use.
    #[error("{what} in {} cannot be used: {cause}", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What was found instead.
        cause: String,
    },
    /// The parts do not go together.
    #[error("the certificate and the private key cannot be used together: {0}")]
    Unusable(String),
}

/// A certificate ready to be shown.
#[derive(Clone)]
pub struct TlsServer(Arc<ServerConfig>);

impl TlsServer {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read, or they do not go together.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        // Named, and not the default of the process, which another crate might set first.
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let builder = match &files.client_roots {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let what = "the roots of clients' certificates";
                let mut roots = RootCertStore::empty();
                for root in certificates(what, path)? {
                    roots
                        .add(root)
                        .map_err(|error| unusable(what, path, &error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if files.require_client {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| unusable(what, path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = certificates("the certificate", &files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| unusable("the private key", &files.key, &error))?;
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        Ok(Self(Arc::new(config)))
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.0.clone()).accept(stream).await
    }
}

// By hand: the key is in there.
impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsServer(<hidden>)")
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(what, path, &error))?;
    if read.is_empty() {
        return Err(unusable(what, path, &"there is no certificate in it"));
    }
    Ok(read)
}

fn unusable(what: &'static str, path: &Path, cause: &dyn fmt::Display) -> TlsError {
    TlsError::File {
        what,
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}
