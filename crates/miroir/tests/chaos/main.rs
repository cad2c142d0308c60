//! Real processes under a nemesis: writers and readers go on while nodes and the proxy are killed,
//! stopped, cut off, delayed, filled up and wiped, by seed.
//!
//! While it lasts no reader may see what never was, miss what had been reported done, or be refused
//! while every shard has a well replica. When the nemesis has ended, every task has ended well, no
//! acknowledged write is lost, and the nodes themselves, asked one by one, hold equal replicas.
//!
//! `MIROIR_CHAOS_SECONDS` is how long the nemesis acts in each test, `MIROIR_CHAOS_SEED` what it
//! does; `MIROIR_CHAOS_LOGS` is a folder for all logs. (Processes are not scheduled by a seed: the same seed gives the same faults and the same
//! writes, not the same course of things.)

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

mod nemesis;

use miroir_testkit::crowd::{self, Book, BookOptions};
use miroir_testkit::{Client, Cluster, ClusterOptions, Programs};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

const NODES: u32 = 3;
const SHARDS: u32 = 6;
const INDEXES: u64 = 3;
const READERS: u64 = 3;
/// Each node's disk, where there can be small ones: enough for what is written here, and quickly
/// filled.
const DISK_BYTES: u64 = 384 * 1024 * 1024;
/// What a search may take, whatever happens to single nodes, and to the machine.
const SEARCH_DEADLINE: Duration = Duration::from_secs(15);
/// Between two writes of a writer, at most.
const WRITE_PAUSE: Duration = Duration::from_millis(150);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

fn survive(replication_factor: u32) {
    let seconds = number("MIROIR_CHAOS_SECONDS").unwrap_or(30);
    let seed = number("MIROIR_CHAOS_SEED").unwrap_or(u64::from(replication_factor));
    println!("MIROIR_CHAOS_SEED={seed} MIROIR_CHAOS_SECONDS={seconds}, RF {replication_factor}");

    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let mut options = ClusterOptions::new(NODES, replication_factor, SHARDS);
    options.has_links = true;
    options.disk_bytes = Some(DISK_BYTES);
    let deadline = SEARCH_DEADLINE.as_secs();
    options
        .config
        .push(format!("search_deadline = \"{deadline} s\""));
    let mut cluster = Cluster::start(&programs, &options).unwrap();
    for node_idx in 0..cluster.nodes.len() {
        cluster.wait_healthy(node_idx).unwrap();
    }

    let address = cluster.client().http().address();
    let book = Book::new(BookOptions {
        replication_factor,
        indexes: (0..INDEXES).map(|index| format!("chaos-{index}")).collect(),
        has_real_nodes: programs.has_real_nodes(),
        suspects_all: true,
        write_pause: WRITE_PAUSE,
    });
    let until = Instant::now() + Duration::from_secs(seconds);
    thread::scope(|scope| {
        let book = &book;
        crowd::gather(scope, book, address, READERS, seed);
        let nemesis = nemesis::run(book, &mut cluster, seed, until);
        if let Err(error) = nemesis {
            book.violate(format!("the nemesis failed: {error:#}"));
        }
        book.has_ended.store(true, Ordering::Relaxed);
    });
    book.print();
    let mut violations = book.judge_errors(SEARCH_DEADLINE);
    let copies = replication_factor;
    for check in [
        check_end(&book, &cluster),
        crowd::check_indexes(&book, cluster.client(), &named(&cluster), copies),
    ] {
        violations.extend(check.err().map(|error| format!("{error:#}")));
    }
    if let Some(folder) = std::env::var_os("MIROIR_CHAOS_LOGS") {
        let folder = std::path::Path::new(&folder).join(format!("rf{replication_factor}"));
        cluster.proxy.save_logs(&folder).unwrap();
        for (node_idx, node) in cluster.nodes.iter().enumerate() {
            let name = format!("node-{}", node_idx + 1);
            node.save_logs(&folder, &name).unwrap();
        }
    }
    let all = violations.join("\n");
    assert!(
        violations.is_empty(),
        "seed {seed}, RF {replication_factor}: {} violations\n{all}",
        violations.len()
    );
}

/// Every task has ended, every node is in sync.
fn check_end(book: &Book, cluster: &Cluster) -> anyhow::Result<()> {
    crowd::check_tasks(book, cluster.client())?;
    for node_idx in 0..cluster.nodes.len() {
        cluster.wait_healthy(node_idx)?;
    }
    Ok(())
}

fn named(cluster: &Cluster) -> Vec<(String, Client)> {
    let nodes = cluster.nodes.iter().enumerate();
    nodes
        .map(|(idx, node)| (format!("node-{}", idx + 1), node.client().clone()))
        .collect()
}

#[test]
fn with_two_copies_nothing_is_lost_and_no_reader_misled_whatever_happens_to_the_processes() {
    survive(2);
}

#[test]
fn with_three_copies_nothing_is_lost_and_no_reader_misled_whatever_happens_to_the_processes() {
    survive(3);
}
