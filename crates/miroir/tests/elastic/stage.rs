//! A cluster with a crowd around it, and what may be done to it.

use crate::operator::Operator;
use anyhow::{Context, Result};
use miroir_testkit::crowd::{self, Book, BookOptions, Part};
use miroir_testkit::{
    Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, Programs, Rng, poll,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

const INDEXES: u64 = 2;
const READERS: u64 = 2;
/// So few that every node has some of the largest cluster, and shards are more than one group.
const SHARDS: u32 = 8;
/// What a search may take, whatever happens to single nodes.
const SEARCH_DEADLINE: Duration = Duration::from_secs(6);
/// Between two writes of a writer, at most.
const WRITE_PAUSE: Duration = Duration::from_millis(400);
/// Writes of each index before anything is changed.
const WARM_UP: u64 = 8;
const WARM_UP_LIMIT: Duration = Duration::from_secs(90);
/// By which what was killed and started again is well.
const RETURN_LIMIT: Duration = Duration::from_secs(200);
/// Where all nodes are at their limit, one that was away catches up only when writers leave it room:
/// they come less often, and after this long not at all.
const CALM_LIMIT: Duration = Duration::from_secs(30);
/// Replacing a data folder takes longer than it takes the proxy to see that the node is down.
const ABSENCE: Duration = Duration::from_millis(1_500);

/// How a test begins.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) nodes: u32,
    pub(crate) replication_factor: u32,
    /// Documents copied in a second at most, so that there is time to disturb it.
    pub(crate) documents_per_second: Option<u32>,
}

/// What a test acts on.
pub(crate) struct Stage<'a> {
    pub(crate) operator: Operator,
    pub(crate) book: &'a Book,
    pub(crate) rng: Rng,
    programs: &'a Programs,
    cluster: &'a mut Cluster,
    /// All nodes that were ever there, by name.
    nodes: BTreeMap<String, NodeProcess>,
}

