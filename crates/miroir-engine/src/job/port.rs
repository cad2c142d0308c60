//! The doors that only jobs use: where dumps are kept, and other instances.

use crate::port::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

/// Where dumps are kept.
#[async_trait]
pub trait DumpStore: Send + Sync + 'static {
    /// Begins the dump of this uid. It is seen only once it is whole, and then takes the place of
    /// one of the same uid.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn create(&self, uid: &str) -> Result<Box<dyn DumpWriter>, StoreError>;
}

/// Writes one dump: a folder with files, in the order in which they come.
///
/// A writer dropped without [`DumpWriter::finish`] leaves nothing behind.
#[async_trait]
pub trait DumpWriter: Send {
    /// Makes a folder, such as `indexes`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn folder(&mut self, path: &str) -> Result<(), StoreError>;
    /// Ends the file before and begins the next one.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn begin(&mut self, path: &str) -> Result<(), StoreError>;
    /// Appends to the file begun last.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError>;
    /// Makes the whole dump durable under its name.
    ///
    /// # Errors
    /// [`StoreError`]; then there is no dump.
    async fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// A request to another instance.
#[derive(Clone)]
pub struct RemoteRequest {
    /// What to do there.
    pub method: RemoteMethod,
    /// The whole address.
    pub url: String,
    /// The API key to show.
    pub api_key: Option<String>,
}

/// What is asked of another instance.
#[derive(Debug, Clone)]
pub enum RemoteMethod {
    /// `GET`.
    Get,
    /// `POST` of JSON.
    Post(Bytes),
    /// `PATCH` of JSON.
    Patch(Bytes),
    /// `POST` of NDJSON, compressed on its way.
    PostDocuments(Bytes),
}

// By hand, so that a key never reaches a log.
impl std::fmt::Debug for RemoteRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteRequest")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What another instance answered.
#[derive(Debug, Clone)]
pub struct RemoteAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// No answer came.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{cause}")]
pub struct RemoteFailure {
    /// Why.
    pub cause: String,
    /// Trying again may help.
    pub is_transient: bool,
}

/// Talks to other instances.
#[async_trait]
pub trait RemoteClient: Send + Sync + 'static {
    /// Sends a request, once.
    ///
    /// # Errors
    /// [`RemoteFailure`] when no whole answer came within `timeout`.
    async fn send(
        &self,
        request: RemoteRequest,
        timeout: Duration,
    ) -> Result<RemoteAnswer, RemoteFailure>;
}
