//! Compares an index with its twin: whole, in two passes, as replicas are ([`crate::copy::audit`]).
//!
//! The first pass reads both at leisure, as digests in buckets of ids over the whole index, whatever
//! shard a document is of, and each copy of the twin by itself; then, of the buckets that differ, the
//! ids. What differs is a suspicion. The second asks the dispatcher to compare the suspects at one
//! position of the batch order: what differs there, does, and is copied again.

use super::Reshard;
use super::turn::Turn;
use super::worker::{Worker, together_max};
use crate::copy::barrier::{Answer, Ask};
use crate::copy::pace::rest;
use crate::copy::read::{ReadFailure, Replica, Walk};
use crate::error::EngineError;
use crate::prepare::PlannedTwin;
use crate::state::{IndexEntry, NodeView, Shared};
use miroir_core::digest::Buckets;
use miroir_core::id::{NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// Buckets of an index: a quarter of a megabyte for each side.
const BUCKETS: u32 = 16 * 1024;
/// Suspects listed at a time.
const SUSPECTS_MAX: u64 = 20_000;
/// Suspects compared at one position: what nodes look up while an index is held back.
const COMPARED_AT_ONCE: usize = 500;

/// What a comparison came to.
pub(super) enum Verdict {
    /// They hold the same.
    Alike,
    /// So many documents differed, and are copied again.
    Unlike(usize),
    /// It cannot be told now, for this reason.
    NotNow(String),
}

/// Which node is read for each shard: of one side, one copy of the whole index.
struct Side<'a> {
    entry: &'a IndexEntry,
    nodes: Vec<NodeId>,
    /// About how many documents it has.
    documents: u64,
    /// It is the index itself, whose documents are taken as the twin holds them.
    cut: Option<u32>,
}

impl Side<'_> {
    /// The shards that are walked at once, with the node they are walked on.
    fn parts(&self) -> Vec<(&NodeId, Vec<ShardId>)> {
        let mut by_node: BTreeMap<&NodeId, Vec<ShardId>> = BTreeMap::new();
        for (shard, node) in (0..).map(ShardId).zip(&self.nodes) {
            by_node.entry(node).or_default().push(shard);
        }
        let at_once = together_max(self.documents, self.entry.record.shard_count);
        let mut parts = Vec::new();
        for (node, shards) in by_node {
            parts.extend(shards.chunks(at_once).map(|part| (node, part.to_vec())));
        }
        parts
    }
}

impl Worker {
    /// Compares all copies of the twin with the index, and has copied what differs.
    pub(super) async fn compare(
        &mut self,
        reshard: &Reshard,
        entry: &IndexEntry,
    ) -> Result<Verdict, EngineError> {
        let Some(twin) = &entry.twin else {
            return Ok(Verdict::NotNow("the twin is being made".into()));
        };
        let twin = twin.to_entry(&entry.record);
        let Some(nodes) = sources(&self.shared, entry) else {
            return Ok(Verdict::NotNow(
                "a shard has no replica that answers and is in sync".into(),
            ));
        };
        let documents = reshard.documents_total.max(reshard.documents);
        let own = Side {
            entry,
            nodes,
            documents,
            cut: Some(twin.record.shard_count),
        };
        let expected = match self.digest(&own).await {
            Ok(expected) => expected,
            Err(failure) => return not_now(failure),
        };
        let mut found = 0;
        for nodes in copies(&twin) {
            let copy = Side {
                entry: &twin,
                nodes,
                documents,
                cut: None,
            };
            let held = match self.digest(&copy).await {
                Ok(held) => held,
                Err(failure) => return not_now(failure),
            };
            let mut differing = expected.differing(&held);
            while !differing.is_empty() {
                let mut part = BTreeSet::new();
                let mut count = 0;
                while let Some(bucket) = differing.last().copied() {
                    count += expected.count_of(bucket) + held.count_of(bucket);
                    if !part.is_empty() && count > SUSPECTS_MAX {
                        break;
                    }
                    differing.pop();
                    part.insert(bucket);
                }
                let suspects = match self.suspects([&own, &copy], &part).await {
                    Ok(suspects) => suspects,
                    Err(failure) => return not_now(failure),
                };
                for ids in suspects.chunks(COMPARED_AT_ONCE) {
                    match self.confirm(reshard, ids).await? {
                        Ok(count) => found += count,
                        Err(cause) => return Ok(Verdict::NotNow(cause)),
                    }
                }
            }
        }
        Ok(match found {
            0 => Verdict::Alike,
            found => Verdict::Unlike(found),
        })
    }

    fn walk<'a>(&'a self, side: &'a Side<'_>, node: &'a NodeId, shards: Vec<ShardId>) -> Walk<'a> {
        let replica = Replica {
            shared: &self.shared,
            node,
            entry: side.entry,
        };
        let walk = Walk::new(replica, shards);
        match side.cut {
            Some(shard_count) => walk.cut_into(shard_count),
            None => walk,
        }
    }

