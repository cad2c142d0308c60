//! What would come of a re-shard: where the twin would lie, how much would be written there, and how
//! long that takes at least.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::movement::refused;
use crate::topology::{observe, topology_of};
use miroir_api::admin;
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::placement::place;
use miroir_core::reserved::SHARD_COUNT_MAX;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

impl Engine {
    /// What would come of cutting an index into so many shards. Nothing is changed.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`], or [`EngineError::Client`] if the nodes make no topology.
    pub async fn reshard_plan(
        &self,
        index: &IndexUid,
        shard_count: u32,
        free_bytes: &BTreeMap<String, u64>,
    ) -> Result<admin::ReshardPlan, EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(index)?.clone();
        let record = &entry.record;
        let topology = topology_of(shared, &snapshot)?;
        let observed = observe::observe(shared).await;
        let state = observed.indexes.iter().find(|one| one.uid == *index);
        let (documents, bytes) = state.map_or((0, 0), |one| (one.documents, one.bytes));
        let mut plan = admin::ReshardPlan {
            index_uid: index.to_string(),
            from_shards: record.shard_count,
            to_shards: shard_count,
            replication_factor: record.replication_factor,
            documents,
            bytes,
            ..admin::ReshardPlan::default()
        };
        if shard_count == 0 || shard_count > SHARD_COUNT_MAX {
            let text = format!("An index has 1 to {SHARD_COUNT_MAX} shards.");
            plan.refusals.push(text);
            return Ok(plan);
        }
        if shard_count == record.shard_count {
            let text = format!("Index `{index}` has {shard_count} shards already.");
            plan.refusals.push(text);
        }
        if let Some(other) = shared.reshards.of(&record.physical) {
            let text = match other.is_copying() {
                true => "It is being re-sharded already.",
                false => "The way back of its last re-shard is kept: drop it, or go back, first.",
            };
            plan.refusals.push(text.into());
        }
        if self.movement().is_some_and(|one| !one.state.is_final()) {
            let text =
                "Shards are being moved: it begins when that is over (miroir topology status).";
            plan.warnings.push(text.into());
        }
        let count = NonZeroU32::new(shard_count).unwrap_or(NonZeroU32::MIN);
        let target = record.physical.cut_anew(shared.reshards.next_cut());
        let placed = place(target.as_str(), count, record.replication_factor, &topology);
        let placed = placed.map_err(|error| refused(format!("It cannot be placed: {error}.")))?;
        let factor = u128::from(observed.disk_factor_milli.unwrap_or(1000));
        let share = |total: u64, shards: usize| {
            let shards = u64::try_from(shards).unwrap_or(u64::MAX);
            total.saturating_mul(shards) / u64::from(shard_count)
        };
        for (name, view) in &snapshot.nodes {
            let shards = placed.shards_of(name).len();
            let bytes = share(bytes, shards);
            let disk = u64::try_from(u128::from(bytes) * factor / 1000).unwrap_or(u64::MAX);
            let free = free_bytes.get(name.as_str()).copied();
            if let Some(free) = free.filter(|free| disk > *free) {
                plan.refusals.push(format!(
                    "Node `{name}` needs {disk} bytes of disk beside what it holds and has {free} free."
                ));
            }
            if shards > 0 && !view.is_readable() {
                let text =
                    format!("Node `{name}` is not in sync or does not answer: it would wait.");
                plan.warnings.push(text);
            }
            plan.nodes.push(admin::ReshardNode {
                node: name.to_string(),
                shards_now: entry.placement.shards_of(name).len() as u64,
                shards: shards as u64,
                documents: share(documents, shards),
                bytes,
                disk_bytes: disk,
            });
        }
        let nodes: Vec<&NodeId> = snapshot.nodes.keys().collect();
        if u64::from(shard_count) < nodes.len() as u64 {
            plan.warnings.push(format!(
                "{shard_count} shards leave some of {} nodes without any of it.",
                nodes.len()
            ));
        }
        let copies = u64::from(record.replication_factor);
        let config = &shared.config.copy;
        let at = |amount: u64, rate: u64| {
            (rate > 0).then(|| amount.saturating_mul(copies).div_ceil(rate))
        };
        plan.seconds =
            at(bytes, config.bytes_per_second).max(at(documents, config.documents_per_second));
        Ok(plan)
    }
}
