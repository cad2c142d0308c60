//! `miroir plan-capacity`: how many nodes and shards a quantity of documents needs. Asks nobody, but
//! for `--index`: then what is not given is that of an index of a running proxy.

mod live;

use super::connection::Connection;
use crate::screen::{self, bytes, grouped};
use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use miroir_core::capacity::{Bound, Capacity, Workload, capacity};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Tell how many nodes and shards a quantity of documents needs
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "The formulas and where their constants come from: docs/reference/capacity.md.\n\
    The defaults of --disk-factor and --hot fit nobody exactly: measure --disk-factor on a node with \
    some of your documents (usedDatabaseSize over the size of the JSON).\n\
    What if an index grew to five times its documents: --index movies --times 5 --node-ram 16GiB"
)]
pub(super) struct Args {
    /// Documents, such as 2e9 or 150000000
    #[arg(long, value_name = "COUNT", value_parser = read_count, required_unless_present = "index")]
    documents: Option<u64>,
    /// The size of a document as JSON, on average
    #[arg(long, value_name = "SIZE", value_parser = read_size_arg, required_unless_present = "index")]
    doc_bytes: Option<u64>,
    /// An index of a running proxy: its documents, their size, its copies and what they take of the
    /// disks stand for what is not given
    #[arg(long, value_name = "UID")]
    index: Option<String>,
    /// So many times the documents of that index
    #[arg(
        long,
        value_name = "FACTOR",
        requires = "index",
        conflicts_with = "documents"
    )]
    times: Option<f64>,
    /// A node's memory, such as 16GiB
    #[arg(long, value_name = "SIZE", value_parser = read_size_arg)]
    node_ram: u64,
    /// A node's disk, if it bounds anything
    #[arg(long, value_name = "SIZE", value_parser = read_size_arg)]
    node_disk: Option<u64>,
    /// Copies of each shard [default: 2, or those of --index]
    #[arg(long, value_name = "COUNT")]
    rf: Option<u32>,
    /// Bytes on disk for each byte of JSON [default: 4, or as seen on the nodes with --index]
    #[arg(long, value_name = "FACTOR")]
    disk_factor: Option<f64>,
    /// The part of the indexed data that searches touch again and again and that should stay in
    /// memory, 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.3)]
    hot: f64,
    /// The part of a disk that should be filled at most, 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.7)]
    disk_fill: f64,
    /// The nodes there are, instead of asking how many are needed
    #[arg(long, value_name = "COUNT")]
    nodes: Option<u64>,
    /// The shards, instead of the rule
    #[arg(long, value_name = "COUNT")]
    shards: Option<u32>,
    #[command(flatten)]
    proxy: Connection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a byte of JSON takes of a Meilisearch's disk: see `docs/reference/capacity.md`.
const DISK_FACTOR: f64 = 4.0;
/// Copies where nothing is said of them, as in the configuration.
const COPIES: u32 = 2;

fn read_count(text: &str) -> anyhow::Result<u64> {
    if let Ok(count) = text.replace(['_', ','], "").parse() {
        return Ok(count);
    }
    let number: f64 = text.parse().context("it is not a number")?;
    if !(1.0..1e18).contains(&number) {
        bail!("it must be from 1 to 1e18");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded above"
    )]
    let count = number as u64;
    Ok(count)
}

fn read_size_arg(text: &str) -> anyhow::Result<u64> {
    read_size(text)
}

/// A size with or without its unit.
pub(super) fn read_size(text: &str) -> anyhow::Result<u64> {
    if let Ok(bytes) = text.parse() {
        return Ok(bytes);
    }
    crate::config::parse_bytes(text).map_err(anyhow::Error::msg)
}

