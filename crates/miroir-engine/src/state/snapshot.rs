//! What readers see: one immutable view of nodes and indexes, replaced as a whole.

use crate::error::EngineError;
use crate::placing::ReplicaSets;
use crate::port::{IndexRecord, NodeRecord};
use miroir_core::health::NodeHealth;
use miroir_core::id::{Epoch, IndexUid, NodeId, PhysicalIndex, ShardId};
use miroir_core::merge::IndexView;
use miroir_core::placement::{Placement, Transit};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// One node in the snapshot.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// As stored.
    pub record: NodeRecord,
    /// As probed.
    pub health: NodeHealth,
    /// The version it reports, once asked.
    pub version: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Its data is lost or is not its own.
    pub is_apart: bool,
}

impl NodeView {
    /// Reads may go there.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.record.is_in_sync && !self.is_apart && self.health != NodeHealth::Down
    }
}

/// One index in the snapshot: as it is once every batch reported done has been applied.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// As stored.
    pub record: IndexRecord,
    /// The replica set of each shard, by shard.
    pub replica_sets: ReplicaSets,
    /// The same, indexed both ways, and what lies on nodes beside it.
    pub placement: Arc<Placement>,
    /// The other physical index, while the index is being cut anew or the way back is kept. No client
    /// ever reads it.
    pub twin: Option<Arc<TwinView>>,
    /// What merging must know of the settings.
    pub view: Arc<IndexView>,
    /// Lives as long as anybody reads by this placement.
    readers: Arc<()>,
}

/// The other physical index of an index: written to, not read.
#[derive(Debug, Clone)]
pub struct TwinView {
    /// Its name on the nodes.
    pub physical: PhysicalIndex,
    /// Its shard count.
    pub shard_count: u32,
    /// The epoch of its placement.
    pub epoch: Epoch,
    /// Where its shards lie: all of them are joining there.
    pub transit: Arc<Transit>,
}

impl TwinView {
    /// It as an index of its own, with what its index knows.
    #[must_use]
    pub fn to_entry(&self, record: &IndexRecord) -> IndexEntry {
        let record = IndexRecord {
            physical: self.physical.clone(),
            shard_count: self.shard_count,
            epoch: self.epoch,
            ..record.clone()
        };
        let sets = vec![Vec::new(); self.shard_count as usize];
        IndexEntry::new(record, Arc::new(sets), &self.transit)
    }
}

impl IndexEntry {
    /// An index as readers see it.
    #[must_use]
    pub fn new(record: IndexRecord, replica_sets: ReplicaSets, transit: &Transit) -> Self {
        let placement = Placement::from_replica_sets(&replica_sets).with_transit(transit.clone());
        let view = Arc::new(view_of(&record));
        Self {
            record,
            replica_sets,
            placement: Arc::new(placement),
            twin: None,
            view,
            readers: Arc::default(),
        }
    }

    /// The same with another physical index beside it, or with none.
    #[must_use]
    pub fn with_twin(mut self, twin: Option<Arc<TwinView>>) -> Self {
        self.twin = twin;
        self
    }

    /// The same placement with another record.
    #[must_use]
    pub fn with_record(&self, record: IndexRecord) -> Self {
        Self {
            view: Arc::new(view_of(&record)),
            record,
            replica_sets: self.replica_sets.clone(),
            placement: self.placement.clone(),
            twin: self.twin.clone(),
            readers: self.readers.clone(),
        }
    }

    /// Dead once nobody reads by this placement any more.
    #[must_use]
    pub fn readers(&self) -> Weak<()> {
        Arc::downgrade(&self.readers)
    }
}

/// The shards whose replica set contains `node`, in order.
#[must_use]
pub fn shards_of(replica_sets: &[Vec<NodeId>], node: &NodeId) -> Vec<ShardId> {
    (0u32..)
        .zip(replica_sets)
        .filter(|(_, replica_set)| replica_set.contains(node))
        .map(|(shard, _)| ShardId(shard))
        .collect()
}

/// Exchanges two names: what is under the first is found under the second, and the other way round.
pub fn exchange_names(
    indexes: &mut BTreeMap<IndexUid, Arc<IndexEntry>>,
    names: &(IndexUid, IndexUid),
) {
    let named = |entry: Arc<IndexEntry>, uid: &IndexUid| {
        let record = IndexRecord {
            uid: uid.clone(),
            ..entry.record.clone()
        };
        Arc::new(entry.with_record(record))
    };
    let (first, second) = (indexes.remove(&names.0), indexes.remove(&names.1));
    if let Some(entry) = first {
        indexes.insert(names.1.clone(), named(entry, &names.1));
    }
    if let Some(entry) = second {
        indexes.insert(names.0.clone(), named(entry, &names.0));
    }
}

/// The cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By id.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// Those that exist for clients, by uid.
    pub indexes: BTreeMap<IndexUid, Arc<IndexEntry>>,
}

impl Snapshot {
    /// The index of that name.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`].
    pub fn index(&self, uid: &IndexUid) -> Result<&Arc<IndexEntry>, EngineError> {
        self.indexes
            .get(uid)
            .ok_or_else(|| EngineError::IndexNotFound(uid.clone()))
    }

    /// The nodes in sync, up or not.
    #[must_use]
    pub fn in_sync(&self) -> BTreeSet<NodeId> {
        self.nodes
            .iter()
            .filter(|(_, n)| n.record.is_in_sync)
            .map(|(id, _)| id.clone())
            .collect()
    }
}

/// What merging must know of an index.
fn view_of(record: &IndexRecord) -> IndexView {
    IndexView {
        physical: record.physical.to_string(),
        uid: record.uid.to_string(),
        primary_key: record.primary_key.clone(),
        ..miroir_core::settings::index_view(&record.settings)
    }
}
