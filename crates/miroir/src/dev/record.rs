//! `dev.json` in the data folder: what the folder was made with, and where its cluster listens.
//!
//! A folder keeps its number of nodes and replicas: changing them is a move of data, which a
//! restart must not start by accident.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "dev.json";

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// How many nodes the folder holds.
    pub(crate) node_count: u32,
    /// How many replicas each shard has.
    pub(crate) replication_factor: u32,
    /// Which program wrote the nodes' folders.
    pub(crate) node_kind: NodeKind,
    /// The proxy's URL in the present or last run.
    #[serde(default)]
    pub(crate) url: String,
    /// The process id of `miroir dev` in the present or last run.
    #[serde(default)]
    pub(crate) pid: u32,
    /// The nodes in the present or last run.
    #[serde(default)]
    pub(crate) nodes: Vec<NodeRecord>,
}

/// One node of the record. Its process id is in the `node.pid` of its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    /// Its name, which is also its folder's.
    pub(crate) name: String,
    /// Its URL.
    pub(crate) url: String,
}

/// Which program a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum NodeKind {
    /// The development node inside this binary.
    Bundled,
    /// A Meilisearch binary of the user's.
    Meilisearch,
}

/// What the user asked for; `None` where a flag was left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) node_count: Option<u32>,
    pub(crate) replication_factor: Option<u32>,
    pub(crate) node_kind: NodeKind,
}

/// The nodes of a new cluster, unless asked otherwise.
const DEFAULT_NODES: u32 = 3;
/// The replicas of a new cluster, unless asked otherwise or there are fewer nodes.
const DEFAULT_REPLICAS: u32 = 2;

/// Returns the shape of the cluster: what is asked for on a new folder, what the folder holds on
/// an old one.
///
/// # Errors
/// If the shape is impossible, or is not that of the folder.
pub(crate) fn agree(folder: &Path, old: Option<Record>, wish: Wish) -> anyhow::Result<Record> {
    let here = folder.display();
    if let Some(old) = old {
        let other = "to start another cluster, pass --data with another folder";
        if wish.node_count.is_some_and(|count| count != old.node_count) {
            bail!(
                "{here} holds a cluster of {} nodes: leave out --nodes to use it; {other}",
                old.node_count
            );
        }
        if wish
            .replication_factor
            .is_some_and(|factor| factor != old.replication_factor)
        {
            bail!(
                "{here} holds a cluster with {} replicas of each shard: leave out --rf to use it; \
                 {other}",
                old.replication_factor
            );
        }
        if wish.node_kind != old.node_kind {
            let (made, fix) = match old.node_kind {
                NodeKind::Bundled => ("the bundled nodes", "leave out --node-binary"),
                NodeKind::Meilisearch => ("a Meilisearch binary", "pass --node-binary"),
            };
            bail!("{here} was made with {made}: {fix} to use it; {other}");
        }
        return Ok(old);
    }
    let node_count = wish.node_count.unwrap_or(DEFAULT_NODES);
    let replication_factor = wish
        .replication_factor
        .unwrap_or(DEFAULT_REPLICAS.min(node_count));
    if replication_factor > node_count {
        bail!(
            "--rf {replication_factor} needs at least {replication_factor} nodes, because one node \
             holds at most one replica of a shard: pass --nodes {replication_factor} or a smaller \
             --rf"
        );
    }
    Ok(Record {
        node_count,
        replication_factor,
        node_kind: wish.node_kind,
        url: String::new(),
        pid: 0,
        nodes: Vec::new(),
    })
}

/// Returns the folder's record, `None` if it has none.
///
/// # Errors
/// If there is one that cannot be read.
pub(crate) fn load(folder: &Path) -> anyhow::Result<Option<Record>> {
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    let record = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a record of `miroir dev`", path.display()))?;
    Ok(Some(record))
}

/// Replaces the folder's record in one step.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn save(folder: &Path, record: &Record) -> anyhow::Result<()> {
    let path = folder.join(FILE);
    let new = folder.join("dev.json.new");
    let text = serde_json::to_string_pretty(record)?;
    std::fs::write(&new, text + "\n")
        .and_then(|()| std::fs::rename(&new, &path))
        .with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Wish = Wish {
        node_count: None,
        replication_factor: None,
        node_kind: NodeKind::Bundled,
    };

    fn agreed(wish: Wish) -> anyhow::Result<(u32, u32)> {
        agree(Path::new("d"), None, wish)
            .map(|record| (record.node_count, record.replication_factor))
    }

    #[test]
    fn a_new_folder_gets_three_nodes_and_two_replicas() {
        assert_eq!(agreed(NOTHING).unwrap(), (3, 2));
        assert_eq!(
            agreed(Wish {
                node_count: Some(1),
                ..NOTHING
            })
            .unwrap(),
            (1, 1)
        );
        assert_eq!(
            agreed(Wish {
                replication_factor: Some(3),
                ..NOTHING
            })
            .unwrap(),
            (3, 3)
        );
    }

    #[test]
    fn more_replicas_than_nodes_are_refused() {
        let wish = Wish {
            node_count: Some(2),
            replication_factor: Some(3),
            ..NOTHING
        };
        let told = agreed(wish).unwrap_err().to_string();
        assert!(told.contains("--rf 3 needs at least 3 nodes"), "{told}");
    }

    #[test]
    fn an_old_folder_keeps_its_shape() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        let wish = Wish {
            node_count: Some(5),
            ..NOTHING
        };
        let made = agree(dir.path(), None, wish).unwrap();
        save(dir.path(), &made).unwrap();
        let old = load(dir.path()).unwrap();
        assert_eq!(old.as_ref(), Some(&made));
        let again = |wish| agree(dir.path(), old.clone(), wish);
        assert_eq!(again(NOTHING).unwrap(), made);
        assert_eq!(again(wish).unwrap(), made);
        for (wrong, flag) in [
            (
                Wish {
                    node_count: Some(3),
                    ..NOTHING
                },
                "--nodes",
            ),
            (
                Wish {
                    replication_factor: Some(1),
                    ..NOTHING
                },
                "--rf",
            ),
            (
                Wish {
                    node_kind: NodeKind::Meilisearch,
                    ..NOTHING
                },
                "--node-binary",
            ),
        ] {
            let told = again(wrong).unwrap_err().to_string();
            assert!(told.contains(flag) && told.contains("--data"), "{told}");
        }
    }
}
