//! Who may vouch for servers that webhooks and exports speak to over TLS.

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// The authorities that are trusted: the public ones, and those that the operator adds.
#[derive(Debug, Clone)]
pub struct Roots(Arc<ClientConfig>);

impl Roots {
    /// The public authorities, and with a file (PEM) those whose certificates it holds.
    ///
    /// # Errors
    /// The file cannot be read, holds no certificate, or one that is none.
    pub fn new(added: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = added {
            let wrong = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
            let certificates = CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))?;
            let before = roots.len();
            for certificate in certificates {
                let certificate = certificate.map_err(|e| wrong(&e))?;
                roots.add(certificate).map_err(|e| wrong(&e))?;
            }
            if roots.len() == before {
                return Err(wrong(&"it holds no certificate"));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// `http` with TLS where the address says so.
    pub(crate) fn connector<H>(&self, http: H) -> HttpsConnector<H> {
        HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(&self.0))
            .https_or_http()
            .enable_http1()
            .wrap_connector(http)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HttpHookClient, HttpRemoteClient, IpPolicy};
    use bytes::Bytes;
    use miroir_engine::job::port::{RemoteClient, RemoteMethod, RemoteRequest};
    use miroir_engine::port::{HookClient, HookError, HookRequest};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use std::net::SocketAddr;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::TlsAcceptor;

    const LIMIT: Duration = Duration::from_secs(60);

    /// A TLS server whose certificate a private authority vouches for, with that authority's file.
    struct Private {
        folder: tempfile::TempDir,
        address: SocketAddr,
        server: tokio::task::JoinHandle<()>,
    }

    impl Private {
        /// Answers every request with 202 and an empty object, for the host `localhost`.
        async fn start() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer =
                CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("root.pem"), issuer.pem()).unwrap();
            std::fs::write(folder.path().join("empty.pem"), "nothing").unwrap();

            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // A client that does not trust the certificate goes away.
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        continue;
                    };
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    let answer = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\
                                  connection: close\r\n\r\n{}";
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
            Self {
                folder,
                address,
                server,
            }
        }

        fn url(&self) -> String {
            format!("https://localhost:{}/x", self.address.port())
        }

        fn roots(&self, name: &str) -> Result<Roots, String> {
            Roots::new(Some(&self.folder.path().join(name)))
        }
    }

    impl Drop for Private {
        fn drop(&mut self) {
            self.server.abort();
        }
    }

    #[tokio::test]
    async fn a_hook_of_a_private_authority_is_called_where_the_authority_is_known() {
        let private = Private::start().await;
        let request = || HookRequest {
            url: private.url(),
            headers: [].into(),
            body: Bytes::from_static(b"{}\n"),
            is_trusted: true,
        };
        let trusting = HttpHookClient::new(
            IpPolicy::parse("any").unwrap(),
            &private.roots("root.pem").unwrap(),
        );
        assert_eq!(trusting.post(request(), LIMIT).await.unwrap(), 202);
        let careful =
            HttpHookClient::new(IpPolicy::parse("any").unwrap(), &Roots::new(None).unwrap());
        let refused = careful.post(request(), LIMIT).await;
        assert!(
            matches!(&refused, Err(HookError::Unreachable(cause)) if cause.contains("certificate")),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn an_export_goes_to_a_server_of_a_private_authority_that_is_known() {
        let private = Private::start().await;
        let request = || RemoteRequest {
            method: RemoteMethod::Get,
            url: private.url(),
            api_key: Some("k".to_owned()),
        };
        let policy = || IpPolicy::parse("any").unwrap();
        let trusting = HttpRemoteClient::new(policy(), &private.roots("root.pem").unwrap());
        let answer = trusting.send(request(), LIMIT).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (202, &b"{}"[..]));
        let careful = HttpRemoteClient::new(policy(), &Roots::new(None).unwrap());
        let failure = careful.send(request(), LIMIT).await.unwrap_err();
        assert!(failure.cause.contains("certificate"), "{}", failure.cause);
        // An address in digits is not the name that the certificate was given to.
        let digits = RemoteRequest {
            url: private.url().replace("localhost", "127.0.0.1"),
            ..request()
        };
        assert!(trusting.send(digits, LIMIT).await.is_err());
    }

    #[tokio::test]
    async fn a_file_without_certificates_is_refused() {
        let private = Private::start().await;
        for name in ["empty.pem", "missing.pem"] {
            let error = private.roots(name).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
}
