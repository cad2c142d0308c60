//! A node that stands still: its process is there, its port takes connections, and nothing comes
//! back. Searches go on without it, in time and whole; without any replica they are partial where
//! that is allowed.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Answer, Body, Client, Cluster, ClusterOptions, Programs, Request};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const DOCUMENTS: usize = 300;
/// So long that no search comes near it, whatever else the machine does, unless it waits for the
/// node that stands still.
const DEADLINE: Duration = Duration::from_secs(45);
/// Of a test that waits for it: what the other node takes to answer, on a busy machine.
const SHORT_DEADLINE: Duration = Duration::from_secs(12);
/// How long searches are sent, with all nodes and with one that stands still.
const SPELL: Duration = Duration::from_secs(6);

/// Standing still until dropped.
struct Stopped(u32);

impl Stopped {
    fn new(cluster: &Cluster, node_idx: usize) -> Self {
        let stopped = Self(cluster.nodes[node_idx].process().unwrap().id());
        stopped.signal("-STOP");
        stopped
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.unwrap().success(), "kill {signal} {pid}");
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

fn start(nodes: u32, replication_factor: u32, deadline: Duration) -> Cluster {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let mut options = ClusterOptions::new(nodes, replication_factor, 6);
    options.config = vec![
        format!("search_deadline = \"{} s\"", deadline.as_secs()),
        "search_cache = \"0 B\"".to_owned(),
    ];
    let cluster = Cluster::start(&programs, &options).unwrap();
    let documents: Vec<Value> = (0..DOCUMENTS)
        .map(|id| json!({"id": id, "text": format!("word{} thing", id % 7)}))
        .collect();
    let body = Value::Array(documents);
    let accepted = cluster.client().post("/indexes/things/documents", &body);
    let uid = accepted.unwrap().accepted().unwrap();
    cluster.client().wait_succeeded(uid).unwrap();
    cluster
}

fn search(client: &Client, number: usize) -> Duration {
    let started = Instant::now();
    let query = json!({"q": "thing", "limit": 1000, "offset": number % 5});
    let reply = client.search("things", &query).unwrap();
    let elapsed = started.elapsed();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let hits = reply.body["hits"].as_array().unwrap().len();
    assert_eq!(hits, DOCUMENTS - number % 5);
    elapsed
}

/// The times of searches by several clients at once.
fn search_for_a_spell(client: &Client) -> Vec<Duration> {
    let next = AtomicUsize::new(0);
    let until = Instant::now() + SPELL;
    thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    while times.is_empty() || Instant::now() < until {
                        times.push(search(client, next.fetch_add(1, Ordering::Relaxed)));
                    }
                    times
                })
            })
            .collect();
        let times = askers.into_iter().map(|asker| asker.join().unwrap());
        times.flatten().collect()
    })
}

#[test]
fn searches_go_on_in_time_while_a_node_stands_still() {
    let cluster = start(3, 2, DEADLINE);
    let client = cluster.client();
    // What a search takes here and now, with all nodes.
    let usual = search_for_a_spell(client);
    let usual = *usual.iter().max().unwrap();
    let stopped = Stopped::new(&cluster, 1);
    let times = search_for_a_spell(client);
    let slowest = *times.iter().max().unwrap();
    assert!(slowest < DEADLINE, "{slowest:?}");
    // Who waited for the node would wait for a third of the deadline.
    let limit = Duration::from_secs(1).max(usual * 3).min(DEADLINE / 4);
    let slow = times.iter().filter(|time| **time > limit).count();
    let all = times.len();
    assert!(slow * 20 <= all, "{slow} of {all} took over {limit:?}");
    let node = cluster.node_state(1).unwrap();
    assert!(
        node["reads"]["hedgesWon"].as_u64().unwrap() > 0,
        "others answered in its stead: {node}"
    );
    let status = cluster.client().get("/_miroir/topology").unwrap();
    println!("slowest {slowest:?} of {all}; {}", status.body["nodes"][1]);
    drop(stopped);
    cluster.wait_healthy(1).unwrap();
    for number in 0..20 {
        search(client, number);
    }
}

fn ask(client: &Client, path: &str, partial: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let headers = [
        ("content-type", "application/json"),
        ("x-miroir-partial", partial),
    ];
    let request = Request {
        method: "POST",
        path,
        headers: &headers,
    };
    let body = Body::Bytes(body.as_bytes());
    client.http().send(request, body).unwrap()
}

#[test]
fn without_any_replica_an_answer_is_partial_where_allowed() {
    let cluster = start(2, 1, SHORT_DEADLINE);
    let client = cluster.client();
    let stopped = Stopped::new(&cluster, 0);
    let searches = json!({"queries": [{"indexUid": "things", "q": "thing", "limit": 1000}]});
    for (path, body, list) in [
        (
            "/indexes/things/search",
            json!({"q": "thing", "limit": 1000}),
            "/hits",
        ),
        (
            "/indexes/things/documents/fetch",
            json!({"limit": 1000}),
            "/results",
        ),
        ("/multi-search", searches, "/results/0/hits"),
    ] {
        let denied = ask(client, path, "deny", &body);
        assert_eq!(denied.status, 503, "{path}");
        let allowed = ask(client, path, "allow", &body);
        assert_eq!(allowed.status, 200, "{path}");
        let named = allowed.header("x-miroir-degraded").unwrap();
        assert!(named.starts_with("shards="), "{path}: {named}");
        let answer: Value = serde_json::from_slice(&allowed.body).unwrap();
        let count = answer.pointer(list).unwrap().as_array().unwrap().len();
        assert!(0 < count && count < DOCUMENTS, "{path}: {count}");
        let block = match path {
            "/multi-search" => &answer["results"][0]["_miroir"],
            _ => &answer["_miroir"],
        };
        assert_eq!(block["degraded"], true, "{path}: {block}");
        assert!(block["coverage"].as_f64().unwrap() < 1.0);
    }
    let wrong = ask(client, "/indexes/things/search", "perhaps", &json!({}));
    assert_eq!(wrong.status, 400);
    drop(stopped);
    cluster.wait_healthy(0).unwrap();
    let query = json!({"q": "thing", "limit": 1000});
    let whole = ask(client, "/indexes/things/search", "allow", &query);
    assert_eq!(whole.header("x-miroir-degraded"), None);
    let answer: Value = serde_json::from_slice(&whole.body).unwrap();
    assert_eq!(answer["hits"].as_array().unwrap().len(), DOCUMENTS);
    assert_eq!(answer.get("_miroir"), None);
}
