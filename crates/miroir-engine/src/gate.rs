//! What keeps work out that could not be kept: a store that fails, a log or a payload folder that is
//! full.
//!
//! Laws: nothing is answered that is not durable; after a failed write to the store no client's
//! write is taken before the store has shown that it can write and sync again; reads go on all the
//! while; what was accepted is never dropped.

use crate::error::EngineError;
use crate::port::{PayloadRef, PayloadWriter, StoreError, Timestamp};
use crate::state::Shared;
use async_trait::async_trait;
use bytes::Bytes;
use miroir_core::task::TaskStatus;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A store that failed is tried again this often.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tasks that are not final.
    pub unfinished_tasks_max: u64,
    /// Bytes of payload files.
    pub payload_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unfinished_tasks_max: 1_000_000,
            payload_bytes_max: 20 << 30,
        }
    }
}

/// What is wrong with the store.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) cause: String,
    pub(crate) since: Timestamp,
    is_full: bool,
    /// Only a person can help, and a restart.
    is_lasting: bool,
}

/// A count that is never below the truth; it is counted anew when it reaches its limit.
#[derive(Debug, Default)]
struct Budget {
    state: Mutex<Counted>,
    recount: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Counted {
    /// What was counted last and what was taken since, with what is being taken.
    total: u64,
    /// What is being taken, and cannot be counted yet.
    pending: u64,
    is_known: bool,
}

impl Budget {
    /// Takes `amount`, if no more than `max` are taken then.
    fn take(&self, amount: u64, max: u64) -> bool {
        let mut state = self.state.lock();
        if !state.is_known || state.total.saturating_add(amount) > max {
            return false;
        }
        state.total += amount;
        state.pending += amount;
        true
    }

    /// What was taken can be counted now, or is given up and will not be.
    fn settle(&self, amount: u64) {
        let mut state = self.state.lock();
        state.pending = state.pending.saturating_sub(amount);
    }

    fn recounted(&self, counted: u64, pending_before: u64) {
        let mut state = self.state.lock();
        state.total = counted.saturating_add(pending_before.max(state.pending));
        state.is_known = true;
    }
}

/// The gate. One for each engine.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    fault: Mutex<Option<Fault>>,
    failed: Notify,
    tasks: Budget,
    payload_bytes: Budget,
    /// Bytes of payload files that are kept on purpose, and wait for nobody.
    pub(crate) kept_bytes: AtomicU64,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            fault: Mutex::default(),
            failed: Notify::new(),
            tasks: Budget::default(),
            payload_bytes: Budget::default(),
            kept_bytes: AtomicU64::new(0),
        }
    }

    /// What is wrong with the store, if anything is.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.lock().clone()
    }

    /// Lets a client's write pass, unless the store is known to fail.
    pub(crate) fn pass(&self) -> Result<(), EngineError> {
        match &*self.fault.lock() {
            None => Ok(()),
            Some(fault) if fault.is_full => {
                Err(EngineError::Store(StoreError::NoSpace(fault.cause.clone())))
            }
            Some(fault) => Err(EngineError::ReadOnly(fault.cause.clone())),
        }
    }

    /// Takes in that a write to the store failed.
    pub(crate) fn note(&self, error: &StoreError, now: Timestamp) {
        let (is_full, is_lasting) = match error {
            StoreError::NoSpace(_) => (true, false),
            StoreError::Io(_) => (false, false),
            StoreError::Corrupt {
                what: "database", ..
            } => (false, true),
            // The change itself is at fault, or one stored value.
            _ => return,
        };
        let mut fault = self.fault.lock();
        if fault.as_ref().is_some_and(|fault| fault.is_lasting) {
            return;
        }
        let since = fault.as_ref().map_or(now, |fault| fault.since);
        if fault.is_none() {
            tracing::error!(%error, "the store cannot be written; writes are refused, reads go on");
        }
        *fault = Some(Fault {
            cause: error.to_string(),
            since,
            is_full,
            is_lasting,
        });
        drop(fault);
        self.failed.notify_one();
    }

    fn heal(&self) {
        if self.fault.lock().take().is_some() {
            tracing::info!("the store can be written again; writes are taken");
        }
    }
}

/// Tries a store that failed until it writes and syncs again; runs until the engine shuts down.
pub(crate) async fn watch(shared: Arc<Shared>) {
    loop {
        match shared.gate.fault() {
            Some(fault) if !fault.is_lasting => {
                tokio::select! {
                    biased;
                    () = shared.shutdown.cancelled() => return,
                    () = shared.ports.clock.sleep(CHECK_INTERVAL) => {}
                }
                let ports = &shared.ports;
                match futures::try_join!(ports.store.check(), ports.payloads.check()) {
                    Ok(_) => shared.gate.heal(),
                    Err(error) => shared.gate.note(&error, ports.clock.now()),
                }
            }
            _ => {
                tokio::select! {
                    biased;
                    () = shared.shutdown.cancelled() => return,
                    () = shared.gate.failed.notified() => {}
                }
            }
        }
    }
}

