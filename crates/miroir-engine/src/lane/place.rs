//! Where a lane stands: what its node has of what it was sent, by the node's own task list, and
//! whether something may still be on its way there.

use super::{Failure, LATE_MAX, Lane, RECONCILE_PAGE, RECONCILE_PAGES_MAX};
use crate::completer::Event;
use crate::port::{NodeError, NodeTask, NodeTaskQuery};
use miroir_core::id::{BatchUid, NodeTaskUid};
use miroir_core::mark;
use std::time::Duration;

/// A request had no answer: it may have been lost, or be on its way still. Nothing is sent before it
/// would have arrived; behind newer requests it would put back what they changed.
pub(super) enum Doubt {
    /// The node has not answered since. The request's key, if it has one.
    Open(Option<String>),
    /// It has, first at this moment.
    AnsweredAt(Duration),
}

impl Lane {
    /// How long a request without an answer may still arrive, once the node has answered again.
    pub(super) fn late_rest(&self) -> Option<Duration> {
        let Some(Doubt::AnsweredAt(at)) = self.doubt else {
            return None;
        };
        let now = self.shared.ports.clock.monotonic();
        Some((at + LATE_MAX).saturating_sub(now)).filter(|rest| !rest.is_zero())
    }

    /// The node has told its tasks. Whether one more request may still arrive behind them.
    pub(super) fn is_in_doubt(&mut self) -> bool {
        let has_arrived = match &self.doubt {
            Some(Doubt::Open(Some(key))) => self.adoptable.contains_key(key),
            Some(Doubt::Open(None)) => false,
            Some(Doubt::AnsweredAt(_)) | None => true,
        };
        let now = self.shared.ports.clock.monotonic();
        self.doubt = (!has_arrived).then_some(Doubt::AnsweredAt(now));
        !has_arrived
    }

    /// Reads the node's task list back to the batches before the first pending one, and keeps the
    /// node tasks that carry our markers.
    pub(super) async fn find_place(&mut self) -> Result<(), Failure> {
        self.adoptable.clear();
        let Some(first) = self.pending.front().copied() else {
            self.has_its_place = true;
            return Ok(());
        };
        let prefix = format!("miroir/{}/", self.shared.cluster);
        let mut from = None;
        // Batches come in order. Where an older one lies above a newer one it was delivered again
        // with care, and the newer one has to be sent once more behind it.
        let mut oldest_above = u64::MAX;
        let mut newest_overtaken = None;
        for _ in 0..RECONCILE_PAGES_MAX {
            let query = NodeTaskQuery {
                uids: Vec::new(),
                from,
                limit: RECONCILE_PAGE,
            };
            let tasks = self.fetch_tasks(query).await?;
            let is_last_page = tasks.len() < RECONCILE_PAGE as usize;
            let mut has_seen_older = false;
            for task in &tasks {
                from = task.uid.0.checked_sub(1).map(NodeTaskUid);
                let Some(rest) = task.marker.as_deref().and_then(|m| m.strip_prefix(&prefix))
                else {
                    continue;
                };
                let batch = rest
                    .split('/')
                    .next()
                    .and_then(|text| text.parse::<u64>().ok());
                let Some(batch) = batch else { continue };
                has_seen_older |= batch < first.0;
                if batch > oldest_above {
                    newest_overtaken = newest_overtaken.max(Some(BatchUid(batch)));
                    continue;
                }
                oldest_above = batch;
                if let Some(marker) = task.marker.as_deref().map(mark::key_of) {
                    // Newest first: of two with one marker the newer counts.
                    let found = (task.uid, task.index.clone());
                    self.adoptable.entry(marker.to_owned()).or_insert(found);
                }
            }
            if is_last_page || has_seen_older || from.is_none() {
                break;
            }
        }
        if let Some(last) = newest_overtaken {
            self.tell_mixed(last);
        }
        self.has_its_place = true;
        Ok(())
    }

    /// Batches up to this one are sent once more over documents that have seen them.
    pub(super) fn tell_mixed(&self, last: BatchUid) {
        let node = self.node.clone();
        self.emit(Event::Mixed { node, last });
    }

    pub(super) async fn fetch_tasks(
        &self,
        query: NodeTaskQuery,
    ) -> Result<Vec<NodeTask>, NodeError> {
        let timeout = self.shared.config.node_timeout;
        let tasks = self
            .shared
            .ports
            .nodes
            .fetch_tasks(&self.node, query, timeout)
            .await;
        if tasks.is_ok() {
            self.shared.observe(&self.node, Ok(()));
        }
        tasks
    }
}
