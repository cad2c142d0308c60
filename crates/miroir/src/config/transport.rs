//! How clients reach the proxy: TLS, and how many of them at once.

use super::raw::{At, RawTls, RawTransport};
use super::{Check, unit};
use miroir_http::{GateLimits, TlsFiles, Transport};
use std::path::PathBuf;
use std::time::Duration;

/// What flags, or the environment variables behind them, say of TLS instead of the file.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TlsOverrides {
    /// Serve TLS with this certificate chain (PEM), instead of the file's `tls.cert_path`
    #[arg(long, env = "MIROIR_SSL_CERT_PATH", value_name = "FILE")]
    pub(crate) ssl_cert_path: Option<PathBuf>,
    /// The private key of the certificate (PEM), instead of the file's `tls.key_path`
    #[arg(long, env = "MIROIR_SSL_KEY_PATH", value_name = "FILE")]
    pub(crate) ssl_key_path: Option<PathBuf>,
    /// The roots of clients' certificates (PEM), instead of the file's `tls.auth_path`
    #[arg(long, env = "MIROIR_SSL_AUTH_PATH", value_name = "FILE")]
    pub(crate) ssl_auth_path: Option<PathBuf>,
    /// Turn clients away that show no certificate
    #[arg(long, env = "MIROIR_SSL_REQUIRE_AUTH")]
    pub(crate) ssl_require_auth: bool,
}

/// How clients reach the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransportConfig {
    /// The files of TLS; `None` serves clear text.
    pub(crate) tls: Option<TlsFiles>,
    /// The most connections open at once.
    pub(crate) connections_max: usize,
    /// How long answers under way may take once the proxy is told to stop.
    pub(crate) shutdown_timeout: Duration,
    /// How many searches run and wait at once.
    pub(crate) searches: GateLimits,
    /// How many payloads are taken in and wait at once.
    pub(crate) uploads: GateLimits,
}

impl TransportConfig {
    /// What a file without a word on it means, over so many nodes.
    pub(crate) fn default_for(node_count: usize) -> Self {
        Self {
            tls: None,
            connections_max: Transport::CONNECTIONS_MAX_DEFAULT,
            shutdown_timeout: Transport::DRAIN_MAX_DEFAULT,
            searches: GateLimits::for_searches(core_count(), node_count),
            uploads: GateLimits::UPLOADS,
        }
    }
}

fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Check {
    pub(super) fn transport(
        &mut self,
        raw: RawTransport,
        overrides: TlsOverrides,
        node_count: usize,
    ) -> TransportConfig {
        let default = TransportConfig::default_for(node_count);
        let (searches, uploads) = (default.searches, default.uploads);
        TransportConfig {
            connections_max: self.count(
                raw.connections_max,
                "connections_max",
                1,
                default.connections_max,
            ),
            shutdown_timeout: self.duration(
                raw.shutdown_timeout,
                "shutdown_timeout",
                default.shutdown_timeout,
            ),
            searches: GateLimits {
                inside_max: self.count(
                    raw.search_concurrency,
                    "search_concurrency",
                    1,
                    searches.inside_max,
                ),
                waiting_max: self.count(
                    raw.search_queue_size,
                    "search_queue_size",
                    0,
                    searches.waiting_max,
                ),
                wait_max: self.duration(
                    raw.search_queue_timeout,
                    "search_queue_timeout",
                    searches.wait_max,
                ),
            },
            uploads: GateLimits {
                inside_max: self.count(
                    raw.upload_concurrency,
                    "upload_concurrency",
                    1,
                    uploads.inside_max,
                ),
                ..uploads
            },
            tls: self.tls(raw.tls, overrides),
        }
    }

    fn tls(&mut self, raw: RawTls, overrides: TlsOverrides) -> Option<TlsFiles> {
        let lines = [
            raw.cert.as_ref().map(|at| at.line),
            raw.key.as_ref().map(|at| at.line),
            raw.auth.as_ref().map(|at| at.line),
            raw.require_auth.as_ref().map(|at| at.line),
        ];
        let line = lines.into_iter().flatten().flatten().next();
        let path = |flag: Option<PathBuf>, file: Option<At<String>>| {
            flag.or_else(|| file.map(|at| PathBuf::from(at.value)))
        };
        let client_roots = path(overrides.ssl_auth_path, raw.auth);
        let require_client =
            overrides.ssl_require_auth || raw.require_auth.is_some_and(|at| at.value);
        if require_client && client_roots.is_none() {
            self.add(
                line,
                "clients must show a certificate and no roots are given to check it with: name \
                 them with `auth_path` in [tls] or --ssl-auth-path",
            );
        }
        match (
            path(overrides.ssl_cert_path, raw.cert),
            path(overrides.ssl_key_path, raw.key),
        ) {
            (Some(cert), Some(key)) => Some(TlsFiles {
                cert,
                key,
                client_roots,
                require_client,
            }),
            (None, None) if client_roots.is_none() && !require_client => None,
            (cert, _) => {
                let missing = match cert {
                    Some(_) => {
                        "its key is missing: name it with `key_path` in [tls] or --ssl-key-path"
                    }
                    None => {
                        "there is no certificate: name it with `cert_path` in [tls] or \
                         --ssl-cert-path"
                    }
                };
                self.add(line, format!("TLS is asked for and {missing}"));
                None
            }
        }
    }

    fn count(&mut self, raw: Option<At<i64>>, key: &str, min: usize, default: usize) -> usize {
        let Some(At { value, line }) = raw else {
            return default;
        };
        match usize::try_from(value) {
            Ok(count) if (min..=COUNT_MAX).contains(&count) => return count,
            _ => self.add(
                line,
                format!("`{key}` must be from {min} to {COUNT_MAX}, not {value}"),
            ),
        }
        default
    }

    pub(super) fn duration(
        &mut self,
        raw: Option<At<String>>,
        key: &str,
        default: Duration,
    ) -> Duration {
        let Some(At { value, line }) = raw else {
            return default;
        };
        match unit::parse_duration(&value) {
            Ok(duration) if duration.is_zero() => {
                self.add(line, format!("`{key}` must be above 0"));
            }
            Ok(duration) => return duration,
            Err(text) => self.add(line, format!("`{key}`: {text}")),
        }
        default
    }
}

/// More than any machine has file handles for.
const COUNT_MAX: usize = 1_000_000;
