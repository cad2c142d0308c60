//! The store and the payloads as the engine meets them: they stall, fail, and may be the last thing
//! the proxy touches before it is killed.

use crate::dice::Dice;
use crate::history::{History, Read, Seen, Target};
use crate::node::Fleet;
use crate::sabotage::Sabotage;
use crate::store::Door;
use crate::time::{CrashPoint, SimTime};
use async_trait::async_trait;
use bytes::Bytes;
use miroir_core::id::TaskUid;
use miroir_engine::port::{
    BatchRecord, Change, NewEntry, PayloadRef, PayloadStore, PayloadWriter, StoreError,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// What is wrong with the disk.
#[derive(Debug, Clone, Default)]
struct Trouble {
    stalls_until: Duration,
    fails_until: Duration,
    percent: u64,
    is_full_until: Duration,
}

/// The disk below the store and the payloads.
pub struct Disk {
    time: Arc<SimTime>,
    crash: Arc<CrashPoint>,
    history: Arc<History>,
    fleet: Arc<Fleet>,
    sabotage: Option<Sabotage>,
    dice: Mutex<Dice>,
    trouble: Mutex<Trouble>,
}

impl Disk {
    /// A disk that is well.
    #[must_use]
    pub fn new(
        time: Arc<SimTime>,
        crash: Arc<CrashPoint>,
        history: Arc<History>,
        fleet: Arc<Fleet>,
        sabotage: Option<Sabotage>,
        dice: Dice,
    ) -> Self {
        Self {
            time,
            crash,
            history,
            fleet,
            sabotage,
            dice: Mutex::new(dice),
            trouble: Mutex::default(),
        }
    }

    /// Nothing comes back for so long.
    pub fn stall(&self, duration: Duration) {
        self.trouble.lock().stalls_until = self.time.now() + duration;
    }

    /// For so long calls fail in so many of a hundred cases.
    pub fn fail(&self, duration: Duration, percent: u64) {
        let mut trouble = self.trouble.lock();
        trouble.fails_until = self.time.now() + duration;
        trouble.percent = percent;
    }

    /// For so long it has no room.
    pub fn fill(&self, duration: Duration) {
        self.trouble.lock().is_full_until = self.time.now() + duration;
    }

    /// All is well.
    pub fn heal(&self) {
        *self.trouble.lock() = Trouble::default();
    }

    /// It is well.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let trouble = self.trouble.lock();
        let ends = [
            trouble.stalls_until,
            trouble.fails_until,
            trouble.is_full_until,
        ];
        ends.into_iter().all(|end| end <= self.time.now())
    }

    async fn touch(&self, is_writing: bool) -> Result<(), StoreError> {
        self.crash.cross().await;
        let trouble = self.trouble.lock().clone();
        let stall = trouble.stalls_until.saturating_sub(self.time.now());
        if !stall.is_zero() {
            tokio::time::sleep(stall).await;
        }
        if self.time.now() < trouble.fails_until && self.dice.lock().chance(trouble.percent) {
            return Err(StoreError::Io("the disk fails".into()));
        }
        if is_writing && self.time.now() < trouble.is_full_until {
            return Err(StoreError::NoSpace("the disk is full".into()));
        }
        Ok(())
    }

    /// Notes what every replica holds that is in sync as the store tells it.
    fn look_at_replicas(&self) {
        let now = self.time.now();
        let (ended, appended) = self.history.position();
        let mut events = self.history.events.lock();
        let in_sync: Vec<_> = events
            .in_sync
            .iter()
            .filter(|(node, is_in_sync)| **is_in_sync && !events.damaged.contains(*node))
            .map(|(node, _)| node.clone())
            .collect();
        for node in in_sync {
            let indexes = self.fleet.on(node.as_str(), |node| node.indexes.clone());
            let placed: Vec<_> = events
                .placements
                .iter()
                // What becomes of a write in a twin, nobody waits for.
                .filter(|(index, _)| !events.twins.contains(*index))
                .filter(|(_, sets)| sets.iter().flatten().any(|other| *other == node))
                .map(|(index, sets)| (index.clone(), sets.clone()))
                .collect();
            for (physical, sets) in placed {
                let seen = match indexes.get(&physical) {
                    Some(index) => {
                        let mut documents = index.documents.clone();
                        for document in documents.values_mut() {
                            document.retain(|field, _| !field.starts_with("_miroir_"));
                        }
                        Seen::Whole(None, documents)
                    }
                    None => Seen::NoIndex,
                };
                events.reads.push(Read {
                    at: now,
                    target: Target::Replica(node.clone(), physical, sets),
                    ended,
                    appended,
                    seen,
                    is_calm: false,
                });
            }
        }
    }
}

