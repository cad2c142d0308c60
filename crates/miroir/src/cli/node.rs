//! `miroir node`: the nodes, and changes of them, which are staged and not carried out yet.

use super::connection::Connection;
use super::topology::{self, Staging};
use crate::screen;
use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use miroir_api::admin::{Topology, TopologyChange};
use std::process::ExitCode;
use std::time::Duration;

/// List the nodes, and stage changes of them
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Changes are staged: nothing happens before they are applied. See what would be \
    done with `miroir topology plan`, begin with `miroir topology apply`, drop it with `miroir topology revert`."
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the nodes
    List {
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Stage: a node comes, and gets its share of the shards
    Add {
        /// Its name, new in the cluster
        name: String,
        /// Its address: http://host:port
        #[arg(long = "node-url", value_name = "URL")]
        node_url: String,
        /// Its failure domain
        #[arg(long)]
        zone: Option<String>,
        /// Its share of the documents relative to the others
        #[arg(long)]
        weight: Option<f64>,
        #[command(flatten)]
        staging: Staging,
    },
    /// Stage: a node's shards move away; it stays, empty
    Drain {
        /// Its name
        name: String,
        #[command(flatten)]
        staging: Staging,
    },
    /// Stage: a drained node takes shards again
    Activate {
        /// Its name
        name: String,
        #[command(flatten)]
        staging: Staging,
    },
    /// Stage: a node's shards move away, then it leaves
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        staging: Staging,
    },
    /// Stage: a newcomer takes a node's place, with its zone and weight unless others are given
    Replace {
        /// Who leaves
        name: String,
        /// The newcomer's name
        #[arg(long)]
        by: String,
        /// The newcomer's address: http://host:port
        #[arg(long = "node-url", value_name = "URL")]
        node_url: String,
        /// The newcomer's failure domain
        #[arg(long)]
        zone: Option<String>,
        /// The newcomer's share of the documents relative to the others
        #[arg(long)]
        weight: Option<f64>,
        #[command(flatten)]
        staging: Staging,
    },
    /// Stage: a node's zone, weight or address changes
    Set {
        /// Its name
        name: String,
        /// Its failure domain; "" takes it away
        #[arg(long)]
        zone: Option<String>,
        /// Its share of the documents relative to the others
        #[arg(long)]
        weight: Option<f64>,
        /// Its address, where it holds what it held: http://host:port
        #[arg(long = "node-url", value_name = "URL")]
        node_url: Option<String>,
        #[command(flatten)]
        staging: Staging,
    },
    /// Stage: a node is gone for good with all it held; its shards are copied from the survivors
    Lost {
        /// Its name
        name: String,
        /// Let shards that were only there begin anew, empty: their documents are lost
        #[arg(long)]
        accept_data_loss: bool,
        #[command(flatten)]
        staging: Staging,
    },
}

/// Lists or stages.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (change, staging) = match args.command {
        Command::List { proxy, json } => return list(&proxy, json).await,
        Command::Add {
            name,
            node_url: url,
            zone,
            weight,
            staging,
        } => {
            let change = TopologyChange::AddNode {
                name,
                url,
                zone,
                weight,
            };
            (change, staging)
        }
        Command::Drain { name, staging } => (TopologyChange::DrainNode { name }, staging),
        Command::Activate { name, staging } => (TopologyChange::ActivateNode { name }, staging),
        Command::Remove { name, staging } => (TopologyChange::RemoveNode { name }, staging),
        Command::Replace {
            name,
            by,
            node_url: url,
            zone,
            weight,
            staging,
        } => {
            let change = TopologyChange::ReplaceNode {
                name,
                by,
                url,
                zone,
                weight,
            };
            (change, staging)
        }
        Command::Set {
            name,
            zone,
            weight,
            node_url: url,
            staging,
        } => {
            let change = TopologyChange::SetNode {
                name,
                zone,
                weight,
                url,
            };
            (change, staging)
        }
        Command::Lost {
            name,
            accept_data_loss,
            staging,
        } => {
            let change = TopologyChange::DeclareLost {
                name,
                accept_data_loss,
            };
            (change, staging)
        }
    };
    topology::stage(change, &staging).await
}

async fn list(proxy: &Connection, json: bool) -> anyhow::Result<ExitCode> {
    let client = proxy.client(Duration::from_secs(30))?;
    let answer = client.get("/_miroir/topology").await?;
    let topology: Topology =
        serde_json::from_value(answer).context("the answer is not understood (is it a Miroir?)")?;
    screen::say(if json {
        serde_json::to_string_pretty(&topology.nodes)?
    } else {
        to_text(&topology)
    });
    Ok(ExitCode::SUCCESS)
}

fn to_text(topology: &Topology) -> String {
    let rows: Vec<Vec<String>> = topology
        .nodes
        .iter()
        .map(|node| {
            vec![
                node.name.clone(),
                match node.drained {
                    true => format!("{}, drained", node.state),
                    false => node.state.clone(),
                },
                if node.in_sync { "yes" } else { "no" }.to_owned(),
                node.shard_count.to_string(),
                node.weight.to_string(),
                node.zone.clone().unwrap_or_else(|| "-".into()),
                node.url.clone(),
            ]
        })
        .collect();
    let headers = [
        "node", "state", "in sync", "shards", "weight", "zone", "url",
    ];
    screen::table(&headers, &rows)
}
