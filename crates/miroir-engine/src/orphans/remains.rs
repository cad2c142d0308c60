//! Indexes that an old copy of a node brought back.
//!
//! A node whose data folder was put back from a copy holds what was removed since. What is placed on
//! it is made anew by its refill; the rest is removed here, without being asked, where two witnesses
//! agree that it is this cluster's own and was removed by its log:
//!
//! - the node's task list: this cluster wrote into that index there, by the marker of a request;
//! - the log: it holds the task whose number the index bears, and knows the index no more.
//!
//! Where one of them is silent (the node or the log has forgotten the task, the index never got a
//! document) it stays, and is shown as an orphan. Documents of foreign shards are never touched here.

use super::{Place, held_by, place_of};
use crate::error::EngineError;
use crate::movement::turn::Turn;
use crate::port::NodeTaskQuery;
use crate::state::Shared;
use miroir_core::id::{NodeId, NodeTaskUid, PhysicalIndex};
use std::collections::BTreeSet;

/// Node tasks on a page, ...
const PAGE: u32 = 1000;
/// ... and pages looked through, newest first.
const PAGES_MAX: usize = 50;

/// What is to be asked of the dispatcher so that nothing of that kind is left on a node that is in
/// sync and answers.
///
/// # Errors
/// The node or the store fails while it is asked.
pub(crate) async fn find(shared: &Shared, node: &NodeId) -> Result<Vec<Turn>, EngineError> {
    let mut unplaced = BTreeSet::new();
    for index in held_by(shared, node).await?.into_keys() {
        if matches!(place_of(shared, node, &index), Place::Nowhere)
            && is_of_the_log(shared, &index).await?
        {
            unplaced.insert(index);
        }
    }
    let written = written_by_us(shared, node, unplaced).await?;
    let turns = written.into_iter().map(|index| {
        tracing::warn!(%node, %index, "an old copy of the node brought back an index that was removed; it is removed again");
        Turn::DropOrphan {
            node: node.clone(),
            index,
            shards: None,
        }
    });
    Ok(turns.collect())
}

async fn is_of_the_log(shared: &Shared, index: &PhysicalIndex) -> Result<bool, EngineError> {
    let Some(task) = super::made_by(index) else {
        return Ok(false);
    };
    Ok(shared.ports.store.load_task(task).await?.is_some())
}

/// Those of the indexes that this cluster wrote into on the node, as far back as is looked.
async fn written_by_us(
    shared: &Shared,
    node: &NodeId,
    mut unplaced: BTreeSet<PhysicalIndex>,
) -> Result<Vec<PhysicalIndex>, EngineError> {
    let prefix = format!("miroir/{}/", shared.cluster);
    let mut written = Vec::new();
    let mut from: Option<NodeTaskUid> = None;
    for _ in 0..PAGES_MAX {
        if unplaced.is_empty() {
            break;
        }
        let query = NodeTaskQuery {
            uids: Vec::new(),
            from,
            limit: PAGE,
        };
        let timeout = shared.config.node_timeout;
        let tasks = shared.ports.nodes.fetch_tasks(node, query, timeout).await?;
        let is_last_page = tasks.len() < PAGE as usize;
        for task in tasks {
            from = task.uid.0.checked_sub(1).map(NodeTaskUid);
            let is_ours = task
                .marker
                .is_some_and(|marker| marker.starts_with(&prefix));
            if let Some(index) = task.index.filter(|_| is_ours)
                && unplaced.remove(&index)
            {
                written.push(index);
            }
        }
        if is_last_page || from.is_none() {
            break;
        }
    }
    Ok(written)
}
