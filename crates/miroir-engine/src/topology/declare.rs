//! A declared topology: what differs is staged, and applied where that is allowed.
//!
//! Applied as often as one likes, at each start and whenever the file is read again. What cannot be
//! done yet (a newcomer does not answer, another change is being carried out) is tried again until it
//! can; what was done once is not done again, so whoever drops what was staged is not contradicted
//! before the file is read again.

use super::{Record, index_uids, newcomer, sentence, topology_of, words, wrong};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::state::{Shared, Snapshot};
use miroir_api::admin::{ApplyPolicy, Declaration, DeclarationOutcome, DeclaredNode};
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::rebalance::declare::{Declared, Present, difference};
use miroir_core::rebalance::stage::{StagedChange, desire};
use miroir_core::topology::{Node, NodeRole, Topology, WEIGHT_MILLI_DEFAULT};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::Notify;

/// Before what could not be done is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// What the configuration declares, and what of it is not done.
#[derive(Debug, Default)]
pub(super) struct Board {
    declaration: Mutex<Option<Declaration>>,
    objections: Mutex<Vec<String>>,
    changed: Notify,
}

impl Board {
    pub(super) fn objections(&self) -> Vec<String> {
        self.objections.lock().clone()
    }
}

impl Engine {
    /// From now on the configuration declares this, or nothing. It is compared at once.
    pub fn set_declaration(&self, declaration: Option<Declaration>) {
        let board = &self.shared().topology.board;
        *board.declaration.lock() = declaration;
        board.changed.notify_one();
    }

    /// Compares a declared topology with the one there is, stages what differs, and applies it if the
    /// declaration allows that. What was staged for an earlier declaration is replaced.
    ///
    /// # Errors
    /// [`EngineError::Client`] if the declaration makes no sense; otherwise the store failed.
    pub async fn declare(
        &self,
        declaration: Declaration,
    ) -> Result<DeclarationOutcome, EngineError> {
        let shared = self.shared();
        let declared = from_wire(&declaration)?;
        let outcome = self.stage_declared(&declared, declaration.dry_run).await?;
        let Some(epoch) = outcome.staged_epoch else {
            return Ok(outcome);
        };
        if declaration.apply != ApplyPolicy::Auto || declaration.dry_run {
            return Ok(outcome);
        }
        let applied = Box::pin(self.apply(epoch)).await;
        let mut outcome = DeclarationOutcome {
            epoch: shared.topology.record().epoch,
            ..outcome
        };
        match applied {
            Ok(_) => {
                outcome.is_applied = true;
                outcome.staged_epoch = None;
            }
            Err(EngineError::Client { message, .. }) => outcome.objections.push(message),
            Err(error) => return Err(error),
        }
        Ok(outcome)
    }

    async fn stage_declared(
        &self,
        declared: &Declared,
        is_dry: bool,
    ) -> Result<DeclarationOutcome, EngineError> {
        let shared = self.shared();
        let turn = shared.topology.turn()?;
        let mut record = shared.topology.record();
        let snapshot = shared.snapshot.load_full();
        let topology = topology_of(shared, &snapshot)?;
        let found = {
            let replication_factors = replication_factors(&snapshot);
            let present = Present {
                topology: &topology,
                holders: &holders(&snapshot),
                replication_factors: &replication_factors,
            };
            difference(present, declared)
        };
        let mut objections: Vec<String> = found
            .objections
            .iter()
            .map(|objection| sentence(&objection.to_string()))
            .collect();
        let changes = fit(shared, found.changes, &mut objections).await?;
        desire(&topology, &index_uids(&snapshot), &changes)
            .map_err(|error| wrong(sentence(&error.to_string())))?;
        let mut outcome = DeclarationOutcome {
            epoch: record.epoch,
            changes: changes.iter().map(words::describe).collect(),
            ..DeclarationOutcome::default()
        };
        match obstacle(&record, &changes) {
            Some(obstacle) if !changes.is_empty() => objections.push(obstacle),
            _ if is_dry => {}
            _ => {
                let is_new = record.staged != changes;
                if is_new && (record.is_declared || !changes.is_empty()) {
                    record.is_declared = !changes.is_empty();
                    record.staged = changes;
                    if !record.staged.is_empty() {
                        record.last_epoch = record.last_epoch.max(record.epoch) + 1;
                    }
                    turn.put(shared, record.clone()).await?;
                }
                let is_staged = record.is_declared && !record.staged.is_empty();
                outcome.staged_epoch = is_staged.then_some(record.last_epoch);
            }
        }
        outcome.objections = objections;
        Ok(outcome)
    }
}

/// What keeps anything from being staged.
fn obstacle(record: &Record, changes: &[StagedChange]) -> Option<String> {
    if record.goal.is_some() {
        return Some(format!(
            "Epoch {} is still being carried out: what is declared waits for its end.",
            record.epoch
        ));
    }
    (!record.staged.is_empty() && !record.is_declared && record.staged != changes).then(|| {
        "Changes are staged by hand: apply or drop them (`miroir topology revert`), what is declared \
         waits."
            .to_owned()
    })
}

