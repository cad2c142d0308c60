//! Indexes that an old copy of a node brought back.
//!
//! A node whose data folder was put back from a copy holds what was removed since. What is placed on
//! it is made anew by its refill; the rest is removed here, without being asked, where two witnesses
//! agree that it is this cluster's own and was removed by its log:
//!
//! - the node's task list: this cluster wrote into that index there, by the marker of a request; or,
//!   of an index that never got a document there, that it is empty and has the field that Miroir
//!   filters by: what made it bears no marker;
//! - the log: it holds the task whose number the index bears, and knows the index no more; of a twin,
//!   that so many were made.
//!
//! Where one of them is silent (the node or the log has forgotten the task, an empty index never got
//! settings) it stays, and is shown as an orphan. Documents of foreign shards are never touched here.

use super::{Place, held_by, place_of};
use crate::error::EngineError;
use crate::movement::turn::Turn;
use crate::port::{NodeRead, NodeTaskQuery};
use crate::state::Shared;
use miroir_core::id::{NodeId, NodeTaskUid, PhysicalIndex};
use miroir_core::recover::form_of;
use miroir_core::reserved::SHARD_FIELD;
use serde_json::Value;
use std::collections::BTreeSet;

/// Node tasks on a page, ...
const PAGE: u32 = 1000;
/// ... and pages looked through, newest first.
const PAGES_MAX: usize = 50;

/// What was found on a node.
pub(crate) struct Remains {
    /// What is to be asked of the dispatcher, so that nothing of it is left.
    pub(crate) turns: Vec<Turn>,
    /// Indexes are being made or removed: it is to be looked again.
    pub(crate) is_passing: bool,
}

/// Looks at a node that is in sync and answers.
///
/// # Errors
/// The node or the store fails while it is asked.
pub(crate) async fn find(shared: &Shared, node: &NodeId) -> Result<Remains, EngineError> {
    let mut unplaced = BTreeSet::new();
    let mut ours = Vec::new();
    let mut is_passing = false;
    for (index, documents) in held_by(shared, node).await? {
        let is_nowhere = match place_of(shared, node, &index) {
            Place::Nowhere => true,
            Place::Here(_) => false,
            Place::Busy if form_of(&index).is_none() || shared.reshards.is_void(&index) => false,
            // Written to on other nodes; an index in the making is not shown.
            Place::Busy => match shared.shown(&index) {
                Some(entry) => entry.placement.held_by(node).is_empty(),
                None => {
                    is_passing = true;
                    false
                }
            },
        };
        if !is_nowhere || !is_of_the_log(shared, &index).await? {
            continue;
        }
        if documents == 0 && has_our_settings(shared, node, &index).await? {
            ours.push(index);
        } else {
            unplaced.insert(index);
        }
    }
    ours.extend(written_by_us(shared, node, unplaced).await?);
    let turns = ours.into_iter().map(|index| {
        tracing::warn!(%node, %index, "an old copy of the node brought back an index that was removed; it is removed again");
        Turn::DropOrphan {
            node: node.clone(),
            index,
            shards: None,
        }
    });
    Ok(Remains {
        turns: turns.collect(),
        is_passing,
    })
}

async fn is_of_the_log(shared: &Shared, index: &PhysicalIndex) -> Result<bool, EngineError> {
    let Some((_, task)) = form_of(index) else {
        return Ok(false);
    };
    // The twins of re-shards bear the task of the index they were cut from, and a number of their own.
    if !shared.reshards.has_named(index) {
        return Ok(false);
    }
    Ok(shared.ports.store.load_task(task).await?.is_some())
}

/// It can be filtered by the shard of its documents.
async fn has_our_settings(
    shared: &Shared,
    node: &NodeId,
    index: &PhysicalIndex,
) -> Result<bool, EngineError> {
    let read = NodeRead::Settings {
        index: index.clone(),
    };
    let timeout = shared.config.node_timeout;
    let answer = shared.ports.nodes.read(node, read, timeout).await?;
    let settings: Value =
        serde_json::from_slice(&answer).map_err(|error| EngineError::Answer(error.to_string()))?;
    let filterable = settings["filterableAttributes"].as_array();
    let mut filterable = filterable.into_iter().flatten();
    // A plain name, or a rule with patterns.
    Ok(filterable.any(|one| {
        let patterns = one["attributePatterns"].as_array().into_iter().flatten();
        let mut names = std::iter::once(one).chain(patterns);
        names.any(|name| name == SHARD_FIELD)
    }))
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
