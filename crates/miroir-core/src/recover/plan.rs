//! What a rebuilt store will hold.

use super::names::{NameBasis, form_of, resolve_names};
use super::replicas::{Judged, Replicas, judge, reference_of};
use super::{NodeSeen, ReplicaSeen, ShardCounts};
use crate::id::{
    BatchUid, DocumentSeq, INDEX_UID_BYTES_MAX, IndexUid, NodeId, PhysicalIndex, TaskUid,
};
use crate::settings::{Settings, SettingsFacts, recover_logical, take_masked_secrets};
use crate::topology::{Topology, TopologyError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use time::OffsetDateTime;

/// What is planned from.
#[derive(Debug)]
pub struct Input<'a> {
    /// What each node shows; an absent node is not in it.
    pub seen: &'a BTreeMap<NodeId, NodeSeen>,
    /// All nodes of the configuration.
    pub topology: &'a Topology,
    /// Shards of a new index.
    pub shard_count: NonZeroU32,
    /// Copies of each shard of a new index.
    pub replication_factor: u32,
    /// What settings depend on beside themselves.
    pub facts: SettingsFacts,
    /// Names that the operator gives.
    pub names: &'a BTreeMap<PhysicalIndex, IndexUid>,
    /// Indexes that the operator leaves out.
    pub without: &'a BTreeSet<PhysicalIndex>,
    /// Numbers of tasks and batches left out: more than were given and left no trace on a node.
    pub spare: u64,
}

/// One index of the rebuilt store.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexPlan {
    /// The client's name.
    pub uid: IndexUid,
    /// How the name was found out.
    pub basis: NameBasis,
    /// The name on the nodes.
    pub physical: PhysicalIndex,
    /// Its primary key, if it has one.
    pub primary_key: Option<String>,
    /// Its number of shards.
    pub shard_count: u32,
    /// Copies of each shard.
    pub replication_factor: u32,
    /// By shard.
    pub replica_sets: Vec<Vec<NodeId>>,
    /// What clients set, without secrets.
    pub settings: Settings,
    /// The number the next new document gets.
    pub next_seq: DocumentSeq,
    /// When it was made.
    pub created_at: Option<OffsetDateTime>,
    /// When it was last changed.
    pub updated_at: Option<OffsetDateTime>,
    /// Documents, each once.
    pub documents: u64,
}

