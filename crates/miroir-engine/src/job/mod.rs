//! Jobs: tasks that the engine itself carries out and not the nodes. Dumps, snapshots and exports.
//!
//! A job is an entry of the log like any other, and a **barrier** in it: the dispatcher begins it
//! when everything before it is done, and begins nothing after it until it has ended. So a job reads
//! every index at one position of the log, without a transaction over nodes, and all replicas in
//! sync are equal as long as it runs. One Meilisearch does nothing else either while it dumps.
//!
//! A job keeps nothing that must survive: after a crash it is begun again from its start, under the
//! batch and the date it had. It is dropped where it stands when it is canceled.

mod documents;
mod dump;
mod export;
mod patience;
pub mod port;
mod settings;
pub(crate) mod snapshot;

pub(crate) use dump::{INSTANCE_FACT, instance_uid, uid_of};

use crate::error::EngineError;
use crate::port::{NodeError, StoreError, TaskRecord};
use crate::prepare::error_value;
use crate::state::Shared;
use miroir_core::task::Operation;
use serde_json::Value;

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    /// What its task shows.
    pub(crate) details: Value,
    /// Why it failed.
    pub(crate) error: Option<Value>,
}

/// Carries out the job of a task that is `Processing`.
///
/// # Errors
/// [`EngineError::ShuttingDown`]: it is begun again at the next start.
pub(crate) async fn run(shared: &Shared, task: &TaskRecord) -> Result<Ended, EngineError> {
    let result = match &task.operation {
        Operation::CreateDump => dump::run(shared, task).await,
        Operation::CreateSnapshot => snapshot::run(shared, task).await,
        Operation::Export {
            url,
            api_key,
            payload_size,
            indexes,
        } => {
            let target = export::Target {
                url,
                api_key: api_key.as_deref(),
                payload_size: *payload_size,
            };
            export::run(shared, &task.details, target, indexes).await
        }
        _ => Err(Failure::Engine(EngineError::Answer(format!(
            "task {} is no job",
            task.uid
        )))),
    };
    let error = match result {
        Ok(details) => {
            return Ok(Ended {
                details,
                error: None,
            });
        }
        Err(Failure::Engine(EngineError::ShuttingDown)) => return Err(EngineError::ShuttingDown),
        Err(Failure::Engine(error)) => error_of(&error),
        Err(Failure::Client(error)) => error,
    };
    tracing::warn!(task = %task.uid, %error, "a job failed");
    Ok(Ended {
        details: task.details.clone(),
        error: Some(error),
    })
}

/// Why a job cannot go on.
#[derive(Debug)]
enum Failure {
    /// A part of Miroir or a node failed.
    Engine(EngineError),
    /// An error object, ready to be shown.
    Client(Value),
}

impl<E: Into<EngineError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}

/// The error object of a failed job.
fn error_of(error: &EngineError) -> Value {
    match error {
        EngineError::Refused { body, .. } => body.clone(),
        EngineError::Store(StoreError::NoSpace(_)) => error_value(
            "no_space_left_on_device",
            "There is no more space left on the device. Consider increasing the size of the \
             disk/partition.",
        ),
        EngineError::Unavailable { shards, cause } => error_value(
            "remote_could_not_send_request",
            format!(
                "{} of an index's shards cannot be reached: {cause}",
                shards.len()
            ),
        ),
        EngineError::Busy => error_value(
            "too_many_search_requests",
            "The nodes have too many requests running at the same time.",
        ),
        EngineError::Node(NodeError::Refused { body, .. }) => body.clone(),
        error => error_value("internal", error.to_string()),
    }
}
