//! The door to LLMs.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::fmt;
use std::time::Duration;

/// What is sent to an LLM.
pub struct LlmRequest {
    /// Where to.
    pub url: String,
    /// What is sent along; one of them is a secret.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Bytes,
    /// The longest pause: until the answer begins, and between its pieces.
    pub patience: Duration,
}

// By hand: the headers hold a key, and addresses may.
impl fmt::Debug for LlmRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmRequest").finish_non_exhaustive()
    }
}

/// An LLM was not reached, or broke off; in words that hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LlmError(pub String);

/// The answer of an LLM. Who drops it ends it.
pub struct LlmAnswer {
    /// Its status.
    pub status: u16,
    /// What it says it is.
    pub content_type: Option<String>,
    /// Its bytes as they come.
    pub body: BoxStream<'static, Result<Bytes, LlmError>>,
}

impl fmt::Debug for LlmAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmAnswer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Talks to LLMs.
#[async_trait]
pub trait LlmClient: fmt::Debug + Send + Sync + 'static {
    /// Posts, and returns when the answer begins.
    ///
    /// # Errors
    /// [`LlmError`].
    async fn post(&self, request: LlmRequest) -> Result<LlmAnswer, LlmError>;
}
