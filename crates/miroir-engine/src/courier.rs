//! Tells webhooks what finished: one courier for each hook, each at its own pace.
//!
//! A courier goes through the batches in the order of their numbers and sends the tasks of each
//! that is done. Where it stands is stored ([`Cursor`]), so a restart goes on from there: each task
//! is sent at least once, and some twice after a crash. Nothing waits in memory: a hook that is away
//! only has a cursor that stands still, and what it missed is read from the log when it returns.
//! Nobody waits for a courier.

use crate::error::EngineError;
use crate::port::{BatchInfo, BatchQuery, Change, HookError, HookRequest, TaskQuery, TaskRecord};
use crate::state::Shared;
use crate::task_view::task_view;
use crate::webhooks::{CONFIGURED, HookKeeper, Webhook};
use miroir_core::backoff::Backoff;
use miroir_core::id::{BatchUid, TaskUid};
use miroir_core::task::TaskFilter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Batches looked at in one go; what is sent again after a crash.
const BATCHES_MAX: usize = 16;
/// Tasks told in one request; more of one batch go in several.
const TASKS_MAX: usize = 1000;
/// The wait for an answer, as in Meilisearch.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// The first wait before a delivery is tried again; it doubles ...
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// ... up to this.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The log is looked at this often even if nobody rang.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How far a hook has been told. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The first batch that was not looked at.
    next: u64,
    /// Batches before it that were not done when they were looked at: at most as many as may be
    /// in flight.
    open: BTreeSet<u64>,
}

impl Cursor {
    /// All that finishes from now on.
    pub(crate) async fn now(shared: &Shared) -> Result<Self, EngineError> {
        // In this order: a batch that is made in between is at or after `next`.
        let last = shared.ports.store.last_batch_uid().await?;
        let next = last.map_or(0, |uid| uid.0 + 1);
        let in_flight = shared.in_flight.lock();
        let open = in_flight.iter().map(|uid| uid.0).filter(|uid| *uid < next);
        Ok(Self {
            next,
            open: open.collect(),
        })
    }

    /// Stores it.
    pub(crate) async fn save(&self, shared: &Shared, hook: Uuid) -> Result<(), EngineError> {
        let value = serde_json::to_value(self)
            .map_err(|error| EngineError::Answer(format!("a cursor cannot be written: {error}")))?;
        let key = fact_of(hook);
        Ok(shared
            .ports
            .store
            .commit(vec![Change::PutFact { key, value }])
            .await?)
    }

    /// As stored; from now on if there is none.
    async fn load(shared: &Shared, hook: Uuid) -> Result<Self, EngineError> {
        let found = shared.ports.store.load_fact(&fact_of(hook)).await?;
        let found = found.and_then(|value| serde_json::from_value(value).ok());
        match found {
            Some(cursor) => Ok(cursor),
            None => {
                let cursor = Self::now(shared).await?;
                cursor.save(shared, hook).await?;
                Ok(cursor)
            }
        }
    }

    /// Forgets where a hook stood.
    pub(crate) async fn forget(shared: &Shared, hook: Uuid) -> Result<(), EngineError> {
        let key = fact_of(hook);
        if shared
            .ports
            .store
            .load_fact(&key)
            .await?
            .is_none_or(|value| value.is_null())
        {
            return Ok(());
        }
        let value = serde_json::Value::Null;
        Ok(shared
            .ports
            .store
            .commit(vec![Change::PutFact { key, value }])
            .await?)
    }

    /// Takes note that a batch was looked at, and sent if it is done.
    fn pass(&mut self, batch: u64, is_done: bool) {
        if is_done {
            self.open.remove(&batch);
        } else if batch >= self.next {
            self.open.insert(batch);
        }
        self.next = self.next.max(batch + 1);
    }
}

fn fact_of(hook: Uuid) -> String {
    format!("webhookCursor/{hook}")
}

