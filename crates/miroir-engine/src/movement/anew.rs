//! Shards that nobody holds any more begin anew: the dispatcher's part.
//!
//! Their nodes are lost for good and whoever runs the cluster has accepted what that means. Nothing
//! can be copied, so this is no move: at rest, in one commit, the placement's next epoch puts them on
//! other nodes, and the index is made on those that do not have it. From the next batch on they are
//! shards like any other, with what is written from then on.
//!
//! What was in flight for them ends first: the completer speaks for the lost nodes
//! ([`Event::GivenUp`]). What waits in the log is dispatched afterwards, and is not lost.

use super::turn::failed;
use crate::completer::Event;
use crate::copy::barrier::{Answer, Piece, Served};
use crate::dispatcher::Dispatcher;
use crate::plan::Work;
use crate::port::{Change, NodeSettingsVersion};
use crate::state::{IndexEntry, NodeView};
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use miroir_core::settings;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Dispatcher {
    pub(super) async fn begin_anew(
        &mut self,
        index: &PhysicalIndex,
        sets: &BTreeMap<ShardId, Vec<NodeId>>,
        given_up: &Arc<BTreeSet<NodeId>>,
    ) -> Served {
        let shared = self.shared.clone();
        let nodes = given_up.clone();
        let _ = self.events.send(Event::GivenUp { nodes });
        if shared.is_indexing(index) {
            return Ok(None);
        }
        self.preparer.settle(index);
        let Some(entry) = self.rested_entry(index) else {
            return Ok(Some(Answer::Gone));
        };
        let is_gone = |shard: &ShardId| {
            let set = entry.replica_sets.get(shard.0 as usize);
            set.is_some_and(|set| set.iter().all(|node| given_up.contains(node)))
        };
        if sets.is_empty() || !sets.keys().all(is_gone) {
            // They are elsewhere by now: it is to be planned again.
            return Ok(Some(Answer::Gone));
        }
        let mut newcomers: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
        for (shard, set) in sets {
            for node in set {
                if !self.is_fit(node) {
                    return failed(format!("{node} is not in sync or does not answer"));
                }
                newcomers.entry(node.clone()).or_default().push(*shard);
            }
        }
        let mut transit = self.transit(index);
        for shard in sets.keys() {
            for node in given_up.iter() {
                transit.forget(*shard, node);
            }
        }
        let mut pieces = Vec::new();
        for (node, shards) in &newcomers {
            if entry.placement.held_by(node).is_empty() {
                let work = match self.emptied(&entry).await {
                    Ok(work) => work,
                    Err(cause) => return failed(cause),
                };
                pieces.push(Piece::new(node, shards.iter().copied(), work));
            }
        }
        let Some(replacement) = self.replace(index, sets, transit, None).await? else {
            return Ok(Some(Answer::Gone));
        };
        let mut changes = replacement.changes();
        if let Some(version) = entry.record.settings_version {
            let updated_at = shared.ports.clock.now();
            changes.extend(newcomers.into_keys().map(|node| {
                Change::PutNodeSettingsVersion(NodeSettingsVersion {
                    index: index.clone(),
                    node,
                    version,
                    updated_at,
                })
            }));
        }
        let placing = &replacement.placing;
        let after = IndexEntry::new(
            replacement.record.clone(),
            placing.replica_sets.clone(),
            &placing.transit,
        );
        self.open_copies(&after, pieces, changes).await?;
        shared.step("shards.begun.anew").await;
        tracing::warn!(%index, count = sets.len(), "shards that were lost begin anew, empty");
        self.adopt(replacement);
        Ok(Some(Answer::Done))
    }

    /// What makes the index, empty: as a replica of any shard shows its settings, or else as they were
    /// set.
    async fn emptied(&self, entry: &IndexEntry) -> Result<Work, String> {
        let readable = {
            let snapshot = self.shared.snapshot.load();
            let is_readable =
                |node: &&NodeId| snapshot.nodes.get(*node).is_some_and(NodeView::is_readable);
            let mut nodes = entry.placement.nodes().iter();
            nodes.find(|node| is_readable(node)).cloned()
        };
        if let Some(source) = readable {
            return self.recreation(entry, &source).await;
        }
        let facts = self.shared.facts();
        let logical = &entry.record.settings;
        let mut node_settings = settings::initial_node_settings(&facts);
        node_settings.extend(settings::to_node_settings(logical, logical, &facts));
        Ok(Work::RecreateIndex {
            settings: node_settings,
        })
    }
}
