//! Snapshots of a whole fleet on real processes: taken, everything lost, put back. The bundled node
//! takes none, and says so; with real nodes in its place all of it is done.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{
    Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, PATIENCE, Programs, ProxyOptions,
    ProxyProcess, poll,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

const MIROIR: &str = env!("CARGO_BIN_EXE_miroir");

fn add(client: &Client, ids: std::ops::Range<u64>) {
    let documents: Vec<Value> = ids
        .map(|id| json!({"id": id, "text": format!("green tree {id}"), "rank": id % 5}))
        .collect();
    let reply = client.post("/indexes/things/documents", &json!(documents));
    let uid = reply.unwrap().accepted().unwrap();
    client.wait_succeeded(uid).unwrap();
}

fn documents(client: &Client) -> BTreeMap<u64, Value> {
    let path = "/indexes/things/documents?limit=10000";
    let found = client.get(path).unwrap().ok().unwrap();
    let results = found["results"].as_array().unwrap().iter();
    results
        .map(|document| (document["id"].as_u64().unwrap(), document.clone()))
        .collect()
}

fn search(client: &Client) -> Value {
    let query = json!({"q": "green", "sort": ["rank:desc"], "limit": 1000});
    let mut found = client.search("things", &query).unwrap().ok().unwrap();
    found["hits"].take()
}

/// Replicas are equal, document by document.
fn verify(client: &Client) {
    let request = json!({"indexUid": "things"});
    let job = client.post("/_miroir/verify", &request).unwrap();
    let job = job.ok().unwrap()["job"].as_u64().unwrap();
    let report = poll("a comparison", PATIENCE, || {
        let report = client.get(&format!("/_miroir/verify/{job}"))?.ok()?;
        Ok((report["state"] != "running").then_some(report))
    })
    .unwrap();
    assert_eq!(report["differenceCount"], 0, "{report}");
}

#[test]
fn a_fleet_that_is_lost_is_put_back_from_its_snapshot() {
    let programs = Programs::new(MIROIR);
    let mut cluster = Cluster::start(&programs, &ClusterOptions::new(3, 2, 8)).unwrap();
    let client = cluster.client().clone();
    let settings = json!({"filterableAttributes": ["rank"], "sortableAttributes": ["rank"]});
    let reply = client.patch("/indexes/things/settings", &settings).unwrap();
    client.wait_succeeded(reply.accepted().unwrap()).unwrap();
    add(&client, 0..500);
    let taken = client.post("/snapshots", &Value::Null).unwrap();
    assert_eq!(taken.status, 202, "{}", taken.body);
    assert_eq!(taken.body["type"], "snapshotCreation");
    let task = taken.accepted().unwrap();
    if !programs.has_real_nodes() {
        let ended = client.wait_task(task).unwrap();
        assert_eq!(ended["status"], "failed", "{ended}");
        let message = ended["error"]["message"].as_str().unwrap();
        assert!(message.contains("bundled development node"), "{message}");
        add(&client, 500..510);
        println!("SKIPPED: the rest needs real nodes");
        return;
    }
    client.wait_succeeded(task).unwrap();
    // A second one takes its place.
    let (held, found) = (documents(&client), search(&client));
    let again = client.post("/snapshots", &Value::Null).unwrap();
    let task = again.accepted().unwrap();
    let ended = client.wait_succeeded(task).unwrap();
    assert!(ended["details"].is_null(), "{ended}");
    add(&client, 500..600);

    let kept = tempfile::tempdir().unwrap();
    let snapshot = cluster
        .proxy
        .folder()
        .join("data/snapshots/miroir.snapshot");
    let manifest = fs::read_to_string(snapshot.join("snapshot.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["task"], task, "{manifest}");
    // Another machine: what lies in the nodes' folders and in the proxy's is copied away, then lost.
    let mut nodes = BTreeMap::new();
    for (node, number) in cluster.nodes.iter_mut().zip(1..) {
        let folder = node.dumps().parent().unwrap().join("snapshots");
        let file = fs::read_dir(folder)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let copy = kept.path().join(format!("node-{number}.snapshot"));
        fs::copy(file, &copy).unwrap();
        node.kill();
        let options = NodeOptions {
            master_key: None,
            arguments: vec!["--import-snapshot".into(), copy.display().to_string()],
        };
        let process = NodeProcess::start(&programs.node, options).unwrap();
        nodes.insert(format!("node-{number}"), process);
    }
    let store = kept.path().join("store");
    fs::rename(snapshot.join("store"), &store).unwrap();
    cluster.proxy.kill();
    drop(cluster);

    let options = ProxyOptions {
        nodes: nodes
            .iter()
            .map(|(name, node)| (name.clone(), node.url()))
            .collect(),
        replication_factor: 2,
        shards: 8,
        config: vec!["probe_interval = \"100 ms\"".to_owned()],
        master_key: None,
        node_key: None,
    };
    let mut proxy = ProxyProcess::start(&programs, options).unwrap();
    proxy.kill();
    let data = kept.path().join("data").display().to_string();
    let restored = Command::new(MIROIR)
        .args(["restore", "--from"])
        .arg(&store)
        .args(["--data-dir", &data])
        .output()
        .unwrap();
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    proxy.restart(&[("MIROIR_DATA_DIR", &data)]).unwrap();
    proxy.wait_ready().unwrap();
    let client = proxy.client().clone();
    assert_eq!(documents(&client), held);
    assert_eq!(search(&client), found);
    let topology = client.get("/_miroir/topology").unwrap().ok().unwrap();
    for node in topology["nodes"].as_array().unwrap() {
        assert_eq!(node["inSync"], true, "{node}");
        assert!(node["refill"].is_null(), "nothing had to be copied: {node}");
    }
    verify(&client);
    add(&client, 600..700);
    assert_eq!(documents(&client).len(), 600);
    verify(&client);
}