impl Shared {
    /// Passes a store's answer on, and closes the gate if the store failed.
    pub(crate) fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.gate.note(error, self.ports.clock.now());
        }
        result
    }

    /// A place for one more unfinished task.
    pub(crate) async fn admit_task(&self) -> Result<TaskPlace<'_>, EngineError> {
        let gate = &self.gate;
        let max = gate.limits.unfinished_tasks_max;
        if !gate.tasks.take(1, max) {
            let _turn = gate.tasks.recount.lock().await;
            if !gate.tasks.take(1, max) {
                let pending = gate.tasks.state.lock().pending;
                let counts = self.ports.store.count_tasks().await?;
                let unfinished = counts
                    .iter()
                    .filter(|(status, _)| !TaskStatus::is_final(**status));
                gate.tasks
                    .recounted(unfinished.map(|(_, count)| count).sum(), pending);
                if !gate.tasks.take(1, max) {
                    return Err(EngineError::LogFull);
                }
            }
        }
        Ok(TaskPlace { gate })
    }

    /// Room for more bytes of payload files.
    async fn admit_bytes(&self, amount: u64) -> Result<(), EngineError> {
        let budget = &self.gate.payload_bytes;
        let max = self.gate.limits.payload_bytes_max;
        if budget.take(amount, max) {
            return Ok(());
        }
        let _turn = budget.recount.lock().await;
        if budget.take(amount, max) {
            return Ok(());
        }
        let pending = budget.state.lock().pending;
        let files = self.ports.payloads.list().await?;
        let stored = files.iter().map(|PayloadRef::File { bytes, .. }| *bytes);
        let kept = self.gate.kept_bytes.load(Ordering::Relaxed);
        budget.recounted(stored.sum::<u64>().saturating_sub(kept), pending);
        if budget.take(amount, max) {
            return Ok(());
        }
        Err(EngineError::Store(StoreError::NoSpace(format!(
            "the payloads that wait take all of the {max} bytes they may"
        ))))
    }
}

/// A task being appended.
pub(crate) struct TaskPlace<'a> {
    gate: &'a Gate,
}

impl Drop for TaskPlace<'_> {
    fn drop(&mut self) {
        self.gate.tasks.settle(1);
    }
}

/// A client's payload file being written: bounded, and watched for faults.
pub(crate) struct BoundedWriter {
    shared: Arc<Shared>,
    /// `None` once finished.
    inner: Option<Box<dyn PayloadWriter>>,
    taken: u64,
}

impl BoundedWriter {
    pub(crate) async fn create(shared: Arc<Shared>) -> Result<Self, EngineError> {
        shared.gate.pass()?;
        let inner = shared.noted(shared.ports.payloads.create().await)?;
        Ok(Self {
            shared,
            inner: Some(inner),
            taken: 0,
        })
    }
}

#[async_trait]
impl PayloadWriter for BoundedWriter {
    async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let amount = bytes.len() as u64;
        match self.shared.admit_bytes(amount).await {
            Ok(()) => self.taken += amount,
            Err(EngineError::Store(error)) => return Err(error),
            Err(error) => return Err(StoreError::Io(error.to_string())),
        }
        let Some(inner) = &mut self.inner else {
            return Err(StoreError::Io("the payload is finished".into()));
        };
        let result = inner.append(bytes).await;
        self.shared.noted(result)
    }

    async fn finish(mut self: Box<Self>) -> Result<PayloadRef, StoreError> {
        let Some(inner) = self.inner.take() else {
            return Err(StoreError::Io("the payload is finished".into()));
        };
        self.shared.step("payload.syncing").await;
        let result = inner.finish().await;
        self.shared.noted(result)
    }
}

impl Drop for BoundedWriter {
    fn drop(&mut self) {
        self.shared.gate.payload_bytes.settle(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_below_what_is_taken() {
        let budget = Budget::default();
        assert!(!budget.take(1, 10), "nothing was counted yet");
        budget.recounted(4, 0);
        assert!(budget.take(6, 10));
        assert!(!budget.take(1, 10));
        budget.recounted(4, 6);
        assert!(
            !budget.take(1, 10),
            "what is being written is not forgotten"
        );
        budget.settle(6);
        budget.recounted(4, 0);
        assert!(budget.take(6, 10));
    }
}
