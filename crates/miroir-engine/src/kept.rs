//! Payloads of finished tasks that are kept on purpose, so that an index can be built again as it
//! was at a task (`rewind`): up to an age and a size, oldest dropped first.
//!
//! What a node that is away still needs is not counted and never dropped here.

use crate::error::EngineError;
use crate::port::{Change, KeptPayload, PayloadRef, Store};
use crate::state::Shared;
use miroir_core::id::TaskUid;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How much of the log is kept beyond what nodes need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRetention {
    /// The age of a finished task up to which its payload is kept.
    pub age: Duration,
    /// The size of all payloads kept.
    pub bytes: u64,
}

/// It is looked this often what is too old or too much.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Payloads kept at most, whatever their size: a look goes over all of them.
const KEPT_MAX: usize = 2_000_000;
/// Rows read at a time, and changed.
const PAGE: usize = 1000;

/// Drops what is too old or too much until the engine shuts down. What was kept before retention was
/// switched off is dropped once.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        if shared.rewinds.running() == 0
            && let Err(error) = look(&shared).await
        {
            tracing::warn!(%error, "old payloads cannot be dropped now; trying again");
        } else if shared.config.copy.log.is_none() {
            return;
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = shared.ports.clock.sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// All payloads of final tasks from `first` to `last`, in order.
pub(crate) async fn walk(
    store: &dyn Store,
    first: TaskUid,
    last: TaskUid,
) -> Result<Vec<KeptPayload>, EngineError> {
    let mut after = first.0.checked_sub(1).map(TaskUid);
    let mut kept = Vec::new();
    loop {
        let page = store.load_kept(after, PAGE).await?;
        let is_last_page = page.len() < PAGE;
        after = page.last().map(|payload| payload.task).or(after);
        let is_past = after.is_some_and(|after| after >= last);
        kept.extend(page.into_iter().filter(|payload| payload.task <= last));
        if is_last_page || is_past {
            return Ok(kept);
        }
    }
}

/// The files among them, which are no orphans.
pub(crate) async fn files(store: &dyn Store) -> Result<Vec<PayloadRef>, EngineError> {
    let kept = walk(store, TaskUid(0), TaskUid(u64::MAX)).await?;
    Ok(kept
        .into_iter()
        .filter_map(|payload| payload.file)
        .collect())
}

async fn look(shared: &Shared) -> Result<(), EngineError> {
    let store = &*shared.ports.store;
    // In this order: what ends between the two reads was in a batch at the second.
    let kept = walk(store, TaskUid(0), TaskUid(u64::MAX)).await?;
    let open: BTreeSet<TaskUid> = store
        .load_open_batches()
        .await?
        .into_iter()
        .flat_map(|batch| batch.tasks)
        .collect();
    let mut kept: Vec<KeptPayload> = kept;
    kept.retain(|payload| !open.contains(&payload.task));
    let now = shared.ports.clock.now();
    let retention = shared.config.copy.log.unwrap_or(LogRetention {
        age: Duration::ZERO,
        bytes: 0,
    });
    let mut total: u64 = kept.iter().map(|payload| payload.bytes).sum();
    let mut count = kept.len();
    let (mut dropped, mut left_in_files) = (Vec::new(), 0u64);
    for payload in kept {
        let age = now - payload.finished_at;
        if age > retention.age || total > retention.bytes || count > KEPT_MAX {
            total -= payload.bytes;
            count -= 1;
            dropped.push(payload);
        } else if payload.file.is_some() {
            left_in_files += payload.bytes;
        }
    }
    for part in dropped.chunks(PAGE) {
        let changes = part.iter().map(|kept| Change::ForgetPayload(kept.task));
        shared.noted(store.commit(changes.collect()).await)?;
        let files: Vec<PayloadRef> = part.iter().filter_map(|kept| kept.file.clone()).collect();
        // A crash before this leaves orphans, which the next start sweeps.
        shared.discard(&files).await;
    }
    shared
        .gate
        .kept_bytes
        .store(left_in_files, Ordering::Relaxed);
    Ok(())
}
