//! What a batch is: the plan that the dispatcher writes once and every lane carries out, also
//! after a restart. The stored form (JSON) is part of the database format.
//!
//! Law: the requests a node gets for a batch are a function of the plan and of the node's shards
//! alone, so that request *r* of batch *b* means the same before and after a crash.

use crate::placing::FIRST_EPOCH;
use crate::port::PayloadRef;
use miroir_core::id::{Epoch, IndexUid, PhysicalIndex, ShardId, TaskUid};
use miroir_core::task::AdditionMethod;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The size at which a request to a node is cut, in bytes of NDJSON. Far below a node's default
/// limit of 100 MB, large enough that a bulk load is few node tasks.
pub const REQUEST_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// The work of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchPlan {
    /// The client's name of the index when the batch was made.
    pub index_uid: IndexUid,
    /// Its name on the nodes.
    pub physical: PhysicalIndex,
    /// Its shard count.
    pub shard_count: u32,
    /// Its primary key, when known.
    pub primary_key: Option<String>,
    /// The index is made by this batch, with these settings, before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<Creation>,
    /// What is done.
    pub work: Work,
    /// The entries, in log order; none for a copy.
    pub entries: Vec<PlannedEntry>,
    /// The shards concerned; `None` is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<BTreeSet<ShardId>>,
    /// Where requests are cut; fixed here so that a new version cuts an old plan alike.
    pub request_bytes_max: u64,
    /// Pairs of names that trade places when the batch is done, in order. The catalog has them so
    /// from the moment the batch is stored; readers see it when it is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<(IndexUid, IndexUid)>,
    /// What a change of settings was made upon, to be gone back to if the nodes refuse it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_step: Option<SettingsStep>,
    /// The epoch of the index's placement that it is cut for.
    #[serde(default = "first_epoch", skip_serializing_if = "is_first_epoch")]
    pub epoch: Epoch,
    /// The other physical index of an index that is being cut anew: it is done there, too, behind
    /// what is done here. What becomes of it there says nothing of the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<Twin>,
}

/// What a batch is on the other physical index of its index (see [`crate::reshard`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Twin {
    /// Its name on the nodes.
    pub physical: PhysicalIndex,
    /// Its shard count.
    pub shard_count: u32,
    /// The epoch of its placement.
    pub epoch: Epoch,
}

/// Plans of before placements changed do not name it.
fn first_epoch() -> Epoch {
    FIRST_EPOCH
}

/// By reference, as serde asks it.
fn is_first_epoch(epoch: &Epoch) -> bool {
    *epoch == FIRST_EPOCH
}

impl BatchPlan {
    /// Every name and physical name of an index that the batch speaks of: what it must not overtake.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let exchanged = self.exchanges.iter();
        let exchanged = exchanged.flat_map(|(a, b)| [a.as_str(), b.as_str()]);
        [self.index_uid.as_str(), self.physical.as_str()]
            .into_iter()
            .chain(exchanged)
            .collect()
    }

    /// It does something in this physical index.
    #[must_use]
    pub fn concerns(&self, index: &PhysicalIndex) -> bool {
        self.physical == *index
            || self
                .twin
                .as_ref()
                .is_some_and(|twin| twin.physical == *index)
    }

    /// The epoch of this physical index that it is cut for, if it does something there.
    #[must_use]
    pub fn epoch_of(&self, index: &PhysicalIndex) -> Option<Epoch> {
        if self.physical == *index {
            return Some(self.epoch);
        }
        let twin = self.twin.as_ref().filter(|twin| twin.physical == *index);
        twin.map(|twin| twin.epoch)
    }
}

/// One step in the history of an index's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingsStep {
    /// The logical settings before it, supposing that the steps in flight then succeed.
    pub before: Map<String, Value>,
    /// The task of the step before, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<TaskUid>,
    /// No step was in flight, so `before` is no supposition.
    pub is_settled: bool,
}

/// How an index is made on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Creation {
    /// Its primary key, if known.
    pub primary_key: Option<String>,
    /// The node's settings: the hidden ones, and the client's when the same batch brings them.
    pub settings: Map<String, Value>,
}

