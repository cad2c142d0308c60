//! Where the shards of an index lie, now and for the batches that were made before it changed.
//!
//! A placement has a number, its epoch. A batch belongs to the epoch at which it was planned: what a
//! node gets of it is cut for the replica sets of that epoch, also when a node that was away gets it
//! much later. So what changed is remembered, backwards, for as long as a batch of before is owed to
//! any node.
//!
//! The replica sets are stored as they always were; the rest is a fact beside them, which an index
//! that never moved does not have.

use crate::error::EngineError;
use crate::port::{Change, Store, StoreError};
use miroir_core::id::{Epoch, NodeId, PhysicalIndex, ShardId};
use miroir_core::placement::Transit;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The replica set of each shard, by shard.
pub type ReplicaSets = Arc<Vec<Vec<NodeId>>>;

/// The epoch in which an index begins.
pub const FIRST_EPOCH: Epoch = Epoch(1);

/// What was before an epoch. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Past {
    /// The epoch that ended it.
    until: Epoch,
    /// The replica sets that it changed, as they were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sets: BTreeMap<ShardId, Vec<NodeId>>,
    /// What lay beside them.
    #[serde(default, skip_serializing_if = "Transit::is_empty")]
    transit: Transit,
}

/// What is stored beside the replica sets. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Beside {
    #[serde(skip_serializing_if = "Transit::is_empty")]
    transit: Transit,
    /// Oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    past: Vec<Past>,
}

/// The placement of an index and what it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placing {
    pub(crate) epoch: Epoch,
    pub(crate) replica_sets: ReplicaSets,
    pub(crate) transit: Arc<Transit>,
    past: Vec<Past>,
}

fn key(index: &PhysicalIndex) -> String {
    format!("placing/{index}")
}

impl Placing {
    /// A placement that never changed.
    pub(crate) fn new(epoch: Epoch, replica_sets: ReplicaSets) -> Self {
        Self {
            epoch,
            replica_sets,
            transit: Arc::default(),
            past: Vec::new(),
        }
    }

    /// The stored placement; of an index that is gone, one without shards.
    ///
    /// # Errors
    /// The store failed, or what it holds cannot be understood.
    pub(crate) async fn load(
        store: &dyn Store,
        index: &PhysicalIndex,
    ) -> Result<Self, EngineError> {
        let Some((epoch, sets)) = store.load_placement(index).await? else {
            return Ok(Self::new(FIRST_EPOCH, Arc::default()));
        };
        let mut placing = Self::new(epoch, Arc::new(sets));
        if epoch == FIRST_EPOCH {
            return Ok(placing);
        }
        let beside = match store.load_fact(&key(index)).await? {
            None | Some(Value::Null) => Beside::default(),
            Some(value) => serde_json::from_value(value).map_err(|error| {
                EngineError::Store(StoreError::Corrupt {
                    what: "placement",
                    cause: error.to_string(),
                })
            })?,
        };
        placing.transit = Arc::new(beside.transit);
        placing.past = beside.past;
        Ok(placing)
    }

    /// The replica sets of an epoch, and what lay beside them. Of one that is forgotten, the oldest
    /// known: nothing that was made in it is owed to anybody.
    pub(crate) fn at(&self, epoch: Epoch) -> (ReplicaSets, Arc<Transit>) {
        let mut later = self.past.iter().rev().take_while(|past| past.until > epoch);
        let Some(first) = later.next() else {
            return (self.replica_sets.clone(), self.transit.clone());
        };
        let mut sets = self.replica_sets.to_vec();
        let mut transit = &first.transit;
        apply(&mut sets, first);
        for past in later {
            apply(&mut sets, past);
            transit = &past.transit;
        }
        (Arc::new(sets), Arc::new(transit.clone()))
    }

