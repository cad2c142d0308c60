//! The twin goes: nobody reads it any more, its nodes remove it, and it is forgotten.

use super::turn::failed;
use super::{After, Reshard, Step};
use crate::copy::barrier::{Answer, Piece, Served};
use crate::dispatcher::Dispatcher;
use crate::placing::Placing;
use crate::plan::Work;
use crate::port::{Change, IndexRecord};
use crate::state::{IndexEntry, TwinView};
use miroir_core::id::{DocumentSeq, NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

impl Dispatcher {
    pub(super) async fn detach_twin(&mut self, reshard: &Reshard, then: After) -> Served {
        let next = reshard.at(Step::Leaving { then });
        let change = self.board().change(&next);
        self.commit(&[change]).await?;
        self.shared.step("reshard.detached").await;
        self.forget_twin(next);
        Ok(Some(Answer::Done))
    }

    /// What is stored so holds: batches from here on have no twin.
    pub(super) fn forget_twin(&mut self, next: Reshard) {
        if let Some(planned) = self.planned_mut(next.main()) {
            planned.twin = None;
        }
        self.show_twin(next.main(), None);
        self.board().put(next);
    }

    /// A node is made anew: the twins that it has a part of are void. What stores that, and what holds
    /// once it is stored.
    pub(crate) fn plan_void_of(&self, node: &NodeId) -> Option<(Change, Vec<Reshard>)> {
        let mut book = self.board().book.lock().clone();
        let mut void = Vec::new();
        for reshard in self.board().open() {
            let twin = self.pair(&reshard).map(|(_, twin)| twin);
            if !twin.is_some_and(|twin| twin.placing.transit.is_at(node)) {
                continue;
            }
            let then = match reshard.switched_at.is_some() {
                true => After::Lost,
                false => After::Again,
            };
            tracing::warn!(%node, index = reshard.index_uid, ?then,
                "the node has lost its part of an index that is being re-sharded");
            let next = reshard.at(Step::Leaving { then });
            book = book.with(next.clone());
            void.push(next);
        }
        (!void.is_empty()).then(|| (book.change(), void))
    }

    /// What [`Dispatcher::plan_void_of`] told is stored.
    pub(crate) fn adopt_void(&mut self, void: Vec<Reshard>) {
        for next in void {
            self.forget_twin(next);
        }
    }

    pub(super) async fn drop_twin(&mut self, reshard: &Reshard) -> Served {
        let Step::Leaving { then } = reshard.step else {
            return Ok(Some(Answer::Gone));
        };
        let store = self.shared.ports.store.clone();
        let placing = Placing::load(&*store, reshard.twin()).await?;
        let snapshot = self.shared.snapshot.load_full();
        let nodes: BTreeMap<NodeId, BTreeSet<ShardId>> = placing
            .transit
            .joining()
            .filter(|(node, _)| snapshot.nodes.contains_key(*node))
            .map(|(node, shards)| (node.clone(), shards.clone()))
            .collect();
        let next = reshard.at(Step::Dropping { then });
        let change = self.board().change(&next);
        let Some(entry) = self.twin_alone(reshard, &placing) else {
            return failed("its name is not one that Miroir gives");
        };
        let pieces = nodes.into_iter();
        let pieces = pieces.map(|(node, shards)| Piece::new(&node, shards, Work::DropIndex));
        let pieces = pieces.collect();
        self.open_copies(&entry, pieces, vec![change]).await?;
        self.shared.step("reshard.dropped").await;
        self.board().put(next);
        Ok(Some(Answer::Done))
    }

    /// A twin whose index does not know it any more, for the plan that removes it.
    pub(super) fn twin_alone(&self, reshard: &Reshard, placing: &Placing) -> Option<IndexEntry> {
        let now = self.shared.ports.clock.now();
        let (uid, _) = miroir_core::recover::form_of(reshard.twin())?;
        let twin = TwinView {
            physical: reshard.twin().clone(),
            shard_count: reshard.twin_shards(),
            epoch: placing.epoch,
            transit: placing.transit.clone(),
        };
        Some(twin.to_entry(&IndexRecord {
            uid,
            physical: reshard.twin().clone(),
            primary_key: None,
            shard_count: reshard.twin_shards(),
            replication_factor: 1,
            epoch: placing.epoch,
            settings: serde_json::Map::new(),
            settings_version: None,
            next_seq: DocumentSeq(0),
            changed_by: None,
            created_at: now,
            updated_at: now,
        }))
    }

    pub(super) async fn end_reshard(&mut self, reshard: &Reshard) -> Served {
        let Step::Dropping { then } = reshard.step else {
            return Ok(Some(Answer::Gone));
        };
        let twin = reshard.twin().clone();
        let placing = Placing::load(&*self.shared.ports.store, &twin).await?;
        let mut changes = vec![Change::RemovePlacement(twin.clone())];
        changes.extend(placing.removal(&twin));
        for (node, _) in placing.transit.joining() {
            changes.extend(self.shared.copy.settle_spoilt(node, &twin));
        }
        let mut book = self.board().book.lock().clone();
        let is_again = then == After::Again && self.planned(reshard.main()).is_some();
        let next = match is_again {
            true => {
                book.cuts += 1;
                let mut next = reshard.at(Step::Waiting);
                next.target = reshard.source.cut_anew(book.cuts);
                next.documents = 0;
                next.bytes = 0;
                next
            }
            false => reshard.at(Step::Ended { how: then }),
        };
        let book = book.with(next);
        changes.push(book.change());
        self.commit(&changes).await?;
        self.shared.step("reshard.ended").await;
        tracing::info!(
            id = reshard.id,
            index = reshard.index_uid,
            ?then,
            "a twin is removed"
        );
        *self.board().book.lock() = book;
        self.board().changed.notify_one();
        Ok(Some(Answer::Done))
    }
}
