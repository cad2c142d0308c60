//! Broken variants, to show that the checkers would see them. Each is a port that lies to the engine,
//! so that the engine does what it would do if the code named were wrong; the engine itself has no
//! switches.

use crate::dice::Dice;
use crate::node::Fleet;
use crate::store::FlakyStore;
use async_trait::async_trait;
use bytes::Bytes;
use miroir_core::id::{NodeId, NodeTaskUid, PhysicalIndex};
use miroir_core::reserved::SHARD_FIELD;
use miroir_core::task::TaskStatus;
use miroir_engine::port::{
    BatchRecord, Catalog, Change, NodeClient, NodeError, NodeRead, NodeTask, NodeTaskQuery,
    NodeWrite,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A node's leaving the in-sync set is not made durable.
    SkipInSyncMark,
    /// The oldest open batch is not found again at start.
    LoseBatchAtRecovery,
    /// The store says that changes are durable, and now and then they are not.
    LieOnCommit,
    /// Payload files are never removed.
    KeepPayloads,
    /// A task ends when the nodes have enqueued it.
    CompleteEarly,
    /// What became of a request is not looked up before it is sent again.
    IgnoreMarkers,
    /// Nodes are asked for all shards they hold.
    ForgetShardFilter,
    /// Reads are answered as they were before.
    ServeStale,
    /// What nodes fail is taken for done.
    SwallowFailures,
    /// A node's hits are lost now and then.
    LoseHits,
    /// Requests change places.
    SendOutOfOrder,
    /// Requests are taken for sent and were not.
    SkipSending,
    /// A document is left out of a request.
    LoseDocument,
    /// A node that is out of sync is noted as in sync.
    JoinEarly,
    /// Edits by function are sent twice.
    EditTwice,
    /// A request is sent once more behind the next one.
    ReplayOld,
    /// Deletions by id leave out the first.
    SkipDeletion,
    /// Where the shards of a new index lie is not made durable.
    ForgetPlacement,
    /// A node to which shards move is asked for all that it holds.
    ForgetJoiningFilter,
    /// A node to which shards move loses documents, and a comparison does not see it.
    CompareBlindly,
    /// A twin loses documents, and a comparison does not see it.
    CutUnverified,
    /// A twin is told of no deletion by id, and a comparison does not see it.
    CutWithoutDeletions,
    /// A twin is taken for level as soon as its nodes have enqueued what is for it.
    CutBehind,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::SkipInSyncMark,
        Self::LoseBatchAtRecovery,
        Self::LieOnCommit,
        Self::KeepPayloads,
        Self::CompleteEarly,
        Self::IgnoreMarkers,
        Self::ForgetShardFilter,
        Self::ServeStale,
        Self::SwallowFailures,
        Self::LoseHits,
        Self::SendOutOfOrder,
        Self::SkipSending,
        Self::LoseDocument,
        Self::JoinEarly,
        Self::EditTwice,
        Self::ReplayOld,
        Self::SkipDeletion,
        Self::ForgetPlacement,
        Self::ForgetJoiningFilter,
        Self::CompareBlindly,
        Self::CutUnverified,
        Self::CutWithoutDeletions,
        Self::CutBehind,
    ];

    /// It shows only while indexes are cut into other numbers of shards.
    #[must_use]
    pub fn is_of_reshards(self) -> bool {
        matches!(
            self,
            Self::CutUnverified | Self::CutWithoutDeletions | Self::CutBehind
        )
    }

    /// It shows only while shards move.
    #[must_use]
    pub fn is_of_moves(self) -> bool {
        matches!(self, Self::ForgetJoiningFilter | Self::CompareBlindly)
    }

    /// What the store is given in place of the engine's changes.
    pub(crate) fn on_commit(self, mut changes: Vec<Change>, dice: &mut Dice) -> Vec<Change> {
        match self {
            Self::SkipInSyncMark => {
                changes
                    .retain(|change| !matches!(change, Change::PutNode(node) if !node.is_in_sync));
            }
            Self::JoinEarly => {
                for change in &mut changes {
                    if let Change::PutNode(node) = change {
                        node.is_in_sync = true;
                    }
                }
            }
            Self::LieOnCommit if dice.chance(3) => changes.clear(),
            Self::ForgetPlacement => {
                changes.retain(|change| !matches!(change, Change::PutPlacement { .. }));
            }
            _ => {}
        }
        changes
    }

    /// What the engine is told of open batches.
    pub(crate) fn on_open_batches(self, mut batches: Vec<BatchRecord>) -> Vec<BatchRecord> {
        if self == Self::LoseBatchAtRecovery && !batches.is_empty() {
            batches.remove(0);
        }
        batches
    }
}

