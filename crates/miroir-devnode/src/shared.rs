//! What routes and worker share.

use crate::auth::KeyRing;
use crate::bell::Bell;
use crate::error::ApiError;
use crate::faults::Faults;
use crate::options::Options;
use crate::store::{IndexRow, Store};
use crate::task::{Submission, Task};
use miroir_devnode_engine::Engine;
use std::path::PathBuf;
use std::sync::Arc;

/// Payloads of waiting additions, below the node's folder.
pub(crate) const PAYLOAD_FOLDER: &str = "payloads";

/// What routes and worker share: the only owner of the folder.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) keys: KeyRing,
    pub(crate) faults: Faults,
    pub(crate) bell: Bell,
}

impl Shared {
    /// Runs what blocks, engine and store, away from the threads that serve connections.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let shared = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    /// Where the payload file of this name lies.
    pub(crate) fn payload_path(&self, file: &str) -> PathBuf {
        self.options.db_path.join(PAYLOAD_FOLDER).join(file)
    }

    /// The index of this name.
    pub(crate) fn index(&self, uid: &str) -> Result<IndexRow, ApiError> {
        self.store
            .get_index(uid)
            .ok_or_else(|| ApiError::index_not_found(uid))
    }

    /// Records a task and wakes the worker.
    pub(crate) async fn submit(self: &Arc<Self>, submission: Submission) -> Result<Task, ApiError> {
        self.delay_submission().await;
        self.blocking(move |shared| shared.submit_now(submission))
            .await
    }

    /// As [`Shared::submit`], from a blocking thread and without the delay for tests.
    pub(crate) fn submit_now(&self, submission: Submission) -> Result<Task, ApiError> {
        let task = self.store.append_task(submission)?;
        self.bell.ring();
        Ok(task)
    }

    /// The delay that tests asked for, before a task is made.
    pub(crate) async fn delay_submission(&self) {
        pause(self.faults.submit_delay()).await;
    }

    /// The delay that tests asked for, before a search.
    pub(crate) async fn delay_search(&self) {
        pause(self.faults.search_delay()).await;
    }
}

async fn pause(duration: std::time::Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
