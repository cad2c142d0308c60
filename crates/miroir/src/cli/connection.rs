//! Which proxy a command talks to.

use crate::client::HttpClient;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of every command that asks a running proxy.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    /// The proxy
    #[arg(
        long,
        env = "MIROIR_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:7700"
    )]
    pub(super) url: String,
    /// The proxy's master key, or a key that may do everything
    #[arg(
        long,
        env = "MIROIR_MASTER_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    key: Option<String>,
    /// For https: the authority that signed the proxy's certificate, in PEM, if it is no public one
    #[arg(long, env = "MIROIR_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Connection {
    /// A client that waits so long for an answer.
    ///
    /// # Errors
    /// The URL or the file cannot be used.
    pub(super) fn client(&self, timeout: Duration) -> anyhow::Result<HttpClient> {
        let key = self.key.as_deref().filter(|key| !key.is_empty());
        HttpClient::by_flags(&self.url, key, timeout, self.ca_file.as_deref())
    }
}