/// A client of nodes that lies.
pub(crate) struct Liar {
    sabotage: Sabotage,
    inner: Arc<dyn NodeClient>,
    fleet: Arc<Fleet>,
    dice: Mutex<Dice>,
    answers: Mutex<BTreeMap<String, Bytes>>,
    /// The last documents sent to each node.
    last: Mutex<BTreeMap<NodeId, NodeWrite>>,
    store: Arc<FlakyStore>,
}

impl Liar {
    pub(crate) fn new(
        sabotage: Sabotage,
        inner: Arc<dyn NodeClient>,
        fleet: Arc<Fleet>,
        dice: Dice,
        store: Arc<FlakyStore>,
    ) -> Self {
        Self {
            sabotage,
            inner,
            fleet,
            dice: Mutex::new(dice),
            answers: Mutex::default(),
            last: Mutex::default(),
            store,
        }
    }

    /// Shards of the index are joining at the node, or lie beside there.
    async fn is_in_transit(&self, node: &NodeId, index: &PhysicalIndex, how: &[&str]) -> bool {
        let fact = self
            .store
            .inner()
            .load_fact(&format!("placing/{index}"))
            .await;
        let fact = fact.unwrap_or_default().unwrap_or_default();
        how.iter()
            .any(|how| fact["transit"][how].get(node.as_str()).is_some())
    }

    /// The index is the other half of a re-shard.
    async fn is_twin(&self, index: &PhysicalIndex) -> bool {
        let fact = self.store.inner().load_fact("reshards").await;
        let fact = fact.unwrap_or_default().unwrap_or_default();
        crate::history::twins(&fact).contains(index.as_str())
    }

    /// The node that shows most of what is asked for.
    fn fullest(&self, index: &PhysicalIndex, otherwise: &NodeId) -> NodeId {
        let count = |name: &String| {
            let of = |node: &mut crate::node::Node| {
                let index = node.indexes.get(index.as_str());
                index.map_or(0, |index| index.documents.len())
            };
            self.fleet.on(name, of)
        };
        let names = self.fleet.names();
        let fullest = names.iter().max_by_key(|name| count(name));
        fullest.map_or_else(|| otherwise.clone(), NodeId::new)
    }

    fn throws(&self, percent: u64) -> bool {
        self.dice.lock().chance(percent)
    }
}

/// Whether it asks for whole documents by pages, as comparisons do.
fn is_walk(body: &Bytes) -> bool {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    value.get("offset").is_some() && value.get("fields").is_none() && value.get("sort").is_none()
}

/// The body without the shard filter.
fn without_filter(body: &Bytes) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        return body.clone();
    };
    if value["filter"].to_string().contains(SHARD_FIELD)
        && let Some(object) = value.as_object_mut()
    {
        object.remove("filter");
    }
    value.to_string().into()
}

#[async_trait]
impl NodeClient for Liar {
    async fn read(
        &self,
        node: &NodeId,
        mut what: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        if self.sabotage == Sabotage::ForgetShardFilter
            && let NodeRead::Search { body, .. } | NodeRead::Documents { body, .. } = &mut what
        {
            *body = without_filter(body);
        }
        if self.sabotage == Sabotage::ForgetJoiningFilter
            && let NodeRead::Search { index, body } | NodeRead::Documents { index, body } =
                &mut what
            && self
                .is_in_transit(node, index, &["joining", "beside"])
                .await
        {
            *body = without_filter(body);
        }
        if self.sabotage == Sabotage::CompareBlindly
            && let NodeRead::Documents { index, body } = &what
            && is_walk(body)
            && self.is_in_transit(node, index, &["joining"]).await
        {
            let other = self.fullest(index, node);
            return self.inner.read(&other, what, timeout).await;
        }
        if self.sabotage.is_of_reshards()
            && let NodeRead::Documents { body, .. } = &what
            && is_walk(body)
        {
            return Ok(json!({"results": [], "total": 0}).to_string().into());
        }
        let is_search = matches!(what, NodeRead::Search { .. });
        if self.sabotage == Sabotage::ServeStale && is_search {
            let key = format!("{node} {what:?}");
            let known = self.answers.lock().get(&key).cloned();
            if let Some(known) = known {
                return Ok(known);
            }
            let answer = self.inner.read(node, what, timeout).await?;
            self.answers.lock().insert(key, answer.clone());
            return Ok(answer);
        }
        if self.sabotage == Sabotage::LoseHits && is_search && self.throws(20) {
            return Ok(json!({"hits": [], "estimatedTotalHits": 0})
                .to_string()
                .into());
        }
        self.inner.read(node, what, timeout).await
    }