/// Keeps a courier under way for each hook until the engine shuts down.
pub(crate) async fn run(shared: Arc<Shared>, keeper: Arc<HookKeeper>, tasks: TaskTracker) {
    let mut changed = keeper.changed.subscribe();
    let mut running: BTreeMap<Uuid, CancellationToken> = BTreeMap::new();
    if !keeper.hooks().contains_key(&CONFIGURED)
        && let Err(error) = Cursor::forget(&shared, CONFIGURED).await
    {
        // A hook configured later would be told what it missed, which it did not ask for.
        tracing::warn!(%error, "the place of the webhook that is configured no more stays");
    }
    loop {
        let hooks = keeper.hooks();
        running.retain(|uuid, stop| {
            let is_there = hooks.contains_key(uuid);
            if !is_there {
                stop.cancel();
            }
            is_there
        });
        for uuid in hooks.keys() {
            if running.contains_key(uuid) {
                continue;
            }
            let stop = shared.shutdown.child_token();
            running.insert(*uuid, stop.clone());
            let courier = Courier {
                hook: *uuid,
                shared: shared.clone(),
                keeper: keeper.clone(),
            };
            // Dropped where it stands: its cursor tells where it was.
            let courier = stop.run_until_cancelled_owned(courier.run());
            tasks.spawn(async move {
                courier.await;
            });
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            outcome = changed.changed() => if outcome.is_err() { return },
        }
    }
}

struct Courier {
    hook: Uuid,
    shared: Arc<Shared>,
    keeper: Arc<HookKeeper>,
}

