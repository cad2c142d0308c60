//! One node alone against Miroir over one node and over three, in one run.
//!
//! Every measure takes its contestants in turn on the same machine, and every number stands beside
//! its ratio to the node alone: the ratio is what the machine's mood leaves standing.

mod contestant;
mod data;
mod measure;
mod movement;
mod table;

use anyhow::{Context, Result};
use clap::Parser;
use contestant::Contestant;
use data::Data;
use measure::{Ingest, Search};
use miroir_testkit::{NodeProgram, Programs};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};
use table::Table;

/// The data set that ships with Miroir.
const DEMO_DATA: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../miroir/data/cities.ndjson.gz"
);

/// Measures Miroir against one Meilisearch node and prints Markdown tables.
#[derive(Parser)]
struct Arguments {
    /// The miroir binary, built in release mode [default: the one beside this program].
    #[arg(long)]
    miroir: Option<PathBuf>,
    /// A Meilisearch server binary to use as node [default: `MIROIR_TEST_NODE`, else the bundled
    /// development node].
    #[arg(long)]
    node: Option<PathBuf>,
    /// Documents: .ndjson or .tsv (with a header line), packed as .gz or not.
    #[arg(long, default_value = DEMO_DATA, hide_default_value = true)]
    data: PathBuf,
    /// Use no more documents than this.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    documents: usize,
    /// Documents in one bulk request.
    #[arg(long, default_value_t = 5_000)]
    batch: usize,
    /// Times that all documents are loaded; the median is shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Searches of each kind.
    #[arg(long, default_value_t = 500)]
    searches: usize,
    /// Writes of one document each.
    #[arg(long, default_value_t = 1_000)]
    writes: usize,
    /// Shards of an index.
    #[arg(long, default_value_t = 32)]
    shards: u32,
    /// Copies of each shard over three nodes.
    #[arg(long, default_value_t = 1)]
    copies: u32,
    /// Measure only searches beside a move of shards (about a minute).
    #[arg(long)]
    only_move: bool,
    /// Also writes the tables to this file.
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut programs = Programs::new(match arguments.miroir.clone() {
        Some(path) => path,
        None => beside_this_program("miroir")?,
    });
    if let Some(node) = &arguments.node {
        programs.node = NodeProgram::Server(node.clone());
    }
    let machine = table::machine();
    let data = Data::read(&arguments.data, arguments.documents)?;
    println!(
        "{} documents; searched: {}\n",
        data.documents.len(),
        data.text
    );
    let mut text = String::new();
    if !arguments.only_move {
        let contestants = Contestant::start_all(&programs, arguments.shards, arguments.copies)?;
        text = facts(&arguments, &data, &contestants, &machine)?;
        for part in [bulk, searches, writes] {
            let table = part(&arguments, &data, &contestants)?;
            println!("{table}");
            text.push_str(&table);
            text.push('\n');
        }
    }
    let table = movement::run(&programs, &data, arguments.shards, arguments.copies)?;
    println!("{machine}.\n\n{table}");
    text.push_str(&table);
    if let Some(path) = &arguments.output {
        fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn beside_this_program(name: &str) -> Result<PathBuf> {
    let program = env::current_exe()?;
    Ok(program.parent().unwrap_or(Path::new(".")).join(name))
}

/// What was measured, where and over which versions.
fn facts(
    arguments: &Arguments,
    data: &Data,
    contestants: &[Contestant],
    machine: &str,
) -> Result<String> {
    let version = |contestant: &Contestant| -> Result<String> {
        let version = contestant.client().get("/version")?.ok()?;
        Ok(version["pkgVersion"]
            .as_str()
            .unwrap_or("unknown")
            .to_owned())
    };
    let node = version(&contestants[contestant::BASELINE])?;
    let name = arguments
        .data
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("data");
    let mut text = format!(
        "{machine}. Nodes of version {node}, {} documents of {name}, {} shards; over three \
         nodes replication factor {}; all processes on this machine.\n",
        data.documents.len(),
        arguments.shards,
        arguments.copies
    );
    let _ = writeln!(text);
    println!("{text}");
    Ok(text)
}

fn bulk(arguments: &Arguments, data: &Data, contestants: &[Contestant]) -> Result<String> {
    let batches = measure::batches(data, arguments.batch);
    let rounds = arguments.rounds.max(1);
    let mut runs: Vec<Vec<Ingest>> = vec![Vec::new(); contestants.len()];
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let idx = (round + turn) % contestants.len();
            let index = format!("bulk{round}");
            runs[idx].push(measure::ingest(&contestants[idx], &index, data, &batches)?);
            if round > 0 {
                // Only the first is searched below.
                contestants[idx]
                    .client()
                    .write("DELETE", &format!("/indexes/{index}"), None)?;
            }
        }
    }
    let medians: Vec<Ingest> = runs
        .iter_mut()
        .map(|runs| {
            runs.sort_by_key(|run| run.wall);
            runs[runs.len() / 2]
        })
        .collect();
    let mut table = Table::new("bulk load", contestants);
    let walls: Vec<Duration> = medians.iter().map(|run| run.wall).collect();
    table.durations("wall, until searchable", &walls);
    let seconds = |seconds: f64| format!("{seconds:.2} s");
    let nodes: Vec<f64> = medians.iter().map(|run| run.cpu.nodes).collect();
    table.numbers("CPU of the nodes", &nodes, seconds);
    let proxies: Vec<String> = medians
        .iter()
        .map(|run| format!("{:.2} s", run.cpu.proxy))
        .collect();
    table.texts("CPU of the proxy", &proxies);
    let mut memory = Vec::new();
    for contestant in contestants {
        let bytes = contestant.proxy_memory_bytes()?;
        memory.push(bytes.map_or("—".to_owned(), |bytes| {
            format!("{} MiB", bytes / 1_048_576)
        }));
    }
    table.texts("memory of the proxy, at most", &memory);
    Ok(table.finish())
}