/// The kinds of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Work {
    /// Documents to their shards.
    AddDocuments {
        /// Replace or update.
        method: AdditionMethod,
        /// Ignore unknown ids.
        skip_creation: bool,
    },
    /// Ids to their shards.
    DeleteDocuments,
    /// To every node.
    DeleteByFilter {
        /// The client's filter.
        filter: Value,
    },
    /// To every node.
    DeleteAllDocuments,
    /// To every node.
    EditDocuments {
        /// The client's filter.
        filter: Option<Value>,
        /// What the function sees beside the document.
        context: Option<Map<String, Value>>,
        /// The client's function; nodes get it wrapped (see [`miroir_core::edit`]).
        function: String,
    },
    /// To every node.
    CompactIndex,
    /// To every node.
    UpdateSettings {
        /// The patch in the node's terms.
        patch: Map<String, Value>,
    },
    /// To every node; nothing beyond `creation`.
    CreateIndex,
    /// To every node.
    UpdatePrimaryKey {
        /// The new one.
        primary_key: String,
    },
    /// To every node.
    DeleteIndex,
    /// To no node: the entries end with their errors, or a name in the catalog has changed.
    Nothing,
    /// To one node, whose replicas are copied: the index is made anew there, empty.
    RecreateIndex {
        /// All its settings in the node's terms.
        settings: Map<String, Value>,
    },
    /// To one node: documents as its replicas hold them at this place in the order of batches.
    CopyDocuments {
        /// NDJSON, reserved fields included.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        documents: Option<PayloadRef>,
        /// The ids of those that no replica holds.
        absent: Vec<String>,
    },
    /// To one node: the documents of shards that are no longer placed on it are removed.
    DropShards {
        /// Which.
        dropped: Vec<ShardId>,
    },
    /// To one node: the index is removed, since nothing of it is placed there any more.
    DropIndex,
}

impl Work {
    /// Its requests carry our marker, so that the node's task list tells which it has.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        matches!(
            self,
            Self::AddDocuments { .. }
                | Self::DeleteDocuments
                | Self::DeleteByFilter { .. }
                | Self::DeleteAllDocuments
                | Self::EditDocuments { .. }
                | Self::CopyDocuments { .. }
                | Self::DropShards { .. }
        )
    }

    /// It is no client's: it has no entry and concerns one node, whose replicas it makes like the
    /// others, or removes.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        matches!(
            self,
            Self::RecreateIndex { .. }
                | Self::CopyDocuments { .. }
                | Self::DropShards { .. }
                | Self::DropIndex
        )
    }

    /// It changes what an index holds or how it answers, so that its twin has to see it, too.
    #[must_use]
    pub fn has_twin(&self) -> bool {
        matches!(
            self,
            Self::AddDocuments { .. }
                | Self::DeleteDocuments
                | Self::DeleteByFilter { .. }
                | Self::DeleteAllDocuments
                | Self::EditDocuments { .. }
                | Self::UpdateSettings { .. }
                | Self::UpdatePrimaryKey { .. }
                | Self::DeleteIndex
        )
    }

    /// A change of settings that a node may accept and then fail, since it asks an embedder.
    #[must_use]
    pub fn may_fail_late(&self) -> bool {
        let Self::UpdateSettings { patch } = self else {
            return false;
        };
        patch.get("embedders").is_some_and(Value::is_object)
    }

    /// Behind it a node holds nothing of the index that was to go from there before.
    #[must_use]
    pub fn is_clearing(&self) -> bool {
        self.is_removal() || matches!(self, Self::DropShards { .. } | Self::RecreateIndex { .. })
    }

    /// It removes the index from each node it goes to.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        matches!(self, Self::DeleteIndex | Self::DropIndex)
    }
}

/// One entry of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedEntry {
    /// The task.
    pub task: TaskUid,
    /// Its payload, if it has one.
    #[serde(default, skip_serializing_if = "Source::is_none")]
    pub source: Source,
    /// How its documents are cut.
    #[serde(default, skip_serializing_if = "Cut::is_none")]
    pub cut: Cut,
    /// The shard of each document in the twin, where the cut does not tell the hashes of the ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub twin_cut: Vec<u32>,
    /// Distinct ids in it.
    #[serde(default)]
    pub distinct_ids: u64,
    /// The error object it ends with, found before anything was sent to a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// Where an entry's payload lies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// It has none.
    #[default]
    None,
    /// In the task's row.
    Inline,
    /// In a file.
    File(PayloadRef),
}