/// What a person is to know before the store is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// An index on a node that is not Miroir's is left alone.
    Foreign { node: NodeId, name: String },
    /// A name was taken for another, since two indexes had one.
    Exchanged {
        index: PhysicalIndex,
        uid: IndexUid,
        taker: PhysicalIndex,
    },
    /// No name is left for an index, so it is left out.
    Nameless {
        index: PhysicalIndex,
        taker: PhysicalIndex,
    },
    /// The physical name is as long as it may be: the client's name may have been longer.
    NameMayBeCut { index: PhysicalIndex },
    /// Left out as the operator says.
    LeftOut { index: PhysicalIndex },
    /// The documents contradict each other, so the index is left out.
    Contradictory { index: PhysicalIndex },
    /// Documents without Miroir's fields; they cannot be served.
    ForeignDocuments {
        index: PhysicalIndex,
        node: NodeId,
        count: u64,
    },
    /// Nodes show different primary keys; the first is taken.
    PrimaryKeys {
        index: PhysicalIndex,
        keys: Vec<String>,
    },
    /// Nodes of its shards that lack the index: it may have been removed while they were there.
    Incomplete {
        index: PhysicalIndex,
        on: Vec<NodeId>,
        not_on: Vec<NodeId>,
    },
    /// A secret that nodes do not show, to be set again.
    Secret { index: IndexUid, setting: String },
    /// A node to be made anew that has the only replica of something.
    CannotBeRefilled { node: NodeId, reason: String },
    /// Replicas that differ and will be compared by the proxy.
    Unlike { index: PhysicalIndex, shards: usize },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[NodeId]| {
            let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
            names.join(", ")
        };
        match self {
            Self::Foreign { node, name } => {
                write!(
                    f,
                    "node {node} has the index `{name}`, which is not Miroir's: left alone"
                )
            }
            Self::Exchanged { index, uid, taker } => write!(
                f,
                "{index} is taken for `{uid}`: the name it had last went to {taker}. Was it removed \
                 instead, leave it out with --without {index}"
            ),
            Self::Nameless { index, taker } => write!(
                f,
                "{index} is left out: {taker} has its name now, so it was removed or renamed. Give \
                 it one with --name {index}=NAME"
            ),
            Self::NameMayBeCut { index } => write!(
                f,
                "the name of {index} may have been longer: give it with --name {index}=NAME"
            ),
            Self::LeftOut { index } => write!(f, "{index} is left out, as you say"),
            Self::Contradictory { index } => write!(
                f,
                "{index} is left out: its documents do not lie as documents of any number of shards \
                 would"
            ),
            Self::ForeignDocuments { index, node, count } => write!(
                f,
                "{count} documents of {index} on node {node} were not written by Miroir and are not \
                 served rightly: remove them there, or write them anew"
            ),
            Self::PrimaryKeys { index, keys } => write!(
                f,
                "the nodes show different primary keys of {index} ({}): the first is taken",
                keys.join(", ")
            ),
            Self::Incomplete { index, on, not_on } => write!(
                f,
                "{index} is on {} and not on {}: was it removed, leave it out with --without {index}",
                list(on),
                list(not_on)
            ),
            Self::Secret { index, setting } => write!(
                f,
                "a secret of `{index}` is not shown by nodes: set `{setting}` again (the nodes that \
                 have it go on with it until then)"
            ),
            Self::CannotBeRefilled { node, reason } => write!(
                f,
                "node {node} has the only replica of something and stays as it is, although {reason}"
            ),
            Self::Unlike { index, shards } => write!(
                f,
                "replicas of {shards} shards of {index} differ, and nothing tells which is right: \
                 the proxy gives each what the other has"
            ),
        }
    }
}

/// What the rebuilt store will hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// By name.
    pub indexes: Vec<IndexPlan>,
    /// Which nodes are to be trusted.
    pub judged: Judged,
    /// The cluster's name in marks; `None` if no mark was seen.
    pub cluster: Option<String>,
    /// The batch after the last that can have been.
    pub next_batch: BatchUid,
    /// The task after the last that can have been.
    pub next_task: TaskUid,
    /// Experimental features that are on on every node.
    pub features: BTreeSet<String>,
    /// What a person is to know.
    pub remarks: Vec<Remark>,
}

/// What the nodes show of one index.
type Seen<'a> = BTreeMap<NodeId, &'a ReplicaSeen>;