fn searches(arguments: &Arguments, data: &Data, contestants: &[Contestant]) -> Result<String> {
    let mut table = Table::new("searches", contestants);
    measure::prepare_searches(contestants, "bulk0", data)?;
    for search in Search::ALL {
        let count = arguments.searches.max(1);
        let Some(runs) = measure::search(contestants, "bulk0", data, *search, count)? else {
            continue;
        };
        for percent in [50, 99] {
            let durations: Vec<Duration> = runs.iter().map(|run| run.percentile(percent)).collect();
            table.durations(&format!("{}, p{percent}", search.name()), &durations);
        }
        let own: Vec<String> = runs
            .iter()
            .map(|run| format!("{:.2} ms", run.proxy_cpu.as_secs_f64() * 1000.0))
            .collect();
        table.texts(&format!("{}, CPU of the proxy each", search.name()), &own);
    }
    Ok(table.finish())
}

fn writes(arguments: &Arguments, data: &Data, contestants: &[Contestant]) -> Result<String> {
    let mut table = Table::new("writes of one document, per second", contestants);
    for clients in [1, 16] {
        let count = arguments.writes.min(data.documents.len()) / clients * clients;
        let mut runs = Vec::new();
        for contestant in contestants {
            let index = format!("single{clients}");
            runs.push(measure::write(contestant, &index, data, count, clients)?);
        }
        let rate = |duration: Duration| count as f64 / duration.as_secs_f64();
        let shown = |rate: f64| format!("{rate:.0}");
        let accepted: Vec<f64> = runs.iter().map(|run| rate(run.accepted)).collect();
        table.numbers(&format!("{clients} at a time, accepted"), &accepted, shown);
        let searchable: Vec<f64> = runs.iter().map(|run| rate(run.searchable)).collect();
        table.numbers(
            &format!("{clients} at a time, searchable"),
            &searchable,
            shown,
        );
    }
    Ok(table.finish())
}
