//! Bounded fan-out: one request to each node of a cover, within one deadline; the shards of a node
//! that fails go to other replicas at once.

use crate::error::EngineError;
use crate::port::{NodeError, NodeRead};
use crate::refusal::hidden_rule_count;
use crate::state::{IndexEntry, Shared, Snapshot};
use crate::translate::{hide_attributes, renumber_rules, translate_error};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use miroir_core::cover::{CoverPart, CoverPolicy, choose_cover, choose_cover_for};
use miroir_core::health::NodeHealth;
use miroir_core::id::{NodeId, ShardId};
use miroir_core::settings::displayed_attributes;
use std::collections::BTreeSet;
use std::time::Duration;

/// One node's answer, with the part of the cover it answers for.
#[derive(Debug, Clone)]
pub(crate) struct PartAnswer {
    /// What it was asked.
    pub(crate) part: CoverPart,
    /// What it said.
    pub(crate) body: Bytes,
}

/// What is read, for which shards, and how the request for one part is made.
pub(crate) struct Scatter<'a, F> {
    /// The engine's shared state.
    pub(crate) shared: &'a Shared,
    /// The snapshot the whole read works on.
    pub(crate) snapshot: &'a Snapshot,
    /// The index.
    pub(crate) entry: &'a IndexEntry,
    /// The shards wanted; `None` is all.
    pub(crate) shards: Option<&'a [ShardId]>,
    /// A hash of the query without its paging.
    pub(crate) affinity: u64,
    /// Makes the request for a part.
    pub(crate) request: F,
}

impl<F: Fn(&CoverPart) -> NodeRead> Scatter<'_, F> {
    /// The answers of a whole cover, in the order of the nodes' names.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when a node says that the request is wrong;
    /// [`EngineError::Unavailable`] when some shard has no replica that answers in time;
    /// [`EngineError::Busy`] when all that could answer refuse for now.
    pub(crate) async fn gather(&self) -> Result<Vec<PartAnswer>, EngineError> {
        let clock = &self.shared.ports.clock;
        let timeout = self.shared.config.search_timeout;
        let deadline = clock.monotonic() + timeout;
        let mut failed: BTreeSet<NodeId> = BTreeSet::new();
        let mut is_busy = false;
        let mut answers = Vec::new();
        let mut running = FuturesUnordered::new();
        for part in self.cover(self.shards, &failed, is_busy, "no replica is in sync")? {
            running.push(self.ask(part, timeout));
        }
        while let Some((part, result)) = running.next().await {
            let error = match result {
                Ok(body) => {
                    answers.push(PartAnswer { part, body });
                    continue;
                }
                Err(error) if self.is_loss(&error) => {
                    // It was there: the node has lost it. Others have not.
                    self.shared.copy.suspect(&part.node);
                    error
                }
                Err(NodeError::Refused { status, body, .. }) => {
                    let record = &self.entry.record;
                    let mut body = translate_error(body, &record.physical, &record.uid);
                    let hidden = hidden_rule_count(&record.settings, &self.shared.facts());
                    renumber_rules(&mut body, hidden);
                    hide_attributes(&mut body, displayed_attributes(&record.settings).as_deref());
                    return Err(EngineError::Refused { status, body });
                }
                Err(error) => error,
            };
            is_busy |= matches!(error, NodeError::Busy { .. });
            failed.insert(part.node.clone());
            let left = deadline.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return Err(unavailable(part.shards, "the deadline has passed"));
            }
            let cause = error.to_string();
            for part in self.cover(Some(&part.shards), &failed, is_busy, &cause)? {
                running.push(self.ask(part, left));
            }
        }
        answers.sort_by(|a, b| a.part.node.cmp(&b.part.node));
        Ok(answers)
    }

    async fn ask(
        &self,
        part: CoverPart,
        timeout: Duration,
    ) -> (CoverPart, Result<Bytes, NodeError>) {
        let read = (self.request)(&part);
        let started = self.shared.ports.clock.monotonic();
        let result = self
            .shared
            .ports
            .nodes
            .read(&part.node, read, timeout)
            .await;
        self.shared.observe_read(&part.node, &result);
        let elapsed = self.shared.ports.clock.monotonic().saturating_sub(started);
        let is_answered = matches!(result, Ok(_) | Err(NodeError::Refused { .. }));
        let metrics = &self.shared.metrics;
        metrics.note_scatter(&part.node, elapsed, is_answered);
        (part, result)
    }

    /// A node that is in sync does not know the index, and nobody removes it.
    fn is_loss(&self, error: &NodeError) -> bool {
        let physical = &self.entry.record.physical;
        let is_there = || {
            let snapshot = self.shared.snapshot.load();
            let mut indexes = snapshot.indexes.values();
            indexes.any(|entry| entry.record.physical == *physical)
                && !self.shared.removed.lock().contains(physical)
        };
        matches!(error, NodeError::Refused { code, .. } if code == "index_not_found") && is_there()
    }

    fn cover(
        &self,
        shards: Option<&[ShardId]>,
        failed: &BTreeSet<NodeId>,
        is_busy: bool,
        cause: &str,
    ) -> Result<Vec<CoverPart>, EngineError> {
        let is_usable = |node: &NodeId| {
            !failed.contains(node)
                && self
                    .snapshot
                    .nodes
                    .get(node)
                    .is_some_and(crate::state::NodeView::is_readable)
        };
        let load_cost = |node: &NodeId| {
            let health = self.snapshot.nodes.get(node).map(|view| view.health);
            u32::from(health != Some(NodeHealth::Up))
        };
        let zone_of = |node: &NodeId| {
            self.snapshot
                .nodes
                .get(node)
                .and_then(|view| view.record.zone.as_deref())
        };
        let mut policy = CoverPolicy::new(&is_usable, self.affinity);
        policy.load_cost = &load_cost;
        policy.zone_of = &zone_of;
        let placement = &self.entry.placement;
        let cover = match shards {
            None => choose_cover(placement, &policy),
            Some(shards) => choose_cover_for(placement, shards, &policy),
        };
        match cover {
            Ok(cover) => Ok(cover.parts),
            Err(_) if is_busy => Err(EngineError::Busy),
            Err(uncovered) => Err(unavailable(uncovered.0, cause)),
        }
    }
}

fn unavailable(shards: Vec<ShardId>, cause: &str) -> EngineError {
    EngineError::Unavailable {
        shards,
        cause: cause.to_owned(),
    }
}

impl Shared {
    /// Takes in a read's outcome. A success of a node known to be up changes nothing, and is by far
    /// the commonest: it must not take a lock.
    pub(crate) fn observe_read(&self, node: &NodeId, result: &Result<Bytes, NodeError>) {
        let is_up = || {
            self.snapshot
                .load()
                .nodes
                .get(node)
                .is_some_and(|view| view.health == NodeHealth::Up)
        };
        match result {
            Ok(_) if is_up() => {}
            Ok(_) => self.observe(node, Ok(())),
            Err(error) => self.observe(node, Err(error)),
        }
    }
}
