//! What a move of shards costs those who search meanwhile: a node is added to three, under searches
//! and some writes, with the throttle that Miroir has by default.

use crate::data::Data;
use crate::measure::{self, Search, Searches};
use anyhow::{Context, Result, ensure};
use miroir_testkit::{
    Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, Programs, Rng, poll,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const INDEX: &str = "moved";
const NODES: u32 = 3;
/// How long it is searched before anything moves.
const BEFORE: Duration = Duration::from_secs(12);
/// A move that has not ended by then is not waited for: it rests while searches feel it, on a busy machine
/// for minutes.
const MOVE_MAX: Duration = Duration::from_mins(15);
/// Between two searches of the one client, and between two writes of one document.
const SEARCH_PAUSE: Duration = Duration::from_millis(4);
const WRITE_PAUSE: Duration = Duration::from_millis(200);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Measures, and returns a table.
pub(crate) fn run(programs: &Programs, data: &Data, shards: u32, copies: u32) -> Result<String> {
    let mut options = ClusterOptions::new(NODES, copies, shards);
    options.config = vec!["search_cache = \"0 B\"".to_owned()];
    let cluster = Cluster::start(programs, &options)?;
    let client = cluster.client();
    measure::create(client, INDEX, data)?;
    for batch in measure::batches(data, 5_000) {
        measure::send_batch(client, INDEX, &batch)?;
    }
    poll("the load", MOVE_MAX, || {
        let open = client.get("/tasks?statuses=enqueued,processing&limit=1")?;
        Ok((open.ok()?["total"] == 0).then_some(()))
    })?;
    let newcomer = NodeProcess::start(&programs.node, NodeOptions::default())?;

    let is_over = AtomicBool::new(false);
    let (before, during, moved, after) = thread::scope(|scope| {
        let writer = scope.spawn(|| write(client, data, &is_over));
        let measured = (|| {
            let started = Instant::now();
            let mut rng = Rng::of(&[7]);
            let before = search(client, data, &mut rng, || Ok(started.elapsed() >= BEFORE))?;
            let moved = begin(client, &newcomer)?;
            let mut looked = Instant::now();
            let during = search(client, data, &mut rng, || {
                ensure!(moved.elapsed() < MOVE_MAX, "the move takes too long");
                if looked.elapsed() < LOOK_INTERVAL {
                    return Ok(false);
                }
                looked = Instant::now();
                let staged = client.get("/_miroir/topology/staged")?.ok()?;
                Ok(staged.get("underway").is_none_or(Value::is_null))
            })?;
            let moved = moved.elapsed();
            let started = Instant::now();
            let after = search(client, data, &mut rng, || {
                Ok(started.elapsed() >= BEFORE / 2)
            })?;
            anyhow::Ok((before, during, moved, after))
        })();
        is_over.store(true, Ordering::Relaxed);
        let written = writer.join();
        written.map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        measured
    })?;
    let movement = client.get("/_miroir/movement")?.ok()?;
    Ok(table(&before, &during, &after, moved, &movement, copies))
}

/// Adds the newcomer; returns when that began.
fn begin(client: &Client, newcomer: &NodeProcess) -> Result<Instant> {
    let change = json!({ "change": "addNode", "name": "newcomer", "url": newcomer.url() });
    let staged = client.post("/_miroir/topology/staged", &change)?.ok()?;
    let epoch = &staged["stagedEpoch"];
    let started = Instant::now();
    client
        .post("/_miroir/topology/apply", &json!({ "epoch": epoch }))?
        .ok()?;
    Ok(started)
}

/// Searches with pauses until it is said to be enough.
fn search(
    client: &Client,
    data: &Data,
    rng: &mut Rng,
    mut is_enough: impl FnMut() -> Result<bool>,
) -> Result<Searches> {
    let mut durations = Vec::new();
    while !is_enough()? {
        let (path, body) = Search::Plain
            .request(INDEX, data, rng)
            .context("a plain search")?;
        let started = Instant::now();
        let reply = client.post(&path, &body)?;
        durations.push(started.elapsed());
        reply.ok().with_context(|| body.to_string())?;
        thread::sleep(SEARCH_PAUSE);
    }
    durations.sort_unstable();
    Ok(Searches {
        durations,
        proxy_cpu: Duration::ZERO,
    })
}

/// Replaces one document after another.
fn write(client: &Client, data: &Data, is_over: &AtomicBool) -> Result<()> {
    let client = Client::new(client.http().address(), None);
    let path = format!("/indexes/{INDEX}/documents");
    for document in data.documents.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        client.post(&path, &json!([document]))?.accepted()?;
        thread::sleep(WRITE_PAUSE);
    }
    Ok(())
}

fn table(
    before: &Searches,
    during: &Searches,
    after: &Searches,
    moved: Duration,
    movement: &Value,
    copies: u32,
) -> String {
    let mut text = format!(
        "A fourth node joins three, {copies} copies of each shard: {} documents ({} bytes) copied in \
         {:.1} s, {} shards moved.\n\n",
        movement["documents"],
        movement["bytes"],
        moved.as_secs_f64(),
        movement["movesDone"],
    );
    text.push_str("| searches beside a move | before | during | after |\n");
    text.push_str("| --- | ---: | ---: | ---: |\n");
    for percent in [50, 90, 99] {
        let of = |searches: &Searches| searches.percentile(percent).as_secs_f64() * 1000.0;
        let (base, meanwhile, then) = (of(before), of(during), of(after));
        let _ = writeln!(
            text,
            "| p{percent} | {base:.2} ms | {meanwhile:.2} ms ({:.2}×) | {then:.2} ms ({:.2}×) |",
            meanwhile / base,
            then / base
        );
    }
    let of = |searches: &Searches| searches.durations.len();
    let (before, during, after) = (of(before), of(during), of(after));
    let _ = writeln!(text, "| searches | {before} | {during} | {after} |");
    text
}
