//! The settings of an index, found again after a crash.
//!
//! The stored record has the settings as they are once every change in flight succeeds. Whether the
//! nodes took a change is told by its task, and what it was made upon by its plan: so the settings
//! are counted anew from the last moment at which nothing was in flight.

use super::parse_plan;
use crate::error::EngineError;
use crate::port::{IndexRecord, Store};
use miroir_core::id::BatchUid;
use miroir_core::settings::merge_patch;
use miroir_core::task::{Operation, TaskStatus};
use serde_json::{Map, Value};

/// Changes of settings of one index followed back at most: more than can be in flight at once.
const STEPS_MAX: usize = 256;

/// What became of the settings of an index.
pub(super) struct History {
    /// With the changes that the nodes took.
    pub(super) shown: Map<String, Value>,
    /// With those in flight as well.
    pub(super) planned: Map<String, Value>,
    /// The changes in flight, oldest first.
    pub(super) in_flight: Vec<(BatchUid, Map<String, Value>)>,
}

struct Step {
    batch: BatchUid,
    status: TaskStatus,
    patch: Map<String, Value>,
    before: Map<String, Value>,
}

/// Reads the history of an index's settings as far as it is not settled.
///
/// What was written before plans told of steps, or whose task the client has removed, counts as the
/// record has it.
pub(super) async fn read(store: &dyn Store, record: &IndexRecord) -> Result<History, EngineError> {
    let steps = steps(store, record).await?;
    let first = steps.last().map(|step| &step.before);
    let mut shown = first.unwrap_or(&record.settings).clone();
    let mut planned = shown.clone();
    let mut in_flight = Vec::new();
    for step in steps.into_iter().rev() {
        match step.status {
            TaskStatus::Succeeded => {
                shown = merge_patch(&shown, &step.patch);
                planned = merge_patch(&planned, &step.patch);
            }
            TaskStatus::Failed | TaskStatus::Canceled => {}
            TaskStatus::Enqueued | TaskStatus::Processing => {
                planned = merge_patch(&planned, &step.patch);
                in_flight.push((step.batch, step.patch));
            }
        }
    }
    Ok(History {
        shown,
        planned,
        in_flight,
    })
}

/// The steps back to one that was made upon settled settings, newest first.
async fn steps(store: &dyn Store, record: &IndexRecord) -> Result<Vec<Step>, EngineError> {
    let mut steps = Vec::new();
    let mut next = record.settings_version;
    while let Some(uid) = next.take()
        && steps.len() < STEPS_MAX
    {
        let Some(task) = store.load_task(uid).await? else {
            break;
        };
        let Operation::UpdateSettings {
            settings: Value::Object(patch),
            ..
        } = task.operation
        else {
            break;
        };
        let Some(batch) = task.batch_uid else { break };
        let Some(stored) = store.load_batch(batch).await? else {
            break;
        };
        let Some(step) = parse_plan(&stored)?.settings_step else {
            break;
        };
        if !step.is_settled {
            next = step.follows;
        }
        steps.push(Step {
            batch,
            status: task.status,
            patch,
            before: step.before,
        });
    }
    Ok(steps)
}
