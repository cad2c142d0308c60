//! Who is measured: one node alone, and Miroir over one node and over three.

use anyhow::{Context, Result};
use miroir_testkit::{
    Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, Process, Programs,
};

/// The column everything else is compared with.
pub(crate) const BASELINE: usize = 0;

/// One contestant, running.
pub(crate) enum Contestant {
    /// A node that is asked directly.
    Alone(NodeProcess),
    /// A proxy and its nodes.
    Striped(Cluster),
}

/// Processor seconds used since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// By the proxy.
    pub(crate) proxy: f64,
    /// By all nodes together.
    pub(crate) nodes: f64,
}

impl Contestant {
    /// Starts all three, the baseline first.
    pub(crate) fn start_all(programs: &Programs, shards: u32, copies: u32) -> Result<Vec<Self>> {
        let mut contestants = vec![Self::Alone(NodeProcess::start(
            &programs.node,
            NodeOptions::default(),
        )?)];
        for (nodes, copies) in [(1, 1), (3, copies)] {
            let options = ClusterOptions {
                // What is measured is a search, not the memory of one.
                config: vec!["search_cache = \"0 B\"".to_owned()],
                ..ClusterOptions::new(nodes, copies, shards)
            };
            contestants.push(Self::Striped(Cluster::start(programs, &options)?));
        }
        Ok(contestants)
    }

    /// The head of its column.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Alone(_) => "one node alone".to_owned(),
            Self::Striped(cluster) if cluster.nodes.len() == 1 => "Miroir over 1 node".to_owned(),
            Self::Striped(cluster) => format!("Miroir over {} nodes", cluster.nodes.len()),
        }
    }

    /// A client of its endpoint.
    pub(crate) fn client(&self) -> &Client {
        match self {
            Self::Alone(node) => node.client(),
            Self::Striped(cluster) => cluster.client(),
        }
    }

    /// What its processes have used so far.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let seconds = |process: Option<&Process>| process.context("not running")?.cpu_seconds();
        let mut cpu = Cpu::default();
        let nodes = match self {
            Self::Alone(node) => std::slice::from_ref(node),
            Self::Striped(cluster) => {
                cpu.proxy = seconds(cluster.proxy.process())?;
                cluster.nodes.as_slice()
            }
        };
        for node in nodes {
            cpu.nodes += seconds(node.process())?;
        }
        Ok(cpu)
    }

    /// The most memory its proxy ever held, in bytes; none without a proxy.
    pub(crate) fn proxy_memory_bytes(&self) -> Result<Option<u64>> {
        match self {
            Self::Alone(_) => Ok(None),
            Self::Striped(cluster) => {
                let process = cluster.proxy.process().context("not running")?;
                process.memory_peak_bytes().map(Some)
            }
        }
    }
}