/// Plans a store.
///
/// # Errors
/// The configuration has fewer nodes than copies, or the operator gives one name twice or a name to
/// what is no index of Miroir's.
pub fn plan(input: &Input<'_>) -> Result<Plan, PlanError> {
    let mut plan = Plan {
        indexes: Vec::new(),
        judged: Judged::default(),
        cluster: None,
        next_batch: BatchUid(0),
        next_task: TaskUid(0),
        features: BTreeSet::new(),
        remarks: Vec::new(),
    };
    let mut by_index: BTreeMap<&PhysicalIndex, Seen<'_>> = BTreeMap::new();
    for (node, seen) in input.seen {
        for (index, replica) in &seen.indexes {
            by_index
                .entry(index)
                .or_default()
                .insert(node.clone(), replica);
        }
        for name in &seen.foreign {
            let (node, name) = (node.clone(), name.clone());
            plan.remarks.push(Remark::Foreign { node, name });
        }
    }
    check_said(input, &by_index)?;
    count(input, &by_index, &mut plan);
    let mut features = input.seen.values().map(|seen| seen.features.clone());
    let first = features.next().unwrap_or_default();
    plan.features = features.fold(first, |on, there| &on & &there);
    let named = name_all(input, &by_index, &mut plan);
    let mut replicas = Vec::new();
    for (index, uid, basis) in named {
        let Some(seen) = by_index.remove(index) else {
            continue;
        };
        let Some(shard_count) = shard_count_of(&seen, input.shard_count) else {
            plan.remarks.push(Remark::Contradictory {
                index: index.clone(),
            });
            continue;
        };
        let usual = input.replication_factor;
        let found = Replicas::find(index, shard_count, usual, input.topology, seen)?;
        remark_on(&found, &mut plan.remarks);
        plan.indexes
            .push(index_plan(input, &found, uid, basis, &mut plan.remarks));
        replicas.push(found);
    }
    plan.indexes.sort_by(|a, b| a.uid.cmp(&b.uid));
    plan.judged = judge(&replicas);
    for (node, reason) in &plan.judged.kept {
        let (node, reason) = (node.clone(), reason.clone());
        plan.remarks.push(Remark::CannotBeRefilled { node, reason });
    }
    for (index, shards) in &plan.judged.unlike {
        let (index, shards) = (index.clone(), shards.len());
        plan.remarks.push(Remark::Unlike { index, shards });
    }
    Ok(plan)
}

/// Why nothing can be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The configuration has fewer nodes than copies.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A name is given to two indexes.
    #[error("the name `{0}` is given to two indexes")]
    NameTwice(IndexUid),
    /// No node has this index.
    #[error("no node has an index {0} of Miroir's")]
    NoIndex(PhysicalIndex),
}

fn check_said(
    input: &Input<'_>,
    by_index: &BTreeMap<&PhysicalIndex, Seen<'_>>,
) -> Result<(), PlanError> {
    let mut names = BTreeSet::new();
    for (index, uid) in input.names {
        if !by_index.contains_key(index) {
            return Err(PlanError::NoIndex(index.clone()));
        }
        if !names.insert(uid) {
            return Err(PlanError::NameTwice(uid.clone()));
        }
    }
    match input
        .without
        .iter()
        .find(|index| !by_index.contains_key(index))
    {
        Some(index) => Err(PlanError::NoIndex(index.clone())),
        None => Ok(()),
    }
}

/// The numbers that go on.
fn count(input: &Input<'_>, by_index: &BTreeMap<&PhysicalIndex, Seen<'_>>, plan: &mut Plan) {
    let newest = input
        .seen
        .values()
        .filter_map(|seen| seen.cluster.as_ref())
        .max();
    plan.cluster = newest.map(|(_, cluster)| cluster.clone());
    let after = |last: Option<u64>| match last {
        Some(last) => last.saturating_add(1).saturating_add(input.spare),
        None => 0,
    };
    plan.next_batch = BatchUid(after(newest.map(|(batch, _)| batch.0)));
    let marked = input.seen.values().filter_map(|seen| seen.newest_task);
    let made = by_index
        .keys()
        .filter_map(|index| form_of(index))
        .map(|(_, task)| task);
    plan.next_task = TaskUid(after(marked.chain(made).max().map(|task| task.0)));
}

