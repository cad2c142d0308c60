//! What a shared lexicon would bring, and what it costs; also how `matchingStrategy: frequency`
//! fares with and without one.
//!
//! One node with all documents stands beside Miroir over three without copies, where nodes know the
//! fewest words. The same searches are compared before and after the hidden words are written.

use anyhow::{Context, Result};
use clap::Parser;
use miroir_testkit::{
    Client, Corpus, KeyStyle, NodeOptions, NodeProcess, NodeProgram, Programs, ProxyOptions,
    ProxyProcess, QueryGenerator, Relay, Rng, lexicon_documents, lexicon_filter, words_of,
};
use serde_json::{Value, json};
use std::env;
use std::path::PathBuf;
use std::time::Instant;

const NODES: u32 = 3;
const SHARDS: u32 = 8;
const INDEX: &str = "words";
const BATCH: usize = 5_000;
const SEED: u64 = 7;

/// Measures what a lexicon on every node brings and costs.
#[derive(Parser)]
struct Arguments {
    /// Documents in the index.
    #[arg(long, default_value_t = 20_000)]
    documents: u64,
    /// Words of the generated language.
    #[arg(long, default_value_t = 40_000)]
    words: usize,
    /// Searches of each kind.
    #[arg(long, default_value_t = 500)]
    searches: usize,
    /// The miroir binary [default: the one beside this program].
    #[arg(long)]
    miroir: Option<PathBuf>,
    /// A Meilisearch server binary to use as node [default: `MIROIR_TEST_NODE`, else the bundled
    /// development node].
    #[arg(long)]
    node: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let own = env::current_exe()?;
    let beside = own.parent().map(|folder| folder.join("miroir"));
    let miroir = arguments.miroir.clone().or(beside);
    let mut programs = Programs::new(miroir.context("a program without a folder")?);
    if let Some(node) = &arguments.node {
        programs.node = NodeProgram::Server(node.clone());
    }
    let corpus = Corpus::new(SEED, KeyStyle::Text, arguments.words);
    let documents: Vec<Value> = (0..arguments.documents)
        .map(|number| corpus.document(number, 0))
        .collect();

    let single = NodeProcess::start(&programs.node, NodeOptions::default())?;
    load(single.client(), &documents)?;
    let fleet = Fleet::start(&programs)?;
    let started = Instant::now();
    load(fleet.proxy.client(), &documents)?;
    println!("{} documents in {:.1?}", documents.len(), started.elapsed());
    let searches = searches(&corpus, &arguments);
    let before = fleet.disk_bytes()?;
    measure("without a lexicon", &single, &fleet, &searches)?;

    let words = words_of(&documents);
    let hidden = lexicon_documents(&words, corpus.key_field(), "body");
    let bytes: usize = hidden
        .iter()
        .map(|document| document.to_string().len())
        .sum();
    let started = Instant::now();
    fleet.teach(&hidden)?;
    println!(
        "\nlexicon: {} words, {} hidden documents and {:.2} MB for each node, written in {:.1?} \
         to {NODES} nodes one after the other; disk {:.1} MB, was {:.1} MB",
        words.len(),
        hidden.len(),
        bytes as f64 / 1e6,
        started.elapsed(),
        fleet.disk_bytes()? as f64 / 1e6,
        before as f64 / 1e6,
    );
    // Miroir has not seen that anything changed: a write makes it forget the answers it keeps.
    load_part(fleet.proxy.client(), &documents[..1])?;
    load_part(single.client(), &documents[..1])?;
    measure("with a lexicon", &single, &fleet, &searches)
}

/// Three nodes, each behind a relay that hides the lexicon, and a proxy.
struct Fleet {
    proxy: ProxyProcess,
    _relays: Vec<Relay>,
    nodes: Vec<NodeProcess>,
}

impl Fleet {
    fn start(programs: &Programs) -> Result<Self> {
        let nodes = (0..NODES)
            .map(|_| NodeProcess::start(&programs.node, NodeOptions::default()))
            .collect::<Result<Vec<_>>>()?;
        let relays = nodes
            .iter()
            .map(|node| Relay::start(node.client().http().address(), &lexicon_filter()))
            .collect::<Result<Vec<_>>>()?;
        let named = relays.iter().enumerate();
        let proxy = ProxyProcess::start(
            programs,
            ProxyOptions {
                nodes: named
                    .map(|(position, relay)| (format!("node-{}", position + 1), relay.url()))
                    .collect(),
                replication_factor: 1,
                shards: SHARDS,
                config: Vec::new(),
                master_key: None,
                node_key: None,
            },
        )?;
        proxy.wait_ready()?;
        Ok(Self {
            proxy,
            _relays: relays,
            nodes,
        })
    }

