//! The dispatcher's part in refills: they begin, know what to copy, make an index anew, and end.

use super::{Answer, Piece, Served};
use crate::completer::Event;
use crate::copy::read::Replica;
use crate::copy::{IndexCopy, Refill, refill_change, witness};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::plan::Work;
use crate::port::{Change, NodeSettingsVersion};
use crate::state::{IndexEntry, LaneMessage, shards_of};
use miroir_core::id::NodeId;
use miroir_core::settings;
use serde_json::Value;
use std::collections::BTreeMap;

impl Dispatcher {
    pub(super) async fn start_refill(
        &mut self,
        node: &NodeId,
        reason: &str,
        is_lost: bool,
    ) -> Result<Answer, EngineError> {
        let shared = self.shared.clone();
        let old = shared.copy.refill(node);
        let refill = Refill::waiting(self.next_batch, reason.to_owned());
        let mut changes = vec![refill_change(node, Some(&refill))];
        if is_lost {
            changes.push(witness::change(node, None));
        }
        // What is copied to it by a move is void too.
        let withdrawal = self.plan_withdrawal_of(node).await?;
        if let Some((withdrawal, _)) = &withdrawal {
            changes.extend(withdrawal.changes());
        }
        let void = self.plan_void_of(node);
        if let Some((change, _)) = &void {
            changes.push(change.clone());
        }
        self.commit(&changes).await?;
        let mut lists = Vec::new();
        if let Some((withdrawal, left)) = withdrawal {
            self.adopt(withdrawal);
            lists = left;
        }
        if let Some((_, void)) = void {
            self.adopt_void(void);
        }
        shared.step("refill.started").await;
        if is_lost {
            shared.copy.forget_witness(node);
        }
        shared.copy.begin(node, refill.clone());
        let _ = self.events.send(Event::Forgiven {
            node: node.clone(),
            below: refill.below,
        });
        if is_lost {
            // Before the node counts as up again: the lane must not take its new tasks for old ones.
            shared.tell(node, LaneMessage::Renewed);
        }
        shared.quarantine.lock().remove(node);
        shared.update(|snapshot| {
            if let Some(view) = snapshot.nodes.get_mut(node) {
                view.is_apart = false;
            }
        });
        shared.nodes_changed.ring();
        lists.extend(old.as_ref().and_then(Refill::list_file).cloned());
        shared.discard(&lists).await;
        tracing::warn!(%node, reason, "the node's replicas will be copied anew from the others");
        Ok(Answer::Done)
    }

    pub(super) async fn run_refill(&mut self, node: &NodeId) -> Result<Answer, EngineError> {
        let Some(mut refill) = self.shared.copy.refill(node) else {
            return Ok(Answer::Gone);
        };
        refill.is_running = true;
        let mut indexes = BTreeMap::new();
        for planned in self.preparer.indexes.values() {
            let shards = shards_of(&planned.placing.replica_sets, node);
            if !shards.is_empty() {
                refill.shard_count += shards.len() as u64;
                let index = planned.record.physical.clone();
                indexes.insert(index.clone(), IndexCopy::new(index));
            }
        }
        refill.indexes = indexes.into_values().collect();
        self.commit(&[refill_change(node, Some(&refill))]).await?;
        self.shared.step("refill.running").await;
        self.shared.copy.put(node, Some(refill));
        Ok(Answer::Done)
    }

    pub(super) async fn finish_refill(&mut self, node: &NodeId) -> Result<Answer, EngineError> {
        let now = self.shared.ports.clock.now();
        let mut changes = vec![refill_change(node, None)];
        for planned in self.preparer.indexes.values() {
            let Some(version) = planned.record.settings_version else {
                continue;
            };
            if planned.patches.is_empty()
                && !shards_of(&planned.placing.replica_sets, node).is_empty()
            {
                changes.push(Change::PutNodeSettingsVersion(NodeSettingsVersion {
                    index: planned.record.physical.clone(),
                    node: node.clone(),
                    version,
                    updated_at: now,
                }));
            }
        }
        self.commit(&changes).await?;
        self.shared.step("refill.finished").await;
        self.shared.copy.put(node, None);
        self.shared.nodes_changed.ring();
        tracing::info!(%node, "the node's replicas are copied; it joins when it is level");
        Ok(Answer::Done)
    }

    pub(super) async fn recreate(&mut self, node: &NodeId, mut refill: Refill) -> Served {
        let Some(copy) = refill.indexes.first_mut() else {
            return Ok(Some(Answer::Gone));
        };
        if self.shared.is_indexing(&copy.index) {
            return Ok(None);
        }
        self.preparer.settle(&copy.index);
        let Some(entry) = self.rested_entry(&copy.index) else {
            return Ok(Some(Answer::Gone));
        };
        let shards = shards_of(&entry.replica_sets, node);
        if shards.is_empty() {
            return Ok(Some(Answer::Gone));
        }
        let Some(source) = self.sources(&entry, shards[0], node).into_iter().next() else {
            return Ok(Some(Answer::Failed(
                "no replica is in sync and answers".into(),
            )));
        };
        let work = match self.recreation(&entry, &source).await {
            Ok(work) => work,
            Err(cause) => return Ok(Some(Answer::Failed(cause))),
        };
        copy.is_begun = true;
        copy.shards.clone_from(&shards);
        let changes = vec![refill_change(node, Some(&refill))];
        let piece = Piece::new(node, shards, work);
        self.open_copies(&entry, vec![piece], changes).await?;
        self.shared.copy.put(node, Some(refill));
        Ok(Some(Answer::Done))
    }

    /// What makes an index anew, empty, with the settings that a replica has.
    pub(crate) async fn recreation(
        &self,
        entry: &IndexEntry,
        source: &NodeId,
    ) -> Result<Work, String> {
        let replica = Replica {
            shared: &self.shared,
            node: source,
            entry,
        };
        let shown = replica.settings().await;
        let shown = shown.map_err(|error| error.to_string())?;
        let facts = self.shared.facts();
        let logical = &entry.record.settings;
        let mut node_settings = settings::initial_node_settings(&facts);
        node_settings.extend(settings::to_node_settings(logical, logical, &facts));
        Ok(Work::RecreateIndex {
            settings: as_shown(node_settings, &shown),
        })
    }
}

/// Settings as a replica has them. What was set is known better there than in the record, which may
/// hold a change that was refused just before a crash; secrets are known only by the record.
fn as_shown(
    settings: serde_json::Map<String, Value>,
    shown: &serde_json::Map<String, Value>,
) -> serde_json::Map<String, Value> {
    let of_replica = |(name, mut value): (String, Value)| {
        let there = shown.get(&name)?;
        if name == "embedders" {
            if let (Value::Object(ours), Value::Object(there)) = (&mut value, there) {
                ours.retain(|embedder, _| there.contains_key(embedder));
            }
            return Some((name, value));
        }
        Some((name, there.clone()))
    };
    settings.into_iter().filter_map(of_replica).collect()
}
