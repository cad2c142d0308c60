//! What no placement puts on a node is removed there, when somebody says so.

use super::turn::failed;
use crate::copy::barrier::{Answer, Piece, Served};
use crate::dispatcher::Dispatcher;
use crate::plan::Work;
use crate::port::IndexRecord;
use crate::state::{IndexEntry, NodeView};
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use miroir_core::placement::Transit;
use std::sync::Arc;

impl Dispatcher {
    pub(super) async fn drop_orphan(
        &mut self,
        node: &NodeId,
        index: &PhysicalIndex,
        shards: Option<&[ShardId]>,
    ) -> Served {
        let snapshot = self.shared.snapshot.load_full();
        if !snapshot.nodes.get(node).is_some_and(NodeView::is_readable) {
            return failed(format!("{node} is not in sync"));
        }
        if self.shared.copy.is_awaiting(node, index) {
            return failed(format!("{index} is made anew on {node}"));
        }
        let entry = self.rested_entry(index);
        let (entry, work) = match (entry, shards) {
            (Some(entry), shards) => {
                let held = entry.placement.held_by(node);
                let work = match shards {
                    None if held.is_empty() => Work::DropIndex,
                    Some(shards) if !held.is_empty() => {
                        let dropped = shards.iter().copied();
                        let dropped: Vec<ShardId> =
                            dropped.filter(|shard| !held.contains(shard)).collect();
                        Work::DropShards { dropped }
                    }
                    _ => return Ok(Some(Answer::Gone)),
                };
                (entry, work)
            }
            (None, None) => match unnamed_entry(index, self.shared.ports.clock.now()) {
                Some(entry) => (entry, Work::DropIndex),
                None => return failed("its name is not one that Miroir gives"),
            },
            (None, Some(_)) => return Ok(Some(Answer::Gone)),
        };
        let shards: Vec<ShardId> = match &work {
            Work::DropShards { dropped } if dropped.is_empty() => return Ok(Some(Answer::Gone)),
            Work::DropShards { dropped } => dropped.clone(),
            _ => Vec::new(),
        };
        let piece = Piece::new(node, shards, work);
        self.open_copies(&entry, vec![piece], Vec::new()).await?;
        self.shared.step("orphan.dropped").await;
        Ok(Some(Answer::Done))
    }
}

/// An index that only a node knows, for the plan that removes it there.
fn unnamed_entry(index: &PhysicalIndex, now: crate::port::Timestamp) -> Option<IndexEntry> {
    let (uid, number) = index.as_str().rsplit_once("__")?;
    number.parse::<u64>().ok()?;
    let record = IndexRecord {
        uid: miroir_core::id::IndexUid::new(uid).ok()?,
        physical: index.clone(),
        primary_key: None,
        shard_count: 1,
        replication_factor: 1,
        epoch: crate::placing::FIRST_EPOCH,
        settings: serde_json::Map::new(),
        settings_version: None,
        next_seq: miroir_core::id::DocumentSeq(0),
        changed_by: None,
        created_at: now,
        updated_at: now,
    };
    Some(IndexEntry::new(record, Arc::default(), &Transit::default()))
}