    async fn submit(
        &self,
        node: &NodeId,
        mut write: NodeWrite,
        timeout: Duration,
    ) -> Result<NodeTaskUid, NodeError> {
        let mut loses = self.sabotage == Sabotage::LoseDocument && self.throws(5);
        if self.sabotage == Sabotage::CompareBlindly
            && let NodeWrite::AddDocuments { index, .. } = &write
        {
            loses = self.is_in_transit(node, index, &["joining"]).await && self.throws(50);
        }
        if self.sabotage == Sabotage::CutUnverified
            && let NodeWrite::AddDocuments { index, .. } = &write
        {
            loses = self.is_twin(index).await && self.throws(50);
        }
        if self.sabotage == Sabotage::CutWithoutDeletions
            && let NodeWrite::DeleteDocuments { index, body, .. } = &mut write
            && self.is_twin(index).await
        {
            *body = Bytes::from_static(b"[]");
        }
        if let NodeWrite::AddDocuments { body, .. } = &mut write {
            if loses {
                let whole = body.concat();
                let first = whole
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1);
                *body = vec![Bytes::copy_from_slice(&whole[first..])];
            }
            if self.sabotage == Sabotage::SkipSending && self.throws(5) {
                // An empty request instead: the node's numbers go on.
                *body = Vec::new();
            }
        }
        if let NodeWrite::DeleteDocuments { body, .. } = &mut write
            && self.sabotage == Sabotage::SkipDeletion
        {
            let ids: Vec<Value> = serde_json::from_slice(body).unwrap_or_default();
            *body = Value::from(ids.into_iter().skip(1).collect::<Vec<_>>())
                .to_string()
                .into();
        }
        let again = write.clone();
        let task = self.inner.submit(node, write, timeout).await?;
        match self.sabotage {
            Sabotage::SendOutOfOrder => {
                self.fleet.on(node.as_str(), crate::node::Node::disorder);
            }
            Sabotage::EditTwice if matches!(again, NodeWrite::EditDocuments { .. }) => {
                self.fleet.on(node.as_str(), |node| node.accept(again));
            }
            Sabotage::ReplayOld if matches!(again, NodeWrite::AddDocuments { .. }) => {
                let old = self.last.lock().insert(node.clone(), again);
                if let Some(old) = old.filter(|_| self.throws(20)) {
                    self.fleet.on(node.as_str(), |node| node.accept(old));
                }
            }
            _ => {}
        }
        Ok(task)
    }

    async fn fetch_tasks(
        &self,
        node: &NodeId,
        query: NodeTaskQuery,
        timeout: Duration,
    ) -> Result<Vec<NodeTask>, NodeError> {
        let mut tasks = self.inner.fetch_tasks(node, query, timeout).await?;
        for task in &mut tasks {
            if self.sabotage == Sabotage::CutBehind
                && !task.status.is_final()
                && let Some(index) = &task.index
                && self.is_twin(index).await
            {
                task.status = TaskStatus::Succeeded;
                task.details = Some(json!({}));
            }
            match self.sabotage {
                Sabotage::CompleteEarly if !task.status.is_final() => {
                    task.status = TaskStatus::Succeeded;
                    task.details = Some(json!({}));
                }
                Sabotage::SwallowFailures if task.status == TaskStatus::Failed => {
                    task.status = TaskStatus::Succeeded;
                    task.error = None;
                }
                Sabotage::IgnoreMarkers => task.marker = None,
                _ => {}
            }
        }
        Ok(tasks)
    }
}