    /// Writes the hidden documents to each node.
    fn teach(&self, hidden: &[Value]) -> Result<()> {
        let path = format!("/_miroir/indexes/{INDEX}/shards");
        let shards = self.proxy.client().get(&path)?.ok()?;
        let physical = shards["physical"].as_str().context("no physical name")?;
        for node in &self.nodes {
            let path = format!("/indexes/{physical}/documents");
            node.client().write("POST", &path, Some(&json!(hidden)))?;
        }
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64> {
        let sizes = self.nodes.iter().map(|node| {
            let stats = node.client().get("/stats")?.ok()?;
            stats["usedDatabaseSize"].as_u64().context("no size")
        });
        sizes.sum()
    }
}

fn load(client: &Client, documents: &[Value]) -> Result<()> {
    let settings = json!({
        "searchableAttributes": ["title", "body", "author"],
        "filterableAttributes": ["year", "category", "tags", "stock"],
        "sortableAttributes": ["year", "price"],
    });
    client.write(
        "PATCH",
        &format!("/indexes/{INDEX}/settings"),
        Some(&settings),
    )?;
    for part in documents.chunks(BATCH) {
        load_part(client, part)?;
    }
    Ok(())
}

fn load_part(client: &Client, documents: &[Value]) -> Result<()> {
    let path = format!("/indexes/{INDEX}/documents?primaryKey=sku");
    client.write("POST", &path, Some(&json!(documents)))?;
    Ok(())
}

/// Searches by kind.
fn searches(corpus: &Corpus, arguments: &Arguments) -> Vec<(&'static str, Vec<Value>)> {
    let with = |name: &'static str, changes: Value| {
        let mut generator = QueryGenerator::new(corpus, arguments.documents, SEED);
        let mut rng = Rng::new(SEED);
        let mut bodies = Vec::new();
        while bodies.len() < arguments.searches {
            let query = generator.query();
            if !query.has_words() {
                continue;
            }
            let mut body = json!({"q": query.body["q"], "limit": rng.between(5, 40)});
            for (name, value) in changes.as_object().into_iter().flatten() {
                body[name] = value.clone();
            }
            bodies.push(body);
        }
        (name, bodies)
    };
    vec![
        with("last", json!({})),
        with("all", json!({"matchingStrategy": "all"})),
        with("last, sorted", json!({"sort": ["year:desc"]})),
        with(
            "last, filtered",
            json!({"filter": "year >= 2015 AND stock = true"}),
        ),
        with("frequency", json!({"matchingStrategy": "frequency"})),
    ]
}

fn measure(
    title: &str,
    single: &NodeProcess,
    fleet: &Fleet,
    searches: &[(&str, Vec<Value>)],
) -> Result<()> {
    println!("\n{title}\n");
    println!("| searches | count | same order | same totals | mean |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, bodies) in searches {
        let (mut order, mut totals) = (0_usize, 0_usize);
        let mut spent = std::time::Duration::ZERO;
        for body in bodies {
            let expected = single.client().search(INDEX, body)?.ok()?;
            let started = Instant::now();
            let found = fleet.proxy.client().search(INDEX, body)?.ok()?;
            spent += started.elapsed();
            order += usize::from(keys(&expected) == keys(&found));
            let total = "estimatedTotalHits";
            totals += usize::from(expected[total] == found[total]);
        }
        let percent = |part: usize| part as f64 * 100.0 / bodies.len().max(1) as f64;
        println!(
            "| {name} | {} | {:.1} % | {:.1} % | {:.1} ms |",
            bodies.len(),
            percent(order),
            percent(totals),
            spent.as_secs_f64() * 1e3 / bodies.len().max(1) as f64
        );
    }
    Ok(())
}

fn keys(answer: &Value) -> Vec<&str> {
    let hits = answer["hits"].as_array();
    hits.into_iter()
        .flatten()
        .filter_map(|hit| hit["sku"].as_str())
        .collect()
}
