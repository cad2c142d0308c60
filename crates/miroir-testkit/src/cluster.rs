//! Several nodes and one proxy over them.

use crate::{
    Client, Link, NodeOptions, NodeProcess, PATIENCE, Programs, ProxyOptions, ProxyProcess, poll,
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::thread;

/// The shape of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The number of nodes, named `node-1`, `node-2`, ….
    pub nodes: u32,
    /// The copies of each shard.
    pub replication_factor: u32,
    /// The shards of a new index.
    pub shards: u32,
    /// Further lines for the proxy's configuration.
    pub config: Vec<String>,
    /// The proxy reaches each node over a link that can be broken.
    pub has_links: bool,
    /// Each node stores on a disk of this size, where that is possible.
    pub disk_bytes: Option<u64>,
}

impl ClusterOptions {
    /// This many nodes, copies and shards, and a proxy that notices the death of a node quickly.
    #[must_use]
    pub fn new(nodes: u32, replication_factor: u32, shards: u32) -> Self {
        let config = vec!["probe_interval = \"100 ms\"".to_owned()];
        Self {
            nodes,
            replication_factor,
            shards,
            config,
            has_links: false,
            disk_bytes: None,
        }
    }
}

/// A proxy over nodes of its own. The proxy is dropped, and so stopped, before the nodes.
#[derive(Debug)]
pub struct Cluster {
    /// The proxy.
    pub proxy: ProxyProcess,
    /// The links to the nodes, in their order; none if not asked for.
    pub links: Vec<Link>,
    /// The nodes, in the order of their names.
    pub nodes: Vec<NodeProcess>,
}

impl Cluster {
    /// Starts the nodes at the same time, then the proxy, and waits until it is ready.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(programs: &Programs, options: &ClusterOptions) -> Result<Self> {
        let nodes = thread::scope(|scope| {
            let starts: Vec<_> = (0..options.nodes)
                .map(|_| {
                    scope.spawn(|| {
                        let disk_bytes = options.disk_bytes;
                        NodeProcess::start_on(&programs.node, NodeOptions::default(), disk_bytes)
                    })
                })
                .collect();
            starts
                .into_iter()
                .map(|start| {
                    start
                        .join()
                        .map_err(|_| anyhow::anyhow!("a start panicked"))?
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let links = match options.has_links {
            true => nodes
                .iter()
                .map(|node| Link::start(node.address()))
                .collect(),
            false => Ok(Vec::new()),
        }?;
        let url = |(idx, node): (usize, &NodeProcess)| {
            let name = format!("node-{}", idx + 1);
            (name, links.get(idx).map_or_else(|| node.url(), Link::url))
        };
        let named = nodes.iter().enumerate().map(url).collect();
        let proxy = ProxyProcess::start(
            programs,
            ProxyOptions {
                nodes: named,
                replication_factor: options.replication_factor,
                shards: options.shards,
                config: options.config.clone(),
                master_key: None,
                node_key: None,
            },
        )?;
        proxy.wait_ready()?;
        Ok(Self {
            proxy,
            links,
            nodes,
        })
    }

    /// The client of the proxy.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.proxy.client()
    }

    /// The name that the nodes know an index by.
    ///
    /// # Errors
    /// When the proxy does not tell.
    pub fn physical_index(&self, index: &str) -> Result<String> {
        let shards = self
            .client()
            .get(&format!("/_miroir/indexes/{index}/shards"))?
            .ok()?;
        Ok(shards["physical"]
            .as_str()
            .context("no physical name")?
            .to_owned())
    }

    /// What the proxy thinks of the node at this position.
    ///
    /// # Errors
    /// When the proxy does not tell.
    pub fn node_state(&self, node_idx: usize) -> Result<Value> {
        let topology = self.client().get("/_miroir/topology")?.ok()?;
        let name = format!("node-{}", node_idx + 1);
        let nodes = topology["nodes"]
            .as_array()
            .context("a topology without nodes")?;
        let node = nodes.iter().find(|node| node["name"] == name.as_str());
        node.cloned()
            .with_context(|| format!("no {name} in {topology}"))
    }

    /// Waits until the proxy has every node in its in-sync set (or one, out of it).
    ///
    /// # Errors
    /// When that does not happen in time; the message has the last state seen.
    pub fn wait_in_sync(&self, node_idx: usize, in_sync: bool) -> Result<Value> {
        let mut last = Value::Null;
        poll(
            &format!("node {} inSync={in_sync}", node_idx + 1),
            PATIENCE,
            || {
                last = self.node_state(node_idx)?;
                Ok((last["inSync"] == in_sync).then(|| last.clone()))
            },
        )
        .with_context(|| format!("last seen: {last}"))
    }

    /// Waits until the proxy sees the node at this position as up and in sync.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn wait_healthy(&self, node_idx: usize) -> Result<()> {
        let mut last = Value::Null;
        poll(
            &format!("the return of node {}", node_idx + 1),
            PATIENCE,
            || {
                last = self.node_state(node_idx)?;
                Ok((last["inSync"] == true && last["state"] == "up").then_some(()))
            },
        )
        .with_context(|| format!("last seen: {last}"))
    }
}
