//! A small HTTP client for `miroir status`, the demo, and waiting for a node to answer.
//!
//! Over HTTP or HTTPS, with the public authorities or with one of the operator's own.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The largest answer that is read. Ours are small; this bounds what a stranger on the port sends.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The server answered, and the answer is an error.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} answered {status}: {message}{remedy}")]
pub(crate) struct Refused {
    method: Method,
    path: String,
    /// The HTTP status.
    pub(crate) status: StatusCode,
    message: String,
    /// What the person at the terminal may do about it; empty or in parentheses.
    remedy: &'static str,
    /// The body, `null` if it was not JSON.
    pub(crate) body: Value,
}

fn tls(authorities: Option<&Path>) -> anyhow::Result<ClientConfig> {
    // Named, and not the default of the process, which another crate might set first.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS cannot be spoken")?;
    let Some(path) = authorities else {
        return Ok(builder.with_webpki_roots().with_no_client_auth());
    };
    let of_file = || format!("the certificates in {} cannot be used", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(of_file)? {
        let certificate = certificate.with_context(of_file)?;
        roots.add(certificate).with_context(of_file)?;
    }
    if roots.is_empty() {
        bail!("{} holds no certificate in PEM", path.display());
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A client of one server.
#[derive(Clone)]
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    key: Option<String>,
    timeout: Duration,
    /// It asks what a person named by flags: these are told of when they may be wrong.
    is_by_flags: bool,
}

impl HttpClient {
    /// A client of `url` (`http://host:port`), which shows `key` if there is one.
    ///
    /// # Errors
    /// If the URL is none of a server.
    pub(crate) fn new(url: &str, key: Option<&str>, timeout: Duration) -> anyhow::Result<Self> {
        let mut client = Self::by_flags(url, key, timeout, None)?;
        client.is_by_flags = false;
        Ok(client)
    }

    /// The client of a command whose flags `--url` and `--key` name server and key, with a file of the
    /// authorities that the server's certificate must be from.
    ///
    /// # Errors
    /// If the URL is none of a server, or the file holds no certificate.
    pub(crate) fn by_flags(
        url: &str,
        key: Option<&str>,
        timeout: Duration,
        authorities: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let Some(url) = crate::config::plain_url(url) else {
            bail!("`{url}` is not a URL of a server: write http://host:port or https://host:port");
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(authorities)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            client,
            url,
            key: key.map(str::to_owned),
            timeout,
            is_by_flags: true,
        })
    }

    /// The server's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Fetches `path` as JSON.
    ///
    /// # Errors
    /// [`Refused`] for an error status; anything else if there is no usable answer.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    /// Sends a JSON body.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub(crate) async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let body = Bytes::from(body.to_string());
        self.send(method, path, Some(("application/json", body)))
            .await
    }

    /// Sends a request with or without a typed body.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> anyhow::Result<Value> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let bytes = match body {
            Some((content_type, bytes)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                bytes
            }
            None => Bytes::new(),
        };
        let request = request
            .body(Full::new(bytes))
            .context("the request cannot be written")?;
        let answer = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
            anyhow::Ok((status, body))
        };
        let (status, body) = tokio::time::timeout(self.timeout, answer)
            .await
            .with_context(|| format!("{} did not answer within {:?}", self.url, self.timeout))?
            .with_context(|| self.unreached())?;
        let value: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let message = value
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("(no message)");
        let (path, message) = (path.to_owned(), message.to_owned());
        Err(Refused {
            method,
            path,
            status,
            message,
            remedy: self.remedy(status, value.is_null()),
            body: value,
        }
        .into())
    }

    fn unreached(&self) -> String {
        let remedy = match self.is_by_flags {
            true => " (does a Miroir run there? `--url` or MIROIR_URL names another address)",
            false => "",
        };
        format!("{} cannot be reached{remedy}", self.url)
    }

    fn remedy(&self, status: StatusCode, is_no_json: bool) -> &'static str {
        match status {
            _ if !self.is_by_flags => "",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                " (`--key` or MIROIR_MASTER_KEY names a key that may do this)"
            }
            _ if is_no_json => " (is it a Miroir? `--url` or MIROIR_URL names another address)",
            _ => "",
        }
    }
}
