//! The work of `miroir recover`: asks the nodes, plans, and makes a data folder.

mod show;

pub(crate) use show::{to_json, to_text};

use crate::clock::SystemClock;
use crate::config::Config;
use crate::wire;
use anyhow::{Context, ensure};
use miroir_core::id::{IndexUid, NodeId, PhysicalIndex};
use miroir_core::recover::{Input, NodeSeen, Plan, plan};
use miroir_core::settings::SettingsFacts;
use miroir_core::topology::{Node, Topology};
use miroir_engine::port::{Clock, NodeClient, NodeRead};
use miroir_engine::rebuild;
use miroir_engine::state::NodeSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

/// A question that is answered at once.
const QUICK: Duration = Duration::from_secs(10);

/// What the operator says.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// Names that nodes do not tell.
    pub(crate) names: BTreeMap<PhysicalIndex, IndexUid>,
    /// Indexes to leave out.
    pub(crate) without: BTreeSet<PhysicalIndex>,
    /// Nodes that are gone.
    pub(crate) absent: BTreeSet<String>,
    /// Numbers to leave out.
    pub(crate) spare: u64,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) plan: Plan,
    pub(crate) seen: BTreeMap<NodeId, NodeSeen>,
    pub(crate) specs: Vec<NodeSpec>,
}

/// Asks every node that is there, and plans.
///
/// # Errors
/// A node does not answer or is at work, or nothing can be planned.
pub(crate) async fn look(config: &Config, wish: Wish) -> anyhow::Result<Found> {
    let specs = wire::node_specs(config);
    for name in &wish.absent {
        let is_known = specs.iter().any(|spec| spec.id.as_str() == name);
        ensure!(is_known, "the configuration has no node {name}");
    }
    let nodes: Arc<dyn NodeClient> = Arc::new(wire::node_client(config));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let is_there = |spec: &&NodeSpec| !wish.absent.contains(spec.id.as_str());
    let present: Vec<&NodeSpec> = specs.iter().filter(is_there).collect();
    ensure!(
        !present.is_empty(),
        "every node is absent: there is nothing to recover from"
    );
    let mut is_legacy = false;
    for spec in &present {
        is_legacy |= is_before_split(&*nodes, &spec.id).await?;
    }
    let progress = |node: &NodeId, index: Option<&PhysicalIndex>, documents: u64| match index {
        Some(index) => tracing::info!(%node, %index, documents, "reading"),
        None => tracing::info!(%node, "reading"),
    };
    // At the same time: each node reads its own disk.
    let looks = present
        .iter()
        .map(|spec| rebuild::look(&nodes, &clock, &spec.id, &progress));
    let shown = futures::future::try_join_all(looks).await?;
    let ids = present.iter().map(|spec| spec.id.clone());
    let seen: BTreeMap<NodeId, NodeSeen> = ids.zip(shown).collect();
    let topology = Topology::new(specs.iter().map(to_node).collect())?;
    let plan = plan(&Input {
        seen: &seen,
        topology: &topology,
        shard_count: NonZeroU32::new(config.default_shards).unwrap_or(NonZeroU32::MIN),
        replication_factor: config.replication_factor,
        facts: SettingsFacts {
            legacy_ranking: is_legacy,
            ..SettingsFacts::default()
        },
        names: &wish.names,
        without: &wish.without,
        spare: wish.spare,
    })?;
    Ok(Found { plan, seen, specs })
}

fn to_node(spec: &NodeSpec) -> Node {
    let mut node = Node::new(spec.id.clone(), spec.url.clone());
    node.zone.clone_from(&spec.zone);
    node.weight_milli = spec.weight_milli;
    node
}

/// The node is older than Meilisearch 1.36, whose default ranking rules are other ones.
async fn is_before_split(nodes: &dyn NodeClient, node: &NodeId) -> anyhow::Result<bool> {
    let answer = nodes.read(node, NodeRead::Version, QUICK).await;
    let answer = answer.with_context(|| {
        format!(
            "node {node} does not answer: start it, or say that it is gone with --absent {node}"
        )
    })?;
    let version: serde_json::Value = serde_json::from_slice(&answer)?;
    Ok(miroir_engine::state::is_legacy(
        version["pkgVersion"].as_str().unwrap_or_default(),
    ))
}

/// Refuses a folder that holds anything.
///
/// # Errors
/// It does.
pub(crate) fn check_folder(folder: &Path) -> anyhow::Result<()> {
    let is_empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", folder.display()));
        }
    };
    ensure!(
        is_empty,
        "{} is not empty: a store is recovered into a new data folder only. Move what is there \
         away, or name another folder with --data-dir",
        folder.display()
    );
    Ok(())
}

/// Makes the data folder. It is made beside and moved, so that a crash leaves no half of a store.
///
/// # Errors
/// It is not empty, or the disk failed.
pub(crate) async fn write(config: &Config, found: &Found) -> anyhow::Result<()> {
    let folder = &config.data_dir;
    check_folder(folder)?;
    let mut beside = folder.as_os_str().to_owned();
    beside.push(".recovering");
    let beside = PathBuf::from(beside);
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    {
        let store = miroir_store::open(&beside)?;
        let now = SystemClock::new().now();
        let (plan, seen) = (&found.plan, &found.seen);
        rebuild::write(&*store, &*store, plan, &found.specs, seen, now).await?;
    }
    if folder.exists() {
        fs::remove_dir(folder)?;
    }
    fs::rename(&beside, folder)?;
    if let Some(parent) = folder.parent() {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}
