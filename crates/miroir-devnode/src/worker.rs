//! The one thread that processes tasks.
//!
//! Each batch is: choose, mark as processing, apply to the engine, record the end, clean up. A
//! death between any two of them costs nothing but a repetition: the tasks wait again after the
//! restart, and everything the engine is told may be told twice.

use crate::apply;
use crate::batch::Batch;
use crate::error::ApiError;
use crate::shared::Shared;
use crate::store::{BatchEnd, TaskEnd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How long the worker waits when the queue itself cannot be read or written.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// Processes tasks until the bell says stop.
pub(crate) fn run(shared: &Shared) {
    while !shared.bell.is_stopped() {
        if shared.faults.is_holding_queue() {
            shared.bell.wait();
            continue;
        }
        match shared.store.load_next_batch() {
            Ok(None) => shared.bell.wait(),
            Ok(Some(batch)) => {
                shared.bell.pause(shared.faults.task_delay());
                if shared.bell.is_stopped() {
                    return;
                }
                process(shared, &batch);
            }
            Err(error) => {
                tracing::error!(%error, "the task queue cannot be read");
                shared.bell.pause(TROUBLE_PAUSE);
            }
        }
    }
}

fn process(shared: &Shared, batch: &Batch) {
    let uids = batch.uids();
    let batch_uid = match shared.store.begin_batch(&uids, batch.strategy) {
        Ok(batch_uid) => batch_uid,
        Err(error) => {
            tracing::error!(%error, "a batch cannot be begun");
            shared.bell.pause(TROUBLE_PAUSE);
            return;
        }
    };
    let verdict =
        catch_unwind(AssertUnwindSafe(|| apply::apply(shared, batch))).unwrap_or_else(|panic| {
            let crash = ApiError::new(
                "internal",
                format!(
                    "An unexpected crash occurred when processing the task: {}",
                    panic_text(panic.as_ref())
                ),
            );
            apply::Verdict {
                end: all_failed(batch, &crash),
                ..apply::Verdict::default()
            }
        });
    // The work is done and must be recorded: trying again is the only way on.
    while let Err(error) = shared.store.end_batch(batch_uid, &verdict.end) {
        tracing::error!(%error, "the end of a batch cannot be recorded");
        shared.bell.pause(TROUBLE_PAUSE);
        if shared.bell.is_stopped() {
            return;
        }
    }
    clean_up(shared, batch, &verdict);
}

/// All tasks of the batch failed with one error.
pub(crate) fn all_failed(batch: &Batch, error: &ApiError) -> BatchEnd {
    let tasks = batch.tasks.iter().map(|task| TaskEnd {
        uid: task.uid,
        details: task.work.details(task.index_uid.as_deref(), Some(0)),
        error: Some(error.to_json()),
    });
    BatchEnd {
        tasks: tasks.collect(),
        ..BatchEnd::default()
    }
}

/// Removes what no task needs any more. What stays because of a crash goes at the next start.
fn clean_up(shared: &Shared, batch: &Batch, verdict: &apply::Verdict) {
    let own = batch.tasks.iter().filter_map(|task| task.work.file());
    for file in own.chain(verdict.files.iter().map(String::as_str)) {
        if let Err(error) = std::fs::remove_file(shared.payload_path(file)) {
            tracing::debug!(%error, file, "a payload file stays until the next start");
        }
    }
    for key in &verdict.dropped_keys {
        if let Err(error) = shared.engine.remove_index(key) {
            tracing::warn!(%error, key, "the folder of a removed index stays until the next start");
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown cause".to_owned())
}