/// The changes but for newcomers that are not fit to come yet.
async fn fit(
    shared: &Shared,
    changes: Vec<StagedChange>,
    objections: &mut Vec<String>,
) -> Result<Vec<StagedChange>, EngineError> {
    let mut fit = Vec::with_capacity(changes.len());
    let mut unfit: BTreeSet<NodeId> = BTreeSet::new();
    for change in changes {
        let of_unfit = |node: &NodeId| unfit.contains(node);
        if matches!(&change, StagedChange::DrainNode { node } if of_unfit(node)) {
            continue;
        }
        match newcomer::check_change(shared, &change).await {
            Ok(()) => fit.push(change),
            Err(EngineError::Client { message, .. }) => {
                objections.push(message);
                if let StagedChange::AddNode { node } = &change {
                    unfit.insert(node.id.clone());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(fit)
}

fn replication_factors(snapshot: &Snapshot) -> BTreeMap<IndexUid, u32> {
    let entries = snapshot.indexes.values();
    entries
        .map(|entry| (entry.record.uid.clone(), entry.record.replication_factor))
        .collect()
}

/// The nodes that hold something, or from which something is still to be removed.
fn holders(snapshot: &Snapshot) -> BTreeSet<NodeId> {
    let holds = |node: &&NodeId| {
        let mut entries = snapshot.indexes.values();
        entries.any(|entry| !entry.placement.held_by(node).is_empty())
    };
    snapshot.nodes.keys().filter(holds).cloned().collect()
}

fn from_wire(declaration: &Declaration) -> Result<Declared, EngineError> {
    let node = |node: &DeclaredNode| -> Result<Node, EngineError> {
        Ok(Node {
            id: words::node_name(&node.name)?,
            url: words::address(&node.url)?,
            zone: node.zone.clone().filter(|zone| !zone.is_empty()),
            weight_milli: words::weight_milli(node.weight)?.unwrap_or(WEIGHT_MILLI_DEFAULT),
            role: match node.drain {
                true => NodeRole::Draining,
                false => NodeRole::Active,
            },
        })
    };
    let nodes: Vec<Node> = declaration
        .nodes
        .iter()
        .map(node)
        .collect::<Result<_, _>>()?;
    if !nodes.is_empty() {
        Topology::new(nodes.clone()).map_err(|error| wrong(sentence(&error.to_string())))?;
    }
    let factors = declaration.replication_factors.iter();
    let replication_factors = factors
        .map(|(uid, factor)| {
            let uid = IndexUid::new(uid.clone())
                .map_err(|error| wrong(format!("`{}` is no index uid.", error.0)))?;
            Ok((uid, *factor))
        })
        .collect::<Result<_, EngineError>>()?;
    Ok(Declared {
        nodes,
        replication_factor: declaration.replication_factor,
        replication_factors,
    })
}

/// Compares what the configuration declares whenever it is read, when other nodes are found, and again
/// until all of it is done.
pub(crate) async fn run(engine: Engine) {
    let shared = engine.shared_arc();
    let board = &shared.topology.board;
    let discovery = shared.config.discovery.clone();
    let interval = discovery
        .as_ref()
        .map_or(RETRY_INTERVAL, |one| one.interval);
    let mut found = BTreeSet::new();
    let mut is_open = true;
    loop {
        let changed = board.changed.notified();
        if let Some(discovery) = &discovery {
            let now = discovery.find().await;
            is_open |= now != found;
            found = now;
        }
        if is_open {
            is_open = look(&engine, &found).await;
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = changed => is_open = true,
            () = shared.ports.clock.sleep(interval), if is_open || discovery.is_some() => {}
        }
    }
}

/// Whether something is left to try again.
async fn look(engine: &Engine, found: &BTreeSet<u32>) -> bool {
    let shared = engine.shared();
    let board = &shared.topology.board;
    let declaration = board.declaration.lock().clone();
    let Some(declaration) = declaration else {
        board.objections.lock().clear();
        return false;
    };
    let (declaration, vanished) = match &shared.config.discovery {
        Some(discovery) => discovery.complete(engine, found, declaration),
        None => (declaration, Vec::new()),
    };
    let objections = match Box::pin(engine.declare(declaration)).await {
        Ok(outcome) => {
            if !outcome.changes.is_empty() {
                tracing::info!(
                    changes = outcome.changes.join("; "),
                    staged = outcome.staged_epoch,
                    applied = outcome.is_applied,
                    "the topology differs from what is declared"
                );
            }
            outcome.objections
        }
        Err(EngineError::Client { message, .. }) => vec![message],
        Err(error) => vec![error.to_string()],
    };
    let is_open = !objections.is_empty();
    let told_now: Vec<String> = objections.into_iter().chain(vanished).collect();
    let mut told = board.objections.lock();
    if *told != told_now {
        for objection in &told_now {
            tracing::warn!(objection, "what is declared of the topology is not done");
        }
        *told = told_now;
    }
    is_open
}
