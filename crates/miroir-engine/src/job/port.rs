//! The doors that only jobs use: where dumps are kept, and other instances.

use crate::port::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// A dump to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DumpSource {
    /// One that was written here, by its uid.
    Uid(String),
    /// A file of the store's machine.
    File(PathBuf),
}

/// Where dumps are kept.
#[async_trait]
pub trait DumpStore: Send + Sync + 'static {
    /// Begins to read those files of a dump whose paths are given, in the order in which they come;
    /// `None` if there is no such dump.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is no dump.
    async fn open(
        &self,
        source: &DumpSource,
        paths: &[String],
    ) -> Result<Option<Box<dyn DumpReader>>, StoreError>;
    /// Begins the dump of this uid. It is seen only once it is whole, and then takes the place of
    /// one of the same uid.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn create(&self, uid: &str) -> Result<Box<dyn DumpWriter>, StoreError>;
}

/// A part of a file of a dump.
#[derive(Debug, Clone)]
pub struct DumpPiece {
    /// The path of the file, such as `indexes/movies/settings.json`.
    pub path: String,
    /// What comes next in it.
    pub bytes: Bytes,
    /// The file ends with it. An empty file has one piece, too.
    pub is_last: bool,
}

/// Reads one dump, from its beginning to its end.
#[async_trait]
pub trait DumpReader: Send {
    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the dump is damaged.
    async fn next(&mut self) -> Result<Option<DumpPiece>, StoreError>;
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

/// Where the snapshot of the store is kept: there is one, and the next takes its place.
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// The folder that the store is to be copied into, not there yet.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn begin(&self) -> Result<PathBuf, StoreError>;
    /// Puts what was copied, with this beside it, in the place of the snapshot before, durably.
    ///
    /// # Errors
    /// [`StoreError`]; then there is no new snapshot.
    async fn finish(&self, manifest: &Value) -> Result<(), StoreError>;
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
