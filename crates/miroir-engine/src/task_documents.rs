//! The documents of an addition that is not yet done, as they wait in the log.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::{PayloadRef, PayloadStore, StoreError, TaskRecord};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, once, try_unfold};
use miroir_core::id::TaskUid;
use miroir_core::task::{Operation, TaskStatus};
use std::sync::Arc;

/// A payload file is handed on in pieces of this size, so that memory does not depend on its size.
const PIECE_BYTES: usize = 1024 * 1024;

/// A payload as NDJSON, piece by piece.
pub type DocumentStream = BoxStream<'static, Result<Bytes, StoreError>>;

impl Engine {
    /// The documents that an addition brought, as long as it is enqueued or processing; `None` for
    /// every other task.
    ///
    /// # Errors
    /// [`EngineError::TaskNotFound`]; the store failed. What fails later ends the stream.
    pub async fn task_documents(
        &self,
        uid: TaskUid,
    ) -> Result<Option<DocumentStream>, EngineError> {
        let task = self.task(uid).await?;
        if !has_documents(&task) {
            return Ok(None);
        }
        if let Some(bytes) = task.inline_payload {
            return Ok(Some(once(async move { Ok(bytes) }).boxed()));
        }
        let Some(payload) = task.payload else {
            return Ok(None);
        };
        let payloads = self.shared().ports.payloads.clone();
        // The first piece is read before anything is promised: the task may end meanwhile, and its
        // file goes with it.
        let first = match payloads.read_at(&payload, 0, PIECE_BYTES).await {
            Ok(first) => first,
            Err(error) => {
                let task = self.task(uid).await?;
                return if has_documents(&task) {
                    Err(error.into())
                } else {
                    Ok(None)
                };
            }
        };
        let offset = first.len() as u64;
        let rest = rest_of(payloads, payload, offset);
        Ok(Some(once(async move { Ok(first) }).chain(rest).boxed()))
    }
}

fn has_documents(task: &TaskRecord) -> bool {
    matches!(task.operation, Operation::AddDocuments { .. })
        && matches!(task.status, TaskStatus::Enqueued | TaskStatus::Processing)
}

fn rest_of(payloads: Arc<dyn PayloadStore>, payload: PayloadRef, offset: u64) -> DocumentStream {
    let PayloadRef::File { bytes: end, .. } = payload;
    try_unfold(
        (payloads, payload, offset),
        move |(payloads, payload, offset)| async move {
            if offset >= end {
                return Ok(None);
            }
            let piece = payloads.read_at(&payload, offset, PIECE_BYTES).await?;
            if piece.is_empty() {
                return Err(StoreError::Io("a payload is shorter than it was".into()));
            }
            let next = offset + piece.len() as u64;
            Ok(Some((piece, (payloads, payload, next))))
        },
    )
    .boxed()
}
