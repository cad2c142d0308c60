//! What operators see.

pub(crate) mod node;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::StoreError;
use miroir_api::admin;
use miroir_core::health::NodeHealth;
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::task::TaskStatus;

impl Engine {
    /// The cluster as `GET /_miroir/topology` shows it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn topology(&self) -> Result<admin::Topology, EngineError> {
        let shared = self.shared();
        let counts = shared.ports.store.count_tasks().await?;
        let lags = shared.lags().await?;
        let snapshot = shared.snapshot.load();
        let nodes = node::shown(shared, &snapshot, &lags);
        let unfinished = [TaskStatus::Enqueued, TaskStatus::Processing];
        Ok(admin::Topology {
            version: shared.config.version.clone(),
            replication_factor: shared.config.replication_factor,
            shard_count: shared.config.shard_count,
            nodes,
            unfinished_tasks: unfinished
                .iter()
                .filter_map(|status| counts.get(status))
                .sum(),
            store_fault: shared.gate.fault().map(|fault| admin::StoreFault {
                cause: fault.cause,
                since: fault
                    .since
                    .format(&time::format_description::well_known::Rfc3339)
                    .unwrap_or_default(),
            }),
        })
    }

    /// The shards of an index as `GET /_miroir/indexes/{uid}/shards` shows them.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`].
    pub async fn shards(&self, uid: &IndexUid) -> Result<admin::IndexShards, EngineError> {
        let snapshot = self.shared().snapshot.load();
        let entry = snapshot.index(uid)?;
        let is_in_sync = |node: &NodeId| {
            snapshot
                .nodes
                .get(node)
                .is_some_and(|view| view.record.is_in_sync)
        };
        let shards = (0u32..)
            .zip(entry.replica_sets.iter())
            .map(|(shard, replica_set)| admin::Shard {
                shard,
                replicas: replica_set
                    .iter()
                    .map(|node| admin::Replica {
                        node: node.to_string(),
                        in_sync: is_in_sync(node),
                    })
                    .collect(),
            })
            .collect();
        Ok(admin::IndexShards {
            index_uid: uid.to_string(),
            physical: entry.record.physical.to_string(),
            epoch: entry.record.epoch.0,
            replication_factor: entry.record.replication_factor,
            shards,
        })
    }

    /// Copies the store into an empty folder of this machine while everything goes on.
    ///
    /// # Errors
    /// [`EngineError::Client`] if the folder cannot take it, else what the store says.
    pub async fn backup(&self, to: std::path::PathBuf) -> Result<admin::Backup, EngineError> {
        match self.shared().ports.store.backup(to).await {
            Ok(report) => Ok(admin::Backup {
                folder: report.folder.display().to_string(),
                database_bytes: report.database_bytes,
                payload_files: report.payload_files,
                payload_bytes: report.payload_bytes,
                last_task: report.last_task,
                last_batch: report.last_batch,
            }),
            Err(StoreError::Conflict(message)) => Err(EngineError::Client {
                code: "bad_request",
                message,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether traffic may be sent here: every shard of every index has a replica that is in sync
    /// and answers.
    pub async fn ready(&self) -> admin::Ready {
        let shared = self.shared();
        let snapshot = shared.snapshot.load();
        let not_ready = |reason: String| admin::Ready {
            ready: false,
            reason: Some(reason),
        };
        if shared.shutdown.is_cancelled() {
            return not_ready("the proxy is shutting down".into());
        }
        let is_usable = |node: &NodeId| {
            snapshot
                .nodes
                .get(node)
                .is_some_and(|view| view.is_readable() && view.health != NodeHealth::Unknown)
        };
        if !snapshot.nodes.keys().any(is_usable) {
            return not_ready("no node has answered yet".into());
        }
        for (uid, entry) in &snapshot.indexes {
            let missing = entry
                .replica_sets
                .iter()
                .filter(|set| !set.iter().any(is_usable))
                .count();
            if missing > 0 {
                return not_ready(format!("{missing} shards of index `{uid}` have no replica"));
            }
        }
        // Reads are answered while the store fails, so traffic goes on; the reason tells of it.
        admin::Ready {
            ready: true,
            reason: shared
                .gate
                .fault()
                .map(|fault| format!("writes are refused: {}", fault.cause)),
        }
    }
}

fn state_name(health: NodeHealth) -> &'static str {
    match health {
        NodeHealth::Unknown => "unknown",
        NodeHealth::Up => "up",
        NodeHealth::Suspect => "suspect",
        NodeHealth::Down => "down",
    }
}
