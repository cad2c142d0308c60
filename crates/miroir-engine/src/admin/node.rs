//! One node as operators see it: its state, how far behind it is, what it waits for, and what is
//! wrong with it in the words of [`miroir_core::condition`].

use crate::completer::Lag;
use crate::error::EngineError;
use crate::port::Timestamp;
use crate::state::{NodeView, Shared, Snapshot};
use miroir_api::admin;
use miroir_core::condition::Condition;
use miroir_core::health::NodeHealth;
use miroir_core::id::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

/// The completer tells the lags within this; it is silent while the store takes nothing from it.
const LAGS_WAIT: Duration = Duration::from_millis(500);

impl Shared {
    /// What each node has not applied; nodes that have applied all are absent.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn lags(&self) -> Result<BTreeMap<NodeId, Lag>, EngineError> {
        let told = tokio::select! {
            biased;
            lags = self.copy.lags() => lags,
            () = self.ports.clock.sleep(LAGS_WAIT) => None,
        };
        if let Some(lags) = told {
            return Ok(lags);
        }
        let mut lags: BTreeMap<NodeId, Lag> = BTreeMap::new();
        for batch in self.ports.store.load_open_batches().await? {
            let open = batch.deliveries.iter().filter(|(_, d)| !d.is_applied);
            for (node, _) in open {
                let lag = lags.entry(node.clone()).or_default();
                lag.batches += 1;
                lag.entries += batch.tasks.len() as u64;
                lag.since = Some(
                    lag.since
                        .map_or(batch.started_at, |s| s.min(batch.started_at)),
                );
            }
        }
        Ok(lags)
    }
}

/// All nodes of a snapshot, by name.
pub(crate) fn shown(
    shared: &Shared,
    snapshot: &Snapshot,
    lags: &BTreeMap<NodeId, Lag>,
) -> Vec<admin::Node> {
    let newest = newest_version(snapshot);
    let nodes = snapshot.nodes.iter();
    nodes
        .map(|(id, view)| {
            let lag = lags.get(id).cloned().unwrap_or_default();
            one(shared, snapshot, id, view, &lag, newest)
        })
        .collect()
}

fn one(
    shared: &Shared,
    snapshot: &Snapshot,
    id: &NodeId,
    view: &NodeView,
    lag: &Lag,
    newest: Option<(u32, u32)>,
) -> admin::Node {
    let apart = shared.quarantine.lock().get(id).cloned();
    let placed = snapshot.indexes.values();
    let shard_count = placed.map(|e| e.placement.shards_of(id).len() as u64).sum();
    let now = shared.ports.clock.now();
    let is_level = view.record.is_in_sync && apart.is_none() && !shared.copy.is_refilling(id);
    admin::Node {
        name: id.to_string(),
        url: view.record.url.clone(),
        zone: view.record.zone.clone(),
        weight: f64::from(view.record.weight_milli) / 1000.0,
        state: super::state_name(view.health).into(),
        in_sync: view.record.is_in_sync,
        waits_for: waits_for(shared, id, view, apart.is_some(), lag),
        conditions: conditions(shared, id, view, newest)
            .into_iter()
            .map(explained)
            .collect(),
        out_of_sync_reason: view.record.out_of_sync_reason.clone().or(apart),
        version: view.version.clone(),
        lag_batches: lag.batches,
        lag_entries: lag.entries,
        lag_bytes: lag.payload_bytes,
        lag_seconds: lag.since.map_or(0.0, |since| {
            ((now - since).as_seconds_f64().max(0.0) * 1000.0).round() / 1000.0
        }),
        drained: shared.closed.lock().contains(id),
        slows_writes: shared.convoy.is_slowing(id, shared.ports.clock.monotonic()),
        shard_count,
        in_sync_shards: if is_level { shard_count } else { 0 },
        last_error: view.last_error.clone(),
        refill: shared.copy.refill(id).map(|refill| admin::Refill {
            state: if refill.is_running {
                "copying"
            } else {
                "waiting"
            }
            .into(),
            reason: refill.reason,
            index: refill.indexes.first().map(|copy| copy.index.to_string()),
            shards_total: refill.shard_count,
            shards_done: refill.shards_done,
            documents: refill.documents,
            bytes: refill.bytes,
        }),
        reads: shared.reads.node(id).shown(shared.ports.clock.monotonic()),
    }
}