/// Works it out and prints.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let live = match &args.index {
        Some(index) => Some(live::ask(&args.proxy, index).await?),
        None => None,
    };
    let of_live = |of: fn(&live::Live) -> u64| live.as_ref().map(of);
    let documents = args.documents.or_else(|| {
        live.as_ref()
            .map(|live| live.times(args.times.unwrap_or(1.0)))
    });
    let document_bytes = args
        .doc_bytes
        .or_else(|| of_live(|live| live.document_bytes));
    let planned = capacity(&Workload {
        documents: documents.context("--documents or --index is needed")?,
        document_bytes: document_bytes.context("--doc-bytes or --index is needed")?,
        disk_factor: args
            .disk_factor
            .or_else(|| live.as_ref().and_then(|live| live.disk_factor))
            .unwrap_or(DISK_FACTOR),
        replication_factor: args
            .rf
            .or_else(|| live.as_ref().map(|live| live.replication_factor))
            .unwrap_or(COPIES),
        node_memory_bytes: args.node_ram,
        node_disk_bytes: args.node_disk,
        hot: args.hot,
        disk_fill_max: args.disk_fill,
        nodes: args.nodes,
        shards: args.shards,
    })?;
    screen::say(if args.json {
        let mut shown = to_json(&planned);
        if let (Some(live), Some(shown)) = (&live, shown.as_object_mut()) {
            shown.insert("now".to_owned(), live.to_json(&planned));
        }
        serde_json::to_string_pretty(&shown)?
    } else {
        match &live {
            Some(live) => format!("{}\n\n{}", live.to_text(&planned), to_text(&planned)),
            None => to_text(&planned),
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn bound_name(bound: Bound) -> &'static str {
    match bound {
        Bound::Memory => "memory",
        Bound::Disk => "disk",
        Bound::Documents => "documents",
        Bound::Copies => "copies",
        Bound::Given => "given",
    }
}

fn to_json(planned: &Capacity) -> Value {
    let notes: Vec<String> = planned.notes.iter().map(ToString::to_string).collect();
    json!({
        "indexBytes": planned.index_bytes,
        "totalBytes": planned.total_bytes,
        "nodes": planned.nodes,
        "bound": bound_name(planned.bound),
        "nodesForMemory": planned.nodes_for_memory,
        "nodesForDisk": planned.nodes_for_disk,
        "shards": planned.shards,
        "replicasPerNode": planned.replicas_per_node,
        "nodeDocuments": planned.node_documents,
        "nodeBytes": planned.node_bytes,
        "nodeBytesAfterLoss": planned.node_bytes_after_loss,
        "shardDocuments": planned.shard_documents,
        "shardBytes": planned.shard_bytes,
        "fanOut": planned.fan_out,
        "imbalance": planned.imbalance,
        "growthBytes": planned.growth_bytes,
        "notes": notes,
    })
}

fn to_text(planned: &Capacity) -> String {
    let why = match planned.bound {
        Bound::Memory => "so that what is hot stays in memory",
        Bound::Disk => "so that it fits on the disks",
        Bound::Documents => "so that each node can number its documents",
        Bound::Copies => "one for each copy",
        Bound::Given => "as given",
    };
    let worked_out = |value: Option<String>| value.unwrap_or_else(|| "not worked out".into());
    let rows = [
        ("nodes", format!("{} ({why})", grouped(planned.nodes))),
        ("shards", grouped(u64::from(planned.shards))),
        ("one copy", bytes(planned.index_bytes)),
        ("all copies", bytes(planned.total_bytes)),
        (
            "on a node",
            format!(
                "{}, {} documents, {:.1} replicas of shards",
                bytes(planned.node_bytes),
                grouped(planned.node_documents),
                planned.replicas_per_node
            ),
        ),
        (
            "after a loss",
            format!("{} on a node", bytes(planned.node_bytes_after_loss)),
        ),
        (
            "a shard",
            format!(
                "{}, {} documents",
                bytes(planned.shard_bytes),
                grouped(planned.shard_documents)
            ),
        ),
        (
            "a search asks",
            worked_out(
                planned
                    .fan_out
                    .map(|count| format!("{} nodes", grouped(count))),
            ),
        ),
        (
            "fullest node",
            worked_out(
                planned
                    .imbalance
                    .map(|over| format!("{:.0} % of its share", over * 100.0)),
            ),
        ),
        (
            "one node more",
            worked_out(
                planned
                    .growth_bytes
                    .map(|moved| format!("{} move to it", bytes(moved))),
            ),
        ),
    ];
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("  {name:<15}{value}"))
        .collect();
    for note in &planned.notes {
        lines.push(format!("\nNote: {note}."));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sizes_are_read_as_people_write_them() {
        assert_eq!(read_count("2e9").unwrap(), 2_000_000_000);
        assert_eq!(read_count("1,500").unwrap(), 1500);
        assert!(read_count("many").is_err() && read_count("-1").is_err());
        assert_eq!(read_size("1200").unwrap(), 1200);
        assert_eq!(read_size("16GiB").unwrap(), 16 << 30);
        assert!(read_size("16 rams").is_err());
    }
}
