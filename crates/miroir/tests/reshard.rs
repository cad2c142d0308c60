//! Re-sharding on real processes: an index is cut from 8 into 32 shards and back while a client writes
//! and others read and search; each answer is compared with what the index may hold at that moment,
//! and in the end with one node that was told the same.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, Programs};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const INDEX: &str = "movies";
const FIRST: u64 = 600;
/// Between two reads, and two rounds of writes: the machine is for the nodes.
const PAUSE: Duration = Duration::from_millis(40);

type Documents = BTreeMap<String, Value>;

fn programs() -> Programs {
    Programs::new(env!("CARGO_BIN_EXE_miroir"))
}

fn miroir(cluster: &Cluster, args: &[&str]) -> Output {
    cluster.proxy.command(args).unwrap()
}

/// What a command that succeeds prints, as JSON.
fn json_of(cluster: &Cluster, args: &[&str]) -> Value {
    let output = miroir(cluster, &[args, &["--json"]].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn document(id: u64, n: u64) -> Value {
    let genre = ["drama", "comedy", "crime"][usize::try_from(id % 3).unwrap()];
    json!({"id": id, "n": n, "title": format!("film number {id} of {n}"), "genre": genre})
}

/// What the index holds by the log, version by version; the tasks of all but perhaps the last have
/// succeeded.
#[derive(Default)]
struct Model {
    versions: Mutex<Vec<Documents>>,
    reported: AtomicUsize,
    is_over: AtomicBool,
    reads: AtomicUsize,
}

impl Model {
    fn now(&self) -> Documents {
        self.versions
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }

    /// Writes to both, and waits for the tasks.
    fn write(
        &self,
        clients: [&Client; 2],
        (method, path, body): (&str, &str, Option<Value>),
        change: impl FnOnce(&mut Documents),
    ) {
        let mut next = self.now();
        change(&mut next);
        let count = {
            let mut versions = self.versions.lock().unwrap();
            versions.push(next);
            versions.len()
        };
        for client in clients {
            client.write(method, path, body.as_ref()).unwrap();
        }
        self.reported.store(count, Ordering::SeqCst);
    }

    fn one_of_every_kind(&self, clients: [&Client; 2], round: u64) {
        let path = format!("/indexes/{INDEX}/documents");
        let stamp = 10_000 + round;
        let (old, new) = ((round * 7) % FIRST, FIRST + round);
        let both = [document(old, stamp), document(new, stamp)];
        self.write(clients, ("POST", &path, Some(json!(both))), |all| {
            all.insert(old.to_string(), document(old, stamp));
            all.insert(new.to_string(), document(new, stamp));
        });
        let part = (round * 11) % FIRST;
        let partial = json!([{"id": part, "p": stamp}]);
        self.write(clients, ("PUT", &path, Some(partial)), |all| {
            let known = all
                .entry(part.to_string())
                .or_insert_with(|| json!({"id": part}));
            known["p"] = json!(stamp);
        });
        let gone = (round * 13) % FIRST;
        let by_id = format!("{path}/delete-batch");
        self.write(clients, ("POST", &by_id, Some(json!([gone]))), |all| {
            all.remove(&gone.to_string());
        });
        if round % 4 == 1 {
            let wanted = stamp - 1;
            let filter = json!({"filter": format!("n = {wanted}")});
            let by_filter = format!("{path}/delete");
            self.write(clients, ("POST", &by_filter, Some(filter)), |all| {
                all.retain(|_, document| document["n"] != json!(wanted));
            });
        }
        if round % 6 == 2 {
            let path = format!("/indexes/{INDEX}/settings/stop-words");
            let words = json!([format!("word{round}")]);
            self.write(clients, ("PUT", &path, Some(words)), |_| {});
        }
    }

    /// Reads until all is over, and compares.
    fn keep_reading(&self, client: &Client) {
        let mut round = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            let from = self.reported.load(Ordering::SeqCst).saturating_sub(1);
            let (seen, total) = match round % 2 {
                0 => {
                    let query = json!({
                        "q": "", "limit": 20_000, "facets": ["genre"],
                        "attributesToRetrieve": ["*"],
                    });
                    let answer = client.search(INDEX, &query).unwrap().ok().unwrap();
                    let genres = answer["facetDistribution"]["genre"].as_object();
                    let counted: u64 = genres
                        .into_iter()
                        .flatten()
                        .filter_map(|(_, count)| count.as_u64())
                        .sum();
                    let seen = by_id(&answer["hits"]);
                    let with_genre = seen.values().filter(|one| one.get("genre").is_some());
                    assert_eq!(counted, with_genre.count() as u64, "facets");
                    (seen, answer["estimatedTotalHits"].clone())
                }
                _ => {
                    let path = format!("/indexes/{INDEX}/documents?limit=20000");
                    let answer = client.get(&path).unwrap().ok().unwrap();
                    (by_id(&answer["results"]), answer["total"].clone())
                }
            };
            assert_eq!(total, json!(seen.len()), "the total");
            self.judge(from, &seen);
            self.reads.fetch_add(1, Ordering::SeqCst);
            round += 1;
            std::thread::sleep(PAUSE);
        }
    }

    fn judge(&self, from: usize, seen: &Documents) {
        let versions: Vec<Documents> = self.versions.lock().unwrap()[from..].to_vec();
        let ids: BTreeSet<&String> = versions
            .iter()
            .flat_map(BTreeMap::keys)
            .chain(seen.keys())
            .collect();
        for id in ids {
            let mut may_be = versions.iter().map(|all| all.get(id));
            assert!(
                may_be.any(|one| one == seen.get(id)),
                "document {id} is {:?} and may be {:?}",
                seen.get(id),
                versions.iter().map(|all| all.get(id)).collect::<Vec<_>>()
            );
        }
    }
}

fn by_id(list: &Value) -> Documents {
    let mut all = Documents::new();
    for document in list.as_array().unwrap() {
        let before = all.insert(document["id"].to_string(), document.clone());
        assert!(
            before.is_none(),
            "document {} is shown twice",
            document["id"]
        );
    }
    all
}

/// Writers and readers run until the work is done.
fn busy(
    model: &Model,
    cluster: &Cluster,
    reference: &Client,
    rounds: &mut u64,
    work: impl FnOnce(),
) {
    model.is_over.store(false, Ordering::SeqCst);
    let (first, last) = (*rounds, AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = first;
            while !model.is_over.load(Ordering::SeqCst) {
                model.one_of_every_kind([cluster.client(), reference], round);
                round += 1;
                std::thread::sleep(PAUSE);
            }
            last.store(usize::try_from(round).unwrap(), Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| model.keep_reading(cluster.client()));
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        model.is_over.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    *rounds = last.load(Ordering::SeqCst) as u64;
}

/// What the index holds, and how it ranks, on either side.
/// Equals are told apart by their ids: one node shows a new document in the place of a removed one.
fn answers(client: &Client) -> Vec<Value> {
    let queries = [
        json!({"q": "film", "sort": ["id:asc"], "limit": 50, "showRankingScore": true, "facets": ["genre", "n"]}),
        json!({"q": "number 12", "sort": ["id:asc"], "limit": 50}),
        json!({"q": "", "filter": "genre = crime", "sort": ["n:desc", "id:asc"], "limit": 100}),
    ];
    let asked = queries.iter().map(|query| {
        let mut answer = client.search(INDEX, query).unwrap().ok().unwrap();
        for moment in ["processingTimeMs", "requestUid"] {
            answer[moment] = Value::Null;
        }
        answer
    });
    let mut all: Vec<Value> = asked.collect();
    let stats = client.get(&format!("/indexes/{INDEX}/stats")).unwrap();
    let stats = stats.ok().unwrap();
    all.push(stats["numberOfDocuments"].clone());
    all.push(stats["fieldDistribution"].clone());
    all
}

fn kept(cluster: &Cluster, shards: u64) {
    let text = shards.to_string();
    let kept = json_of(
        cluster,
        &["index", "reshard", INDEX, "--shards", &text, "--wait"],
    );
    assert_eq!(kept["state"], "wayBackKept", "{kept}");
    assert_eq!(kept["shards"], shards);
}

fn dropped(cluster: &Cluster) {
    json_of(cluster, &["index", "reshard", INDEX, "--drop"]);
    for _ in 0..3_000 {
        let shown = json_of(cluster, &["index", "reshard", INDEX]);
        if shown["state"] == "done" {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("it is never removed");
}

#[test]
fn an_index_is_cut_from_8_into_32_shards_and_back_under_writers_and_readers() {
    let cluster = Cluster::start(&programs(), &ClusterOptions::new(3, 2, 8)).unwrap();
    let reference = NodeProcess::start(&programs().node, NodeOptions::default()).unwrap();
    let model = Model::default();
    let clients = [cluster.client(), reference.client()];
    let settings = json!({
        "filterableAttributes": ["n", "genre"], "sortableAttributes": ["n", "id"],
        "pagination": {"maxTotalHits": 100_000},
    });
    let path = format!("/indexes/{INDEX}/settings");
    model.write(clients, ("PATCH", &path, Some(settings)), |_| {});
    let all: Vec<Value> = (0..FIRST).map(|id| document(id, id)).collect();
    let path = format!("/indexes/{INDEX}/documents");
    model.write(clients, ("POST", &path, Some(json!(all))), |known| {
        known.extend(all.iter().map(|one| (one["id"].to_string(), one.clone())));
    });

    let plan = json_of(
        &cluster,
        &["index", "reshard", INDEX, "--shards", "32", "--plan"],
    );
    assert_eq!(
        (&plan["fromShards"], &plan["toShards"]),
        (&json!(8), &json!(32))
    );
    assert_eq!(plan["documents"], FIRST, "{plan}");
    let nodes = plan["nodes"].as_array().unwrap();
    let shards: u64 = nodes.iter().filter_map(|one| one["shards"].as_u64()).sum();
    assert_eq!(shards, 64, "two copies of each: {plan}");
    let too_small = ["index", "reshard", INDEX, "--shards", "32", "--free"];
    let name = nodes[0]["node"].as_str().unwrap();
    let free = format!("{name}=1KiB");
    let refused = miroir(&cluster, &[&too_small[..], &[&free]].concat());
    assert!(!refused.status.success(), "it does not fit");

    let mut rounds = 0;
    for shards in [32, 8] {
        let before = cluster.physical_index(INDEX).unwrap();
        busy(&model, &cluster, reference.client(), &mut rounds, || {
            kept(&cluster, shards);
        });
        assert_ne!(cluster.physical_index(INDEX).unwrap(), before);
        busy(&model, &cluster, reference.client(), &mut rounds, || {
            dropped(&cluster);
        });
        for node in &cluster.nodes {
            let stats = node.client().get("/stats").unwrap().ok().unwrap();
            let held = stats["indexes"].as_object().unwrap().len();
            assert_eq!(held, 1, "nothing is left over: {stats}");
        }
        assert_eq!(answers(cluster.client()), answers(reference.client()));
    }
    // Back and forth.
    busy(&model, &cluster, reference.client(), &mut rounds, || {
        kept(&cluster, 5);
        json_of(&cluster, &["index", "reshard", INDEX, "--back"]);
        for _ in 0..3_000 {
            let shown = json_of(&cluster, &["index", "reshard", INDEX]);
            if shown["shards"] == 8 && shown["state"] == "wayBackKept" {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it never comes back");
    });
    assert_eq!(answers(cluster.client()), answers(reference.client()));
    let reads = model.reads.load(Ordering::SeqCst);
    println!("{rounds} rounds of writes, {reads} reads");
    assert!(rounds > 5 && reads > 10, "{rounds} rounds, {reads} reads");
    // What is compared by the cluster itself agrees, too.
    let verified = json_of(&cluster, &["verify"]);
    assert_eq!(verified["differenceCount"], 0, "{verified}");
}