impl Source {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Which document goes to which shard, with which sequence number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cut {
    /// Nothing is cut.
    #[default]
    None,
    /// `[offset, length, shard, seq]` of each document.
    Inline(Vec<(u64, u32, u32, u64)>),
    /// A file of [`miroir_core::batch::CutRecord`]s.
    File(PayloadRef),
}

impl Cut {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_of_a_plan_is_pinned() {
        let plan = BatchPlan {
            index_uid: IndexUid::new("movies").expect("a valid uid"),
            physical: PhysicalIndex::from_stored("movies__7"),
            shard_count: 4,
            primary_key: Some("id".into()),
            creation: None,
            work: Work::AddDocuments {
                method: AdditionMethod::Update,
                skip_creation: false,
            },
            entries: vec![PlannedEntry {
                task: TaskUid(7),
                source: Source::Inline,
                cut: Cut::Inline(vec![(0, 9, 3, 0)]),
                twin_cut: Vec::new(),
                distinct_ids: 1,
                error: None,
            }],
            shards: Some(BTreeSet::from([ShardId(3)])),
            request_bytes_max: 1024,
            exchanges: Vec::new(),
            settings_step: None,
            epoch: FIRST_EPOCH,
            twin: None,
        };
        let text = serde_json::to_string(&plan).expect("a plan serializes");
        assert_eq!(
            text,
            r#"{"indexUid":"movies","physical":"movies__7","shardCount":4,"primaryKey":"id","work":{"kind":"addDocuments","method":"update","skipCreation":false},"entries":[{"task":7,"source":"inline","cut":{"inline":[[0,9,3,0]]},"distinctIds":1}],"shards":[3],"requestBytesMax":1024}"#
        );
        let back: BatchPlan = serde_json::from_str(&text).expect("it reads back");
        assert_eq!(back, plan);
        let mut later = BatchPlan {
            epoch: Epoch(7),
            ..plan
        };
        let text = serde_json::to_string(&later).expect("a plan serializes");
        assert!(
            text.ends_with(r#""requestBytesMax":1024,"epoch":7}"#),
            "{text}"
        );
        let back: BatchPlan = serde_json::from_str(&text).expect("it reads back");
        assert_eq!(back, later);
        later.twin = Some(Twin {
            physical: PhysicalIndex::from_stored("movies__8"),
            shard_count: 16,
            epoch: Epoch(2),
        });
        later.entries[0].twin_cut = vec![11];
        let text = serde_json::to_string(&later).expect("a plan serializes");
        assert!(
            text.ends_with(
                r#""epoch":7,"twin":{"physical":"movies__8","shardCount":16,"epoch":2}}"#
            ),
            "{text}"
        );
        assert!(text.contains(r#""twinCut":[11],"distinctIds":1"#), "{text}");
        let back: BatchPlan = serde_json::from_str(&text).expect("it reads back");
        assert_eq!(back, later);
    }

    #[test]
    fn the_stored_form_of_copies_is_pinned() {
        let works = [
            Work::RecreateIndex {
                settings: Map::new(),
            },
            Work::CopyDocuments {
                documents: Some(PayloadRef::File {
                    name: "x".into(),
                    bytes: 9,
                }),
                absent: vec!["1".into()],
            },
            Work::DropShards {
                dropped: vec![ShardId(4)],
            },
            Work::DropIndex,
        ];
        let text = serde_json::to_string(&works).expect("works serialize");
        assert_eq!(
            text,
            r#"[{"kind":"recreateIndex","settings":{}},{"kind":"copyDocuments","documents":{"file":{"name":"x","bytes":9}},"absent":["1"]},{"kind":"dropShards","dropped":[4]},{"kind":"dropIndex"}]"#
        );
        let back: Vec<Work> = serde_json::from_str(&text).expect("they read back");
        assert_eq!(back, works);
    }
}
