//! What version this is, to clients that ask.

use serde::Serialize;

/// The version of Meilisearch whose API is spoken. Clients gate features on it.
pub const MEILISEARCH_VERSION: &str = "1.50.0";

/// The answer of `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Names Miroir and its own version.
    pub commit_sha: String,
    /// RFC 3339, or `unknown`.
    pub commit_date: String,
    /// The version of Meilisearch that is spoken.
    pub pkg_version: String,
}

impl Version {
    /// The answer of a Miroir of version `miroir_version`.
    #[must_use]
    pub fn new(miroir_version: &str) -> Self {
        Self {
            commit_sha: format!("miroir-{miroir_version}"),
            commit_date: "unknown".to_owned(),
            pkg_version: MEILISEARCH_VERSION.to_owned(),
        }
    }
}
