//! Changes of the topology: staged, planned, applied, explained.
//!
//! Changes are staged one after the other and change nothing. A plan shows what would come of them;
//! whoever applies them names the epoch that the plan showed, so what is carried out is what was
//! seen. Each staged change takes a new epoch, and dropping what is staged gives none back.
//!
//! What is staged and what is being carried out is one fact of the store: it survives restarts, and it
//! is not part of the log.

pub(crate) mod carry;
pub(crate) mod declare;
pub mod discover;
mod explain;
mod given_up;
pub(crate) mod lost;
mod newcomer;
pub(crate) mod observe;
mod plan;
mod words;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::{Change, Store, StoreError};
use crate::state::{Shared, Snapshot};
use miroir_api::admin;
use miroir_core::id::IndexUid;
use miroir_core::rebalance::stage::{StagedChange, desire};
use miroir_core::topology::{Node, NodeRole, Topology};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// The fact that holds the record.
const TOPOLOGY_FACT: &str = "topology";
/// Changes staged at once, at most. A person reads them before applying.
const STAGED_MAX: usize = 1000;

/// What is in force and what is staged. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    /// The epoch of the topology in force; 0 for the one that the configuration names.
    epoch: u64,
    /// The last epoch given to anything staged.
    last_epoch: u64,
    /// Changes that are not applied, in order.
    staged: Vec<StagedChange>,
    /// They are what a declared topology changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_declared: bool,
    /// What is being carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<carry::Goal>,
}

/// The record, and who changes it.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    record: Mutex<Record>,
    is_taken: AtomicBool,
    /// Wakes who carries goals out.
    goal_changed: Notify,
    /// What the configuration declares.
    board: declare::Board,
}

impl Desk {
    /// Reads what is stored.
    ///
    /// # Errors
    /// The store failed, or its record is of a later version.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<(), EngineError> {
        let Some(value) = store.load_fact(TOPOLOGY_FACT).await? else {
            return Ok(());
        };
        let record = serde_json::from_value(value).map_err(|error| StoreError::Corrupt {
            what: "topology",
            cause: error.to_string(),
        })?;
        *self.record.lock() = record;
        Ok(())
    }

    fn record(&self) -> Record {
        self.record.lock().clone()
    }

    /// The right to change the record, for one at a time.
    fn turn(&self) -> Result<Turn<'_>, EngineError> {
        if self.is_taken.swap(true, Ordering::AcqRel) {
            return Err(wrong(
                "Another change of the topology is being looked at. Retry.",
            ));
        }
        Ok(Turn(self))
    }
}

struct Turn<'a>(&'a Desk);

impl Turn<'_> {
    async fn put(&self, shared: &Shared, record: Record) -> Result<(), EngineError> {
        let value = serde_json::to_value(&record).map_err(|error| StoreError::Corrupt {
            what: "topology",
            cause: error.to_string(),
        })?;
        let fact = Change::PutFact {
            key: TOPOLOGY_FACT.into(),
            value,
        };
        shared.noted(shared.ports.store.commit(vec![fact]).await)?;
        *self.0.record.lock() = record;
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Release);
    }
}

/// The client's request makes no sense, in words.
fn wrong(message: impl Into<String>) -> EngineError {
    EngineError::Client {
        code: "bad_request",
        message: message.into(),
    }
}

/// A fragment as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

/// The nodes as a topology.
pub(crate) fn topology_of(shared: &Shared, snapshot: &Snapshot) -> Result<Topology, EngineError> {
    let closed = shared.closed.lock().clone();
    let nodes = snapshot.nodes.values().map(|view| Node {
        id: view.record.id.clone(),
        url: view.record.url.clone(),
        zone: view.record.zone.clone(),
        weight_milli: view.record.weight_milli,
        role: match closed.contains(&view.record.id) {
            true => NodeRole::Draining,
            false => NodeRole::Active,
        },
    });
    Topology::new(nodes.collect()).map_err(|error| wrong(sentence(&error.to_string())))
}

fn index_uids(snapshot: &Snapshot) -> Vec<IndexUid> {
    snapshot.indexes.keys().cloned().collect()
}

impl Engine {
    /// What is in force and what is staged.
    #[must_use]
    pub fn staged(&self) -> admin::StagedTopology {
        self.shown(&self.shared().topology.record())
    }

    /// Stages one more change. Nothing happens before it is applied.
    ///
    /// # Errors
    /// [`EngineError::Client`] if the change makes no sense after those staged before, or if a node
    /// that would come is not fit to: with what to do.
    pub async fn stage(
        &self,
        change: admin::TopologyChange,
    ) -> Result<admin::StagedTopology, EngineError> {
        let shared = self.shared();
        let turn = shared.topology.turn()?;
        let mut record = shared.topology.record();
        if record.staged.len() >= STAGED_MAX {
            return Err(wrong(format!(
                "{STAGED_MAX} changes are staged: apply or drop them first."
            )));
        }
        let snapshot = shared.snapshot.load_full();
        let topology = topology_of(shared, &snapshot)?;
        let change = words::from_wire(change, &topology, &record.staged)?;
        record.is_declared = false;
        record.staged.push(change.clone());
        desire(&topology, &index_uids(&snapshot), &record.staged)
            .map_err(|error| wrong(sentence(&error.to_string())))?;
        newcomer::check_change(shared, &change).await?;
        record.last_epoch = record.last_epoch.max(record.epoch) + 1;
        turn.put(shared, record.clone()).await?;
        Ok(self.shown(&record))
    }

    /// Drops what is staged.
    ///
    /// # Errors
    /// The store failed.
    pub async fn revert(&self) -> Result<admin::StagedTopology, EngineError> {
        let shared = self.shared();
        let turn = shared.topology.turn()?;
        let mut record = shared.topology.record();
        if !record.staged.is_empty() {
            record.staged.clear();
            record.is_declared = false;
            turn.put(shared, record.clone()).await?;
        }
        Ok(self.shown(&record))
    }

    fn shown(&self, record: &Record) -> admin::StagedTopology {
        let goal = record.goal.as_ref();
        admin::StagedTopology {
            epoch: record.epoch,
            staged_epoch: (!record.staged.is_empty()).then_some(record.last_epoch),
            changes: record.staged.iter().map(words::to_wire).collect(),
            descriptions: record.staged.iter().map(words::describe).collect(),
            underway: goal.map(|goal| goal.describe(record.epoch, self.movement().as_ref())),
            objections: self.shared().topology.board.objections(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::id::NodeId;

    #[test]
    fn the_stored_form_of_the_record_is_pinned() {
        let record = Record {
            epoch: 3,
            last_epoch: 5,
            staged: vec![StagedChange::DrainNode {
                node: NodeId::new("a"),
            }],
            is_declared: false,
            goal: None,
        };
        let stored = r#"{"epoch":3,"lastEpoch":5,"staged":[{"change":"drainNode","node":"a"}]}"#;
        assert_eq!(serde_json::to_string(&record).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Record>(stored).unwrap(), record);
        assert_eq!(
            serde_json::from_str::<Record>("{}").unwrap(),
            Record::default()
        );
    }

    #[test]
    fn a_fragment_becomes_a_sentence() {
        assert_eq!(sentence("there is no node"), "There is no node.");
    }
}