/// What stands between the node and being read and level, nearest first.
fn waits_for(
    shared: &Shared,
    id: &NodeId,
    view: &NodeView,
    is_apart: bool,
    lag: &Lag,
) -> Option<String> {
    if shared.copy.impostor(id).is_some() {
        return Some("its address to lead to it".into());
    }
    if view.health == NodeHealth::Down {
        return Some("the node to answer".into());
    }
    if is_apart {
        let what = "another replica in sync of each of its shards, to be copied from";
        return Some(what.into());
    }
    if let Some(refill) = shared.copy.refill(id) {
        return Some(match refill.is_running {
            true => format!(
                "the copy of its shards: {} of {} are copied",
                refill.shards_done, refill.shard_count
            ),
            false => "the copy of its shards to begin".into(),
        });
    }
    let notes = shared.ills.of(id);
    let fails = |condition| notes.iter().any(|(noted, _)| *noted == condition);
    if fails(Condition::Full) {
        return Some("room on the node".into());
    }
    if fails(Condition::FailingBatches) {
        return Some("the node to carry out what it fails".into());
    }
    if fails(Condition::StandingStill) {
        return Some("the node to go on".into());
    }
    match (view.record.is_in_sync, lag.batches) {
        (true, _) => None,
        (false, 0) => Some("the next look at it".into()),
        (false, batches) => {
            let count = match batches {
                1 => "1 batch".to_owned(),
                batches => format!("{batches} batches"),
            };
            let now = shared.ports.clock.monotonic();
            Some(match shared.convoy.is_slowing(id, now) {
                true => {
                    format!("{count} to be applied; new writes to its indexes are slowed for it")
                }
                false => format!("{count} to be applied"),
            })
        }
    }
}

/// A condition with what is particular to this node.
struct Found {
    condition: Condition,
    detail: Option<String>,
    since: Option<Timestamp>,
}

fn conditions(
    shared: &Shared,
    id: &NodeId,
    view: &NodeView,
    newest: Option<(u32, u32)>,
) -> Vec<Found> {
    let mut found: Vec<Found> = shared
        .ills
        .of(id)
        .into_iter()
        .map(|(condition, note)| Found {
            condition,
            detail: Some(note.words),
            since: Some(note.since),
        })
        .collect();
    let mut add = |condition, detail| {
        found.push(Found {
            condition,
            detail,
            since: None,
        });
    };
    let apart = shared.quarantine.lock().get(id).cloned();
    let refill = shared.copy.refill(id);
    match shared.copy.impostor(id) {
        Some(other) => add(Condition::AnotherNode, Some(format!("node `{other}`"))),
        None => {
            // A node is also filled again when it was away for too long: that is no illness.
            let lost = refill.map(|refill| refill.reason);
            let lost = lost.filter(|reason| reason.contains("its data is lost"));
            if let Some(reason) = apart.or(lost) {
                add(Condition::WrongData, Some(reason));
            }
        }
    }
    if view.health == NodeHealth::Down {
        add(Condition::Unreachable, view.last_error.clone());
    }
    let own = view.version.as_deref().and_then(release_of);
    if let (Some(own), Some(newest)) = (own, newest)
        && own < newest
    {
        let version = view.version.clone().unwrap_or_default();
        let detail = format!("it is {version}, another node is {}.{}", newest.0, newest.1);
        add(Condition::WrongVersion, Some(detail));
    }
    // A node that cannot be talked to for a better known reason is not also unreachable.
    let has = |found: &[Found], condition| found.iter().any(|f| f.condition == condition);
    if has(&found, Condition::KeyRefused) {
        found.retain(|f| f.condition != Condition::Unreachable);
    } else if has(&found, Condition::Unreachable) && has(&found, Condition::BrokenAnswers) {
        found.retain(|f| f.condition != Condition::Unreachable);
    }
    let urgency = |condition| Condition::ALL.iter().position(|c| *c == condition);
    found.sort_by_key(|f| urgency(f.condition));
    found
}

fn explained(found: Found) -> admin::NodeCondition {
    let text = found.condition.explanation();
    admin::NodeCondition {
        condition: found.condition.name().into(),
        symptom: text.symptom.into(),
        impact: text.impact.into(),
        cause: text.cause.into(),
        remedy: text.remedy.into(),
        detail: found.detail,
        since: found
            .since
            .map(|since| since.format(&Rfc3339).unwrap_or_default()),
    }
}

/// Major and minor, which tell what a node can do.
fn release_of(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

fn newest_version(snapshot: &Snapshot) -> Option<(u32, u32)> {
    let versions = snapshot.nodes.values().filter_map(|v| v.version.as_deref());
    versions.filter_map(release_of).max()
}