    /// The next epoch: these sets are changed, and this lies beside. What was before is kept as far
    /// as a batch of `oldest` or later is owed to a node.
    pub(crate) fn next(
        &self,
        changed: &BTreeMap<ShardId, Vec<NodeId>>,
        transit: Transit,
        oldest: Epoch,
    ) -> Self {
        let epoch = Epoch(self.epoch.0 + 1);
        let mut sets = self.replica_sets.to_vec();
        let mut before = BTreeMap::new();
        for (shard, set) in changed {
            if let Some(there) = sets.get_mut(shard.0 as usize) {
                before.insert(*shard, std::mem::replace(there, set.clone()));
            }
        }
        let mut past = self.past.clone();
        past.push(Past {
            until: epoch,
            sets: before,
            transit: (*self.transit).clone(),
        });
        past.retain(|past| past.until > oldest);
        Self {
            epoch,
            replica_sets: Arc::new(sets),
            transit: Arc::new(transit),
            past,
        }
    }

    /// What stores it.
    pub(crate) fn changes(&self, index: &PhysicalIndex) -> [Change; 2] {
        let beside = Beside {
            transit: (*self.transit).clone(),
            past: self.past.clone(),
        };
        [
            Change::PutPlacement {
                index: index.clone(),
                epoch: self.epoch,
                replica_sets: self.replica_sets.to_vec(),
            },
            Change::PutFact {
                key: key(index),
                value: serde_json::to_value(beside).unwrap_or(Value::Null),
            },
        ]
    }

    /// What goes with the removal of the index; nothing if it never moved.
    pub(crate) fn removal(&self, index: &PhysicalIndex) -> Option<Change> {
        (self.epoch != FIRST_EPOCH).then(|| Change::PutFact {
            key: key(index),
            value: Value::Null,
        })
    }
}

fn apply(sets: &mut [Vec<NodeId>], past: &Past) {
    for (shard, set) in &past.sets {
        if let Some(there) = sets.get_mut(shard.0 as usize) {
            there.clone_from(set);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name)
    }

    fn moved() -> [Placing; 4] {
        let sets = Arc::new(vec![vec![node("a")], vec![node("b")]]);
        let first = Placing::new(FIRST_EPOCH, sets);
        let mut transit = Transit::default();
        transit.put_joining(ShardId(0), &node("c"));
        let second = first.next(&BTreeMap::new(), transit, FIRST_EPOCH);
        let mut transit = Transit::default();
        transit.put_beside(ShardId(0), &node("a"));
        let switched = BTreeMap::from([(ShardId(0), vec![node("c")])]);
        let third = second.next(&switched, transit, FIRST_EPOCH);
        let last = third.next(&BTreeMap::new(), Transit::default(), FIRST_EPOCH);
        [first, second, third, last]
    }

    #[test]
    fn every_epoch_is_found_again_as_it_was() {
        let all = moved();
        for then in &all {
            let (sets, transit) = all[3].at(then.epoch);
            assert_eq!(sets, then.replica_sets, "{}", then.epoch);
            assert_eq!(transit, then.transit, "{}", then.epoch);
        }
    }

    #[test]
    fn what_is_owed_to_nobody_is_forgotten() {
        let [.., last] = moved();
        let next = last.next(&BTreeMap::new(), Transit::default(), Epoch(3));
        assert_eq!(next.past.len(), 2);
        let (sets, transit) = next.at(Epoch(3));
        assert_eq!(sets[0], [node("c")]);
        assert!(transit.is_beside(ShardId(0), &node("a")));
        let next = next.next(&BTreeMap::new(), Transit::default(), Epoch(6));
        assert!(next.past.is_empty());
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let [_, _, third, _] = moved();
        let [_, Change::PutFact { key, value }] =
            third.changes(&PhysicalIndex::from_stored("m__1"))
        else {
            panic!("two changes");
        };
        assert_eq!(key, "placing/m__1");
        assert_eq!(
            value.to_string(),
            r#"{"transit":{"beside":{"a":[0]}},"past":[{"until":2},{"until":3,"sets":{"0":["a"]},"transit":{"joining":{"c":[0]}}}]}"#
        );
        let back: Beside = serde_json::from_value(value).unwrap();
        assert_eq!(back.past, third.past);
    }
}