/// Lets the crowd in, acts, and judges; `copies` of each shard are there in the end.
pub(crate) fn perform(shape: &Shape, copies: u32, act: impl FnOnce(&mut Stage<'_>) -> Result<()>) {
    let name = thread::current().name().unwrap_or("elastic").to_owned();
    let seed = std::env::var("MIROIR_ELASTIC_SEED").map_or(1, |text| {
        text.parse().expect("MIROIR_ELASTIC_SEED is a number")
    });
    println!("MIROIR_ELASTIC_SEED={seed}, {shape:?}");
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let mut options = ClusterOptions::new(shape.nodes, shape.replication_factor, SHARDS);
    let deadline = SEARCH_DEADLINE.as_secs();
    options
        .config
        .push(format!("search_deadline = \"{deadline} s\""));
    if let Some(documents) = shape.documents_per_second {
        options
            .config
            .push(format!("copy_documents_per_second = {documents}"));
    }
    let mut cluster = Cluster::start(&programs, &options).expect("a cluster starts");
    let names = (1..).map(|number| format!("node-{number}"));
    let nodes = names.zip(cluster.nodes.drain(..)).collect();
    let book = Book::new(BookOptions {
        replication_factor: shape.replication_factor.min(copies),
        indexes: (0..INDEXES)
            .map(|index| format!("elastic-{index}"))
            .collect(),
        has_real_nodes: programs.has_real_nodes(),
        suspects_all: false,
        write_pause: WRITE_PAUSE,
    });
    let address = cluster.client().http().address();
    let mut stage = Stage {
        operator: Operator::new(cluster.client().url()),
        book: &book,
        rng: Rng::of(&[seed, 17]),
        programs: &programs,
        cluster: &mut cluster,
        nodes,
    };
    thread::scope(|scope| {
        let book = &book;
        crowd::gather(scope, book, address, READERS, seed);
        if let Err(error) = warm_up(book).and_then(|()| act(&mut stage)) {
            book.violate(format!("the operator failed: {error:#}"));
        }
        book.has_ended.store(true, Ordering::Relaxed);
    });
    book.print();
    let mut violations = book.judge_errors(SEARCH_DEADLINE);
    let ended = stage.check_end(copies);
    violations.extend(ended.err().map(|error| format!("{error:#}")));
    if let Some(folder) = std::env::var_os("MIROIR_ELASTIC_LOGS") {
        let folder = Path::new(&folder).join(name.replace("::", "-"));
        stage.save_logs(&folder).expect("logs are saved");
    }
    let mut all = String::new();
    for violation in &violations {
        let _ = writeln!(all, "{violation}");
    }
    assert!(
        violations.is_empty(),
        "seed {seed}, {shape:?}: {} violations\n{all}",
        violations.len()
    );
}

fn warm_up(book: &Book) -> Result<()> {
    poll("the first writes", WARM_UP_LIMIT, || {
        let mut ledgers = book.ledgers.iter();
        let is_warm = ledgers.all(|ledger| ledger.lock().accepted() >= WARM_UP);
        Ok((is_warm || book.is_hopeless()).then_some(()))
    })
}

impl Stage<'_> {
    /// Starts an empty node; returns its address.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start_node(&mut self, name: &str) -> Result<String> {
        let node = NodeProcess::start(&self.programs.node, NodeOptions::default())?;
        let url = node.url();
        self.nodes.insert(name.to_owned(), node);
        Ok(url)
    }

    /// Starts an empty node and adds it to the cluster.
    ///
    /// # Errors
    /// It does not start, or the change is not carried out.
    pub(crate) fn add_node(&mut self, name: &str) -> Result<()> {
        let epoch = self.begin_to_add(name)?;
        self.operator.wait(&epoch)?;
        Ok(())
    }

    /// Starts an empty node and begins to add it to the cluster; returns the epoch.
    ///
    /// # Errors
    /// It does not start, or the change is refused.
    pub(crate) fn begin_to_add(&mut self, name: &str) -> Result<String> {
        let url = self.start_node(name)?;
        self.operator
            .apply(&[&["node", "add", name, "--node-url", &url]])
    }

    /// A node that is not of the cluster any more is switched off.
    pub(crate) fn switch_off(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    fn node(&mut self, name: &str) -> Result<&mut NodeProcess> {
        let node = self.nodes.get_mut(name);
        node.with_context(|| format!("there is no {name}"))
    }

    /// Kills a node; it is ill from now on.
    ///
    /// # Errors
    /// There is no such node.
    pub(crate) fn kill_node(&mut self, name: &str) -> Result<()> {
        self.book.say(&format!("{name} is killed"));
        self.book.break_part(Part::Node(name.to_owned()));
        self.node(name)?.kill();
        Ok(())
    }

    /// Kills a node and starts it again; returns when it is well.
    ///
    /// # Errors
    /// It does not become well.
    pub(crate) fn kill_and_restart_node(&mut self, name: &str) -> Result<()> {
        self.kill_node(name)?;
        self.pause(300, 2_500);
        self.node(name)?.restart()?;
        self.wait_well(name)
    }

    /// Kills a node, empties its folder and starts it again; returns when it is well.
    ///
    /// # Errors
    /// It does not become well.
    pub(crate) fn wipe_node(&mut self, name: &str) -> Result<()> {
        self.kill_node(name)?;
        self.node(name)?.kill_and_wipe()?;
        thread::sleep(ABSENCE);
        self.node(name)?.restart()?;
        self.wait_well(name)
    }

    fn wait_well(&mut self, name: &str) -> Result<()> {
        self.book.say(&format!("{name} is started again"));
        self.book.heal_part(Part::Node(name.to_owned()));
        let book = self.book;
        let began = Instant::now();
        book.is_calm.store(true, Ordering::Relaxed);
        poll("the recovery of the cluster", RETURN_LIMIT, || {
            let is_still = began.elapsed() > CALM_LIMIT;
            book.is_still.store(is_still, Ordering::Relaxed);
            Ok((book.is_well() || book.is_hopeless()).then_some(()))
        })
        .with_context(|| self.topology())?;
        book.is_calm.store(false, Ordering::Relaxed);
        book.is_still.store(false, Ordering::Relaxed);
        self.book.say("all is well");
        Ok(())
    }

    fn topology(&self) -> String {
        let shown = self.cluster.client().get("/_miroir/topology");
        shown.map_or_else(|error| error.to_string(), |shown| shown.body.to_string())
    }

    /// Kills the proxy and starts it again.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn kill_and_restart_proxy(&mut self) -> Result<()> {
        self.book.say("the proxy is killed");
        self.book.break_part(Part::Proxy);
        self.cluster.proxy.kill();
        self.pause(0, 500);
        self.cluster.proxy.restart(&[])?;
        self.cluster.proxy.wait_ready()?;
        self.book.heal_part(Part::Proxy);
        self.book.say("the proxy is ready again");
        Ok(())
    }

    /// Some time passes.
    pub(crate) fn pause(&mut self, least_ms: usize, most_ms: usize) {
        let milliseconds = self.rng.between(least_ms, most_ms);
        thread::sleep(Duration::from_millis(milliseconds as u64));
    }

    /// Everything is as the writes have left it, here, on the nodes, and on a node alone.
    fn check_end(&mut self, copies: u32) -> Result<()> {
        let client = self.cluster.client();
        crowd::check_tasks(self.book, client)?;
        let topology = client.get("/_miroir/topology")?.ok()?;
        let shown = topology["nodes"].as_array().context("no nodes")?;
        let mut nodes: Vec<(String, Client)> = Vec::new();
        for name in shown.iter().filter_map(|node| node["name"].as_str()) {
            let node = self.nodes.get(name).with_context(|| format!("no {name}"))?;
            nodes.push((name.to_owned(), node.client().clone()));
        }
        poll("the nodes to be in sync", RETURN_LIMIT, || {
            let topology = client.get("/_miroir/topology")?.ok()?;
            let mut nodes = topology["nodes"].as_array().into_iter().flatten();
            Ok(nodes.all(|node| node["inSync"] == true).then_some(()))
        })?;
        crowd::check_indexes(self.book, client, &nodes, copies)?;
        let alone = NodeProcess::start(&self.programs.node, NodeOptions::default())?;
        crowd::check_against(self.book, client, alone.client())
    }

    fn save_logs(&self, folder: &Path) -> Result<()> {
        self.cluster.proxy.save_logs(folder)?;
        for (name, node) in &self.nodes {
            node.save_logs(folder, name)?;
        }
        Ok(())
    }
}