#[async_trait]
impl Door for Disk {
    async fn enter(&self, call: &'static str) -> Result<(), StoreError> {
        let is_writing = matches!(call, "append" | "commit" | "check");
        self.touch(is_writing).await
    }

    async fn leave(&self, _call: &'static str) {
        self.crash.cross().await;
    }

    fn to_commit(&self, changes: Vec<Change>) -> Vec<Change> {
        match self.sabotage {
            Some(sabotage) => sabotage.on_commit(changes, &mut self.dice.lock()),
            None => changes,
        }
    }

    fn committed(&self, changes: &[Change]) {
        let has_ended = self.history.committed(changes);
        self.history.note(self.time.now(), || brief(changes));
        if has_ended {
            self.look_at_replicas();
        }
    }

    fn appended(&self, entries: &[NewEntry], uids: &[TaskUid]) {
        self.history.appended(entries, uids);
    }

    fn open_batches(&self, batches: Vec<BatchRecord>) -> Vec<BatchRecord> {
        match self.sabotage {
            Some(sabotage) => sabotage.on_open_batches(batches),
            None => batches,
        }
    }
}

fn brief(changes: &[Change]) -> String {
    let texts: Vec<String> = changes
        .iter()
        .map(|change| match change {
            Change::UpdateTask(task) => format!("task {} {}", task.uid, task.status.as_str()),
            Change::PutBatch(batch) => format!("batch {} of {:?}", batch.uid, batch.tasks),
            Change::PutDelivery {
                batch,
                node,
                delivery,
            } => format!(
                "delivery {batch} {node} sent {} applied {}",
                delivery.is_sent, delivery.is_applied
            ),
            Change::PutNode(node) => format!("node {} in sync {}", node.id, node.is_in_sync),
            other => {
                let text = format!("{other:?}");
                text.chars().take_while(|c| c.is_alphanumeric()).collect()
            }
        })
        .collect();
    format!("commit: {}", texts.join(", "))
}

/// Payloads on that disk.
pub(crate) struct SimPayloads {
    pub(crate) inner: Arc<dyn PayloadStore>,
    pub(crate) disk: Arc<Disk>,
}

struct SimWriter {
    inner: Box<dyn PayloadWriter>,
    disk: Arc<Disk>,
}

#[async_trait]
impl PayloadWriter for SimWriter {
    async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.disk.touch(true).await?;
        self.inner.append(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<PayloadRef, StoreError> {
        self.disk.touch(true).await?;
        let payload = self.inner.finish().await?;
        self.disk.crash.cross().await;
        Ok(payload)
    }
}

#[async_trait]
impl PayloadStore for SimPayloads {
    async fn create(&self) -> Result<Box<dyn PayloadWriter>, StoreError> {
        self.disk.touch(true).await?;
        Ok(Box::new(SimWriter {
            inner: self.inner.create().await?,
            disk: self.disk.clone(),
        }))
    }

    async fn read_at(
        &self,
        payload: &PayloadRef,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, StoreError> {
        self.disk.touch(false).await?;
        self.inner.read_at(payload, offset, len).await
    }

    async fn remove(&self, payloads: &[PayloadRef]) -> Result<(), StoreError> {
        self.disk.touch(false).await?;
        if self.disk.sabotage == Some(Sabotage::KeepPayloads) {
            return Ok(());
        }
        self.inner.remove(payloads).await?;
        self.disk.crash.cross().await;
        Ok(())
    }

    async fn list(&self) -> Result<Vec<PayloadRef>, StoreError> {
        self.disk.touch(false).await?;
        if self.disk.sabotage == Some(Sabotage::KeepPayloads) {
            return Ok(Vec::new());
        }
        self.inner.list().await
    }
}