impl Courier {
    async fn run(self) {
        let mut cursor = loop {
            match Cursor::load(&self.shared, self.hook).await {
                Ok(cursor) => break cursor,
                Err(error) => self.complain(&error).await,
            }
        };
        loop {
            let rung = self.shared.hooks_ring.notified();
            tokio::pin!(rung);
            // Before the log is read: what finishes meanwhile rings.
            rung.as_mut().enable();
            match self.round(&mut cursor).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    self.complain(&error).await;
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = rung => {}
                () = self.shared.ports.clock.sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    async fn complain(&self, error: &EngineError) {
        tracing::warn!(hook = %self.hook, %error, "a webhook's tasks cannot be read; trying again");
        self.shared.ports.clock.sleep(RETRY_FIRST).await;
    }

    /// Looks at some batches and sends what is done; whether there may be more.
    async fn round(&self, cursor: &mut Cursor) -> Result<bool, EngineError> {
        let before = cursor.clone();
        let store = &self.shared.ports.store;
        let open: Vec<u64> = cursor.open.iter().copied().collect();
        let left = store
            .list_batches(BatchQuery {
                limit: open.len(),
                is_reversed: true,
                filter: TaskFilter {
                    batch_uids: Some(open),
                    ..TaskFilter::default()
                },
                ..BatchQuery::default()
            })
            .await?;
        let new = store
            .list_batches(BatchQuery {
                from: Some(BatchUid(cursor.next)),
                limit: BATCHES_MAX,
                is_reversed: true,
                ..BatchQuery::default()
            })
            .await?;
        // What was deleted together with its tasks is not waited for.
        let found: BTreeSet<u64> = left.batches.iter().map(|batch| batch.uid.0).collect();
        cursor.open.retain(|uid| found.contains(uid));
        let has_more = new.batches.len() == BATCHES_MAX;
        for batch in left.batches.into_iter().chain(new.batches) {
            let is_done = batch.finished_at.is_some();
            if is_done {
                self.tell(&batch, cursor).await?;
            }
            cursor.pass(batch.uid.0, is_done);
        }
        if *cursor != before {
            cursor.save(&self.shared, self.hook).await?;
        }
        Ok(has_more)
    }

    /// Sends the tasks of a batch.
    async fn tell(&self, batch: &BatchInfo, cursor: &Cursor) -> Result<(), EngineError> {
        let mut from: Option<TaskUid> = None;
        loop {
            let query = TaskQuery {
                filter: TaskFilter {
                    batch_uids: Some(vec![batch.uid.0]),
                    ..TaskFilter::default()
                },
                from,
                limit: TASKS_MAX,
                is_reversed: true,
            };
            let page = self.shared.ports.store.list_tasks(query).await?;
            if !page.tasks.is_empty() {
                self.send(page.tasks, cursor).await?;
            }
            from = page.next;
            if from.is_none() {
                return Ok(());
            }
        }
    }

    /// Sends tasks until the hook takes or refuses them.
    async fn send(&self, tasks: Vec<TaskRecord>, cursor: &Cursor) -> Result<(), EngineError> {
        let mut body = Vec::new();
        for task in tasks {
            serde_json::to_writer(&mut body, &task_view(task)).map_err(|error| {
                EngineError::Answer(format!("a task cannot be written: {error}"))
            })?;
            body.push(b'\n');
        }
        let body = bytes::Bytes::from(body);
        let backoff = Backoff::new(RETRY_FIRST, RETRY_MAX, 0.0)
            .map_err(|error| EngineError::Answer(error.to_string()))?;
        let mut changed = self.keeper.changed.subscribe();
        let mut attempt = 0;
        loop {
            let Some(hook) = self.keeper.hooks().get(&self.hook).cloned() else {
                return Ok(());
            };
            let request = self.request(&hook, body.clone());
            let outcome = self.shared.ports.hooks.post(request, HOOK_TIMEOUT).await;
            let Some(cause) = self.judge(outcome) else {
                return Ok(());
            };
            attempt += 1;
            if attempt == 1 {
                tracing::warn!(hook = %self.hook, cause, "a webhook does not take its tasks; trying again");
                // What was taken before is not to be sent again after a crash.
                cursor.save(&self.shared, self.hook).await?;
            }
            tokio::select! {
                biased;
                () = self.shared.ports.clock.sleep(backoff.delay(attempt, 0.0)) => {}
                // It may have another address now.
                _ = changed.changed() => {}
            }
        }
    }

    fn request(&self, hook: &Webhook, body: bytes::Bytes) -> HookRequest {
        HookRequest {
            url: hook.url.clone(),
            headers: hook.headers.clone(),
            body,
            is_trusted: self.hook == CONFIGURED,
        }
    }

    /// Why the same is to be sent again; `None` if it is not.
    fn judge(&self, outcome: Result<u16, HookError>) -> Option<String> {
        match outcome {
            Ok(200..=299) => None,
            Ok(status @ (408 | 425 | 429 | 500..)) => Some(format!("it answered {status}")),
            Ok(status) => {
                tracing::warn!(hook = %self.hook, status, "a webhook refused its tasks");
                None
            }
            Err(HookError::Refused(cause)) => {
                tracing::warn!(hook = %self.hook, cause, "a webhook cannot be called");
                None
            }
            Err(HookError::Unreachable(cause)) => Some(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_waits_for_what_is_open_and_passes_the_rest() {
        let mut cursor = Cursor::default();
        cursor.pass(0, true);
        cursor.pass(1, false);
        cursor.pass(4, true);
        assert_eq!((cursor.next, &cursor.open), (5, &BTreeSet::from([1])));
        cursor.pass(1, false);
        assert_eq!((cursor.next, &cursor.open), (5, &BTreeSet::from([1])));
        cursor.pass(1, true);
        assert_eq!((cursor.next, &cursor.open), (5, &BTreeSet::new()));
    }

    #[test]
    fn the_stored_form_of_a_cursor_is_pinned() {
        let cursor = Cursor {
            next: 7,
            open: BTreeSet::from([2, 5]),
        };
        let text = serde_json::to_string(&cursor).expect("a cursor serializes");
        assert_eq!(text, r#"{"next":7,"open":[2,5]}"#);
    }
}