    async fn digest(&mut self, side: &Side<'_>) -> Result<Buckets, ReadFailure> {
        let shared = self.shared.clone();
        let mut buckets = Buckets::new(BUCKETS);
        for (node, shards) in side.parts() {
            let mut pages = Vec::new();
            let mut walk = self.walk(side, node, shards);
            while let Some(page) = walk.next().await? {
                for (id, digest) in &page.documents {
                    buckets.add(id, *digest);
                }
                pages.push((page.documents.len() as u64, page.bytes));
                if shared.shutdown.is_cancelled() {
                    return Err(EngineError::ShuttingDown.into());
                }
            }
            for (documents, bytes) in pages {
                rest(&shared, &mut self.copier.pace, documents, bytes).await;
            }
        }
        Ok(buckets)
    }

    /// The ids in these buckets whose documents seem to differ.
    async fn suspects(
        &mut self,
        sides: [&Side<'_>; 2],
        wanted: &BTreeSet<u32>,
    ) -> Result<Vec<String>, ReadFailure> {
        let shared = self.shared.clone();
        let mut seen: BTreeMap<String, [Option<u64>; 2]> = BTreeMap::new();
        for (number, side) in sides.into_iter().enumerate() {
            for (node, shards) in side.parts() {
                let mut bytes = 0;
                let mut walk = self.walk(side, node, shards);
                while let Some(page) = walk.next().await? {
                    for (id, digest) in page.documents {
                        if wanted.contains(&Buckets::bucket_of(&id, BUCKETS)) {
                            seen.entry(id).or_default()[number] = Some(digest);
                        }
                    }
                    bytes += page.bytes;
                }
                rest(&shared, &mut self.copier.pace, 0, bytes).await;
            }
        }
        let differing = seen.into_iter().filter(|(_, sides)| sides[0] != sides[1]);
        Ok(differing.map(|(id, _)| id).collect())
    }

    /// How many of the suspects differ at one position; why that cannot be told now.
    async fn confirm(
        &mut self,
        reshard: &Reshard,
        ids: &[String],
    ) -> Result<Result<usize, String>, EngineError> {
        let turn = Turn::Compare(reshard.clone(), ids.to_vec());
        Ok(match self.copier.ask(Ask::Reshard(turn)).await? {
            Answer::Compared(found) => Ok(found.len()),
            Answer::Failed(cause) => Err(cause),
            Answer::Gone => Err("it stands elsewhere".into()),
            _ => Err("the index does not come to rest".into()),
        })
    }
}

fn not_now(failure: ReadFailure) -> Result<Verdict, EngineError> {
    match failure {
        ReadFailure::Engine(EngineError::ShuttingDown) => Err(EngineError::ShuttingDown),
        failure => Ok(Verdict::NotNow(failure.to_string())),
    }
}

/// One replica of each shard that can be read.
fn sources(shared: &Shared, entry: &IndexEntry) -> Option<Vec<NodeId>> {
    let snapshot = shared.snapshot.load();
    let is_source = |node: &&NodeId| snapshot.nodes.get(*node).is_some_and(NodeView::is_readable);
    let shards = entry.placement.shards();
    shards
        .map(|shard| entry.placement.replica_set(shard).find(is_source).cloned())
        .collect()
}

/// The copies that the twin has of the whole index: the first of each shard, the second, and so on.
fn copies(twin: &IndexEntry) -> Vec<Vec<NodeId>> {
    let transit = twin.placement.transit();
    let shards = (0..twin.record.shard_count).map(ShardId);
    let sets: Vec<Vec<NodeId>> = shards
        .map(|shard| transit.joiners(shard).cloned().collect())
        .collect();
    let count = sets.iter().map(Vec::len).max().unwrap_or(0);
    let copy = |number: usize| -> Vec<NodeId> {
        let of = |set: &Vec<NodeId>| set.get(number).or(set.first()).cloned();
        sets.iter().filter_map(of).collect()
    };
    (0..count).map(copy).collect()
}

/// Whether every copy of the twin shows as many documents as the index, at rest: the last look before
/// the roles are exchanged.
///
/// # Errors
/// Why not, or why it cannot be told.
pub(super) async fn count_alike(
    shared: &Shared,
    entry: &IndexEntry,
    twin: &PlannedTwin,
) -> Result<(), String> {
    let Some(nodes) = sources(shared, entry) else {
        return Err("a shard has no replica that answers and is in sync".into());
    };
    let expected = count(shared, entry, &nodes).await?;
    let twin = twin.view().to_entry(&entry.record);
    for nodes in copies(&twin) {
        let held = count(shared, &twin, &nodes).await?;
        if held != expected {
            return Err(format!(
                "the index shows {expected} documents and a copy of its twin {held}"
            ));
        }
    }
    Ok(())
}

async fn count(shared: &Shared, entry: &IndexEntry, nodes: &[NodeId]) -> Result<u64, String> {
    let mut by_node: BTreeMap<&NodeId, Vec<ShardId>> = BTreeMap::new();
    for (shard, node) in (0..).map(ShardId).zip(nodes) {
        by_node.entry(node).or_default().push(shard);
    }
    let mut total = 0;
    for (node, shards) in by_node {
        let replica = Replica {
            shared,
            node,
            entry,
        };
        let count = replica.count(&shards).await;
        total += count.map_err(|failure| failure.to_string())?;
    }
    Ok(total)
}
