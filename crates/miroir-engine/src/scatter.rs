//! Bounded fan-out: one request to each node of a cover, within one deadline. The shards of a node
//! that fails go to other replicas at once; those of one that is silent for longer than usual are
//! asked of others too, and whoever is first with all of them is heard.
//!
//! An answer counts for the part it was asked for or not at all: of a part and its second asking one
//! is taken and the other dropped, so no shard is counted twice.

use crate::copy::pace::ToilMark;
use crate::error::EngineError;
use crate::partial::whole;
use crate::port::{NodeError, NodeRead};
use crate::reads::{ReadKind, Standing};
use crate::refusal::hidden_rule_count;
use crate::state::{IndexEntry, Shared, Snapshot};
use crate::translate::{hide_attributes, hide_distinct, renumber_rules, translate_error};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use miroir_core::cover::{BestCover, CoverPart, CoverPolicy, choose_cover_sparing};
use miroir_core::health::NodeHealth;
use miroir_core::id::{NodeId, ShardId};
use miroir_core::settings::{displayed_attributes, distinct_attribute};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// A node that has said nothing at all for this part of the time left is not waited for alone, even
/// if no second request is left in the budget.
const SILENCE_SHARE: u32 = 3;
/// What a node says of an index that it does not have.
const INDEX_NOT_FOUND: &str = "index_not_found";
/// A failure after so short a time says nothing of the node's health.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// One node's answer, with the part of the cover it answers for.
#[derive(Debug, Clone)]
pub(crate) struct PartAnswer {
    /// What it was asked.
    pub(crate) part: CoverPart,
    /// What it said.
    pub(crate) body: Bytes,
}

/// What a cover answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gathered {
    /// In the order of the nodes' names.
    pub(crate) answers: Vec<PartAnswer>,
    /// The shards nobody answered for, ascending.
    pub(crate) missing: Vec<ShardId>,
}

impl Gathered {
    fn add(&mut self, more: Self) {
        self.answers.extend(more.answers);
        self.missing.extend(more.missing);
    }
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
    /// What kind of read it is.
    pub(crate) kind: ReadKind,
    /// Makes the request for a part.
    pub(crate) request: F,
}

impl<F: Fn(&CoverPart) -> NodeRead + Sync> Scatter<'_, F> {
    /// The answers of a whole cover, in the order of the nodes' names.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when a node says that the request is wrong;
    /// [`EngineError::Unavailable`] when some shard has no replica that answers in time;
    /// [`EngineError::Busy`] when all that could answer refuse for now.
    pub(crate) async fn gather(&self) -> Result<Vec<PartAnswer>, EngineError> {
        Ok(self.gather_as(false).await?.answers)
    }

    /// The same; if `is_partial`, without the shards that cannot be reached, as long as one can be.
    ///
    /// # Errors
    /// As [`Scatter::gather`].
    pub(crate) async fn gather_as(&self, is_partial: bool) -> Result<Gathered, EngineError> {
        let shared = self.shared;
        let all: Vec<ShardId>;
        let shards = match self.shards {
            Some(shards) => shards,
            None => {
                all = self.entry.placement.shards().collect();
                &all
            }
        };
        let now = shared.ports.clock.monotonic();
        let toil = shared.toil.mark();
        let standing = shared.reads.standing(
            self.entry.placement.nodes(),
            self.snapshot,
            self.kind,
            self.affinity,
            now,
            &shared.config.reads,
        );
        let round = Round {
            scatter: self,
            // Who is tried out is asked with the second request paid already.
            prepaid: AtomicBool::new(standing.has_tried() && shared.take_hedge()),
            standing,
            deadline: now + shared.config.search_timeout,
            is_partial,
            failed: Mutex::default(),
            is_busy: AtomicBool::new(false),
        };
        let gathered = round
            .elsewhere(shards, Vec::new(), "no replica is in sync")
            .await;
        if round.prepaid.load(Relaxed) {
            shared.reads.return_hedge();
        }
        let mut gathered = gathered?;
        gathered.missing.sort_unstable();
        if gathered.answers.is_empty() && !gathered.missing.is_empty() {
            return Err(round.lost(gathered.missing, "no replica of any shard answers"));
        }
        let node_of = |answer: &PartAnswer| answer.part.node.clone();
        gathered.answers.sort_by_cached_key(node_of);
        if self.kind == ReadKind::Search {
            self.note_search(&gathered, now, toil);
        }
        Ok(gathered)
    }

    /// What a search took as a whole is what its client feels of any of its nodes.
    fn note_search(&self, gathered: &Gathered, started: Duration, toil: ToilMark) {
        let now = self.shared.ports.clock.monotonic();
        let elapsed = now.saturating_sub(started);
        let is_quiet = self.shared.toil.is_quiet_since(toil);
        for answer in &gathered.answers {
            let node = self.shared.reads.node(&answer.part.node);
            node.searched(elapsed, now, is_quiet);
        }
    }
}