fn name_all<'a>(
    input: &Input<'_>,
    by_index: &BTreeMap<&'a PhysicalIndex, Seen<'_>>,
    plan: &mut Plan,
) -> Vec<(&'a PhysicalIndex, IndexUid, NameBasis)> {
    let told = by_index
        .iter()
        .filter(|(index, _)| !input.without.contains(**index))
        .map(|(index, seen)| {
            let named = seen.values().filter_map(|replica| replica.named.clone());
            ((*index).clone(), named.max())
        })
        .collect();
    for index in input.without {
        plan.remarks.push(Remark::LeftOut {
            index: index.clone(),
        });
    }
    let mut named = Vec::new();
    let mut names = resolve_names(&told, input.names);
    for index in by_index.keys() {
        match names.remove(*index) {
            Some(Ok((uid, basis))) => {
                if let NameBasis::Exchanged(taker) = &basis {
                    plan.remarks.push(Remark::Exchanged {
                        index: (*index).clone(),
                        uid: uid.clone(),
                        taker: taker.clone(),
                    });
                }
                if basis == NameBasis::Form && index.as_str().len() >= INDEX_UID_BYTES_MAX {
                    let index = (*index).clone();
                    plan.remarks.push(Remark::NameMayBeCut { index });
                }
                named.push((*index, uid, basis));
            }
            Some(Err(taker)) => {
                let index = (*index).clone();
                plan.remarks.push(Remark::Nameless { index, taker });
            }
            None => {}
        }
    }
    named
}

fn shard_count_of(seen: &Seen<'_>, usual: NonZeroU32) -> Option<NonZeroU32> {
    let mut counts = ShardCounts::default();
    for replica in seen.values() {
        counts.join(&replica.shard_counts);
    }
    NonZeroU32::new(counts.choose(usual.get())?)
}

fn remark_on(found: &Replicas<'_>, remarks: &mut Vec<Remark>) {
    let index = found.index;
    for (node, seen) in &found.seen {
        if seen.foreign_documents > 0 {
            remarks.push(Remark::ForeignDocuments {
                index: index.clone(),
                node: node.clone(),
                count: seen.foreign_documents,
            });
        }
    }
    let keys: BTreeSet<String> = found
        .seen
        .values()
        .filter_map(|s| s.primary_key.clone())
        .collect();
    if keys.len() > 1 {
        let keys = keys.into_iter().collect();
        remarks.push(Remark::PrimaryKeys {
            index: index.clone(),
            keys,
        });
    }
    let members: BTreeSet<&NodeId> = found.sets.iter().flatten().collect();
    let not_on: Vec<NodeId> = members
        .into_iter()
        .filter(|node| !found.seen.contains_key(*node))
        .cloned()
        .collect();
    if !not_on.is_empty() {
        let on = found.seen.keys().cloned().collect();
        let index = index.clone();
        remarks.push(Remark::Incomplete { index, on, not_on });
    }
}

fn index_plan(
    input: &Input<'_>,
    found: &Replicas<'_>,
    uid: IndexUid,
    basis: NameBasis,
    remarks: &mut Vec<Remark>,
) -> IndexPlan {
    let reference = reference_of(found).and_then(|(node, _)| found.seen.get(&node));
    let shown = reference.map(|seen| &seen.settings);
    let mut settings =
        shown.map_or_else(Settings::new, |shown| recover_logical(shown, &input.facts));
    for setting in take_masked_secrets(&mut settings) {
        let index = uid.clone();
        remarks.push(Remark::Secret { index, setting });
    }
    let replicas = || found.seen.values();
    let newest_seq = replicas().filter_map(|seen| seen.newest_seq).max();
    let documents = (0u32..)
        .map(crate::id::ShardId)
        .take(found.sets.len())
        .map(|shard| {
            let held = replicas().filter_map(|seen| seen.shards.get(&shard));
            held.map(crate::digest::Buckets::count).max().unwrap_or(0)
        })
        .sum();
    IndexPlan {
        uid,
        basis,
        physical: found.index.clone(),
        primary_key: replicas().filter_map(|seen| seen.primary_key.clone()).min(),
        shard_count: u32::try_from(found.sets.len()).unwrap_or(u32::MAX),
        replication_factor: found.replication_factor,
        replica_sets: found.sets.clone(),
        settings,
        next_seq: DocumentSeq(newest_seq.map_or(0, |seq| seq.0.saturating_add(1))),
        created_at: replicas().filter_map(|seen| seen.created_at).min(),
        updated_at: replicas().filter_map(|seen| seen.updated_at).max(),
        documents,
    }
}

#[cfg(test)]
mod tests;