/// One gathering.
struct Round<'r, 'a, F> {
    scatter: &'r Scatter<'a, F>,
    standing: Standing,
    deadline: Duration,
    is_partial: bool,
    /// Nodes that failed in this gathering.
    failed: Mutex<BTreeSet<NodeId>>,
    is_busy: AtomicBool,
    prepaid: AtomicBool,
}

impl<F: Fn(&CoverPart) -> NodeRead + Sync> Round<'_, '_, F> {
    fn now(&self) -> Duration {
        self.scatter.shared.ports.clock.monotonic()
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.now())
    }

    /// Asks a cover of these shards out of the nodes that have not failed and are not `without`.
    fn elsewhere<'f>(
        &'f self,
        shards: &[ShardId],
        without: Vec<NodeId>,
        cause: &str,
    ) -> BoxFuture<'f, Result<Gathered, EngineError>> {
        let best = self.cover(shards, &without);
        if !best.missing.is_empty() && !self.is_partial {
            let error = self.lost(best.missing, cause);
            return Box::pin(std::future::ready(Err(error)));
        }
        let missing = best.missing;
        Box::pin(async move {
            let mut gathered = self.all(best.cover.parts, without).await?;
            gathered.missing.extend(missing);
            Ok(gathered)
        })
    }

    fn all(
        &self,
        parts: Vec<CoverPart>,
        without: Vec<NodeId>,
    ) -> BoxFuture<'_, Result<Gathered, EngineError>> {
        Box::pin(async move {
            let mut running: FuturesUnordered<_> = parts
                .into_iter()
                .map(|part| self.settle(part, without.clone()))
                .collect();
            let mut gathered = Gathered::default();
            while let Some(settled) = running.next().await {
                gathered.add(settled?);
            }
            Ok(gathered)
        })
    }

    /// Whatever it takes to have a part answered.
    async fn settle(
        &self,
        part: CoverPart,
        mut without: Vec<NodeId>,
    ) -> Result<Gathered, EngineError> {
        let shared = self.scatter.shared;
        let started = self.now();
        let read = (self.scatter.request)(&part);
        shared.reads.fill_budget(shared.config.reads.hedge_milli);
        let left = self.left();
        let mut first = Box::pin(self.ask(part.node.clone(), read, left));
        let silence = left / SILENCE_SHARE;
        let usual = self.standing.usual(&part.node);
        let mut wait = usual.max(shared.config.reads.hedge_after_min).min(silence);
        let parts = loop {
            tokio::select! {
                biased;
                result = &mut first => return self.conclude(part, result, without).await,
                () = shared.ports.clock.sleep(wait) => {}
            }
            let waited = self.now().saturating_sub(started);
            let mut others = without.clone();
            others.push(part.node.clone());
            let best = self.cover(&part.shards, &others);
            if !best.missing.is_empty() {
                let result = first.await;
                return self.conclude(part, result, without).await;
            }
            // Its last sign of life counts if it came during this request, and not long ago.
            let lately = started.max(self.now().saturating_sub(silence));
            if self.may_ask_twice(&part.node, lately, waited >= silence) {
                without = others;
                break best.cover.parts;
            }
            wait = match silence.saturating_sub(waited) {
                Duration::ZERO => waited,
                left => waited.min(left),
            }
            .max(Duration::from_millis(1));
        };
        let node = shared.reads.node(&part.node);
        node.note_hedged();
        shared.metrics.note_hedge(&part.node, false);
        let mut second = self.all(parts, without.clone());
        let answered = tokio::select! {
            biased;
            result = &mut first => match result {
                Ok(_) | Err(NodeError::Refused { .. }) => {
                    return self.conclude(part, result, without).await;
                }
                Err(error) => {
                    self.note_failure(&part.node, &error);
                    return second.await;
                }
            },
            answered = &mut second => answered,
        };
        match answered {
            Ok(gathered) if gathered.missing.is_empty() => {
                node.overtaken(self.scatter.kind, started, self.now());
                shared.metrics.note_hedge(&part.node, true);
                Ok(gathered)
            }
            Err(error @ EngineError::Refused { .. }) => Err(error),
            lesser => match first.await {
                result @ (Ok(_) | Err(NodeError::Refused { .. })) => {
                    self.conclude(part, result, without).await
                }
                Err(error) => {
                    self.note_failure(&part.node, &error);
                    lesser
                }
            },
        }
    }

    /// What follows from a node's word on its part.
    async fn conclude(
        &self,
        part: CoverPart,
        result: Result<Bytes, NodeError>,
        without: Vec<NodeId>,
    ) -> Result<Gathered, EngineError> {
        let error = match result {
            Ok(body) => {
                return Ok(Gathered {
                    answers: vec![PartAnswer { part, body }],
                    missing: Vec::new(),
                });
            }
            Err(error) if self.is_loss(&error) => {
                // It was there: the node has lost it. Others have not.
                self.scatter.shared.copy.suspect(&part.node);
                error
            }
            Err(NodeError::Refused {
                status, body, code, ..
            }) => {
                let shared = self.scatter.shared;
                let record = &self.scatter.entry.record;
                if code == INDEX_NOT_FOUND {
                    // It was removed; its name may be another's by now.
                    return Err(EngineError::IndexNotFound(record.uid.clone()));
                }
                let mut body = translate_error(body, &record.physical, &record.uid);
                let hidden = hidden_rule_count(&record.settings, &shared.facts());
                renumber_rules(&mut body, hidden);
                hide_distinct(&mut body, distinct_attribute(&record.settings));
                hide_attributes(&mut body, displayed_attributes(&record.settings).as_deref());
                return Err(EngineError::Refused { status, body });
            }
            Err(error) => error,
        };
        self.note_failure(&part.node, &error);
        if !self.left().is_zero() {
            let cause = error.to_string();
            return self.elsewhere(&part.shards, without, &cause).await;
        }
        if self.is_partial {
            return Ok(Gathered {
                answers: Vec::new(),
                missing: part.shards,
            });
        }
        Err(self.lost(part.shards, "the deadline has passed"))
    }

    fn note_failure(&self, node: &NodeId, error: &NodeError) {
        let is_busy = matches!(error, NodeError::Busy { .. });
        self.is_busy.fetch_or(is_busy, Relaxed);
        self.failed.lock().insert(node.clone());
    }

    /// Whether a silent node's part is asked of others now.
    fn may_ask_twice(&self, node: &NodeId, lately: Duration, is_long: bool) -> bool {
        let board = &self.scatter.shared.reads;
        if self.standing.is_tried(node) && self.prepaid.swap(false, Relaxed) {
            return true;
        }
        // A node that answers others meanwhile is slow, not silent: asking everything twice would
        // double what makes it slow.
        self.scatter.shared.take_hedge()
            || (is_long && !board.node(node).has_answered_after(lately))
    }

    async fn ask(
        &self,
        node: NodeId,
        read: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        let shared = self.scatter.shared;
        let reads = shared.reads.node(&node);
        let started = self.now();
        let flight = reads.depart(started);
        let result = shared.ports.nodes.read(&node, read, timeout).await;
        drop(flight);
        let result = result.and_then(|body| whole(&node, body));
        let elapsed = self.now().saturating_sub(started);
        let is_answered = matches!(result, Ok(_) | Err(NodeError::Refused { .. }));
        shared.metrics.note_scatter(&node, elapsed, is_answered);
        let is_impatience = matches!(result, Err(NodeError::UnknownOutcome { .. }))
            && elapsed >= timeout
            && timeout < IMPATIENCE;
        if !is_impatience {
            shared.observe_read(&node, &result);
            reads.arrive(self.scatter.kind, started, self.now(), &result);
        }
        match result {
            Err(error) if self.is_loss(&error) => {
                // It was there: the node has lost it. Others have not.
                shared.copy.suspect(&node);
                Err(NodeError::Failed {
                    node,
                    status: 404,
                    cause: "it has lost the index".to_owned(),
                })
            }
            result => result,
        }
    }

    /// A node that is in sync does not know the index, and nobody removes it.
    fn is_loss(&self, error: &NodeError) -> bool {
        let shared = self.scatter.shared;
        let physical = &self.scatter.entry.record.physical;
        let is_there = || {
            let snapshot = shared.snapshot.load();
            let mut indexes = snapshot.indexes.values();
            indexes.any(|entry| entry.record.physical == *physical)
                && !shared.removed.lock().contains(physical)
        };
        matches!(error, NodeError::Refused { code, .. } if code == INDEX_NOT_FOUND) && is_there()
    }

    fn cover(&self, shards: &[ShardId], without: &[NodeId]) -> BestCover {
        let failed = self.failed.lock().clone();
        let standing = &self.standing;
        let is_usable = |node: &NodeId| {
            standing.is_readable(node) && !failed.contains(node) && !without.contains(node)
        };
        let load_cost = |node: &NodeId| standing.cost(node);
        let zone_of = |node: &NodeId| {
            let view = self.scatter.snapshot.nodes.get(node);
            view.and_then(|view| view.record.zone.as_deref())
        };
        let mut policy = CoverPolicy::new(&is_usable, self.scatter.affinity);
        policy.load_cost = &load_cost;
        policy.zone_of = &zone_of;
        let placement = &self.scatter.entry.placement;
        choose_cover_sparing(placement, shards, &policy, &|node| standing.is_spared(node))
    }

    fn lost(&self, shards: Vec<ShardId>, cause: &str) -> EngineError {
        if self.is_busy.load(Relaxed) {
            return EngineError::Busy;
        }
        EngineError::Unavailable {
            shards,
            cause: cause.to_owned(),
        }
    }
}

impl Shared {
    fn take_hedge(&self) -> bool {
        self.config.reads.hedge_milli > 0 && self.reads.take_hedge()
    }

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
