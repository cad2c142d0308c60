//! Changes of the topology on real processes: newcomers are looked at, plans are shown, nothing moves.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Cluster, ClusterOptions, NodeOptions, NodeProcess, Programs};
use serde_json::{Value, json};
use std::process::Output;

fn programs() -> Programs {
    Programs::new(env!("CARGO_BIN_EXE_miroir"))
}

fn node() -> NodeProcess {
    NodeProcess::start(&programs().node, NodeOptions::default()).unwrap()
}

fn miroir(cluster: &Cluster, args: &[&str]) -> Output {
    cluster.proxy.command(args).unwrap()
}

/// What a command that succeeds prints.
fn said(cluster: &Cluster, args: &[&str]) -> String {
    let output = miroir(cluster, args);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {told}");
    let text = String::from_utf8(output.stdout).unwrap();
    let widest = text.lines().map(|line| line.chars().count()).max();
    // A table of short names fits a terminal; JSON is for programs.
    assert!(widest <= Some(100) || args.contains(&"--json"), "{text}");
    text
}

/// What a command that fails says.
fn refused(cluster: &Cluster, args: &[&str]) -> String {
    let output = miroir(cluster, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn json_of(cluster: &Cluster, args: &[&str]) -> Value {
    let mut args = args.to_vec();
    args.push("--json");
    serde_json::from_str(&said(cluster, &args)).unwrap()
}

fn filled() -> Cluster {
    let cluster = Cluster::start(&programs(), &ClusterOptions::new(3, 2, 12)).unwrap();
    let documents: Vec<Value> = (0..600).map(|n| json!({"id": n, "n": n})).collect();
    cluster
        .client()
        .write("POST", "/indexes/things/documents", Some(&json!(documents)))
        .unwrap();
    cluster
}

#[test]
fn a_newcomer_is_looked_at_before_it_is_staged() {
    let cluster = filled();
    let add = |url: &str| refused(&cluster, &["node", "add", "d", "--node-url", url]);

    // Port 1 is nobody's.
    let away = add("http://127.0.0.1:1");
    assert!(
        away.contains("cannot become a node: it cannot be reached"),
        "{away}"
    );

    let twin = add(&cluster.nodes[1].url().replace("127.0.0.1", "localhost"));
    assert!(twin.contains("under another address"), "{twin}");
    let same = add(&cluster.nodes[1].url());
    assert!(same.contains("have the same address"), "{same}");

    let foreign = node();
    foreign
        .client()
        .write("POST", "/indexes", Some(&json!({"uid": "theirs"})))
        .unwrap();
    let told = add(&foreign.url());
    assert!(
        told.contains("holds 1 indexes of its own (`theirs`)"),
        "{told}"
    );
    assert!(told.contains("empty its data folder"), "{told}");

    let not_a_node = add(&cluster.client().url());
    assert!(not_a_node.contains("cannot become a node"), "{not_a_node}");

    let fresh = node();
    let topology = cluster
        .client()
        .get("/_miroir/topology")
        .unwrap()
        .ok()
        .unwrap();
    let first = topology["nodes"][0]["name"].as_str().unwrap().to_owned();
    let taken = refused(
        &cluster,
        &["node", "add", &first, "--node-url", &fresh.url()],
    );
    assert!(
        taken.contains(&format!("There is a node `{first}` already")),
        "{taken}"
    );
}

#[test]
fn what_is_staged_is_planned_dropped_and_survives_a_restart() {
    let mut cluster = filled();
    let first = |cluster: &Cluster| {
        let topology = cluster
            .client()
            .get("/_miroir/topology")
            .unwrap()
            .ok()
            .unwrap();
        topology["nodes"][0]["name"].as_str().unwrap().to_owned()
    };
    let name = first(&cluster);
    assert!(said(&cluster, &["topology", "show"]).contains("Nothing is staged"));
    assert!(said(&cluster, &["node", "list"]).contains(&name));

    // Asked about only: nobody needs to be there.
    let url = "http://127.0.0.1:1";
    let add = ["node", "add", "d", "--node-url", url, "--dry-run"];
    let plan = json_of(&cluster, &add);
    let moves = plan["moveCount"].as_u64().unwrap();
    assert!((4..=8).contains(&moves), "{plan}");
    assert_eq!(plan["leastReplicas"]["during"], 2, "{plan}");
    assert!(plan["documents"].as_u64().unwrap() > 0, "{plan}");
    assert_eq!(plan.get("stagedEpoch"), None);

    let fresh = node();
    let url = fresh.url();
    let staged = json_of(
        &cluster,
        &["node", "add", "d", "--node-url", &url, "--zone", "z"],
    );
    assert_eq!(staged["stagedEpoch"], 1);
    let staged = json_of(&cluster, &["topology", "copies", "1", "--index", "things"]);
    assert_eq!(
        (&staged["epoch"], &staged["stagedEpoch"]),
        (&json!(0), &json!(2))
    );
    let text = said(&cluster, &["topology", "plan", "--free", "d=1GiB"]);
    for needed in [
        "Epoch 2 over epoch 0",
        "add node d",
        "one copy of each shard",
        "shards move",
    ] {
        assert!(text.contains(needed), "{needed}: {text}");
    }

    cluster.proxy.kill();
    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    let staged = json_of(&cluster, &["topology", "show"]);
    assert_eq!(staged["stagedEpoch"], 2);
    assert_eq!(staged["changes"][0]["change"], "addNode");

    // A list that makes no sense any more is refused at the change that is at fault.
    let unknown = refused(&cluster, &["node", "drain", "nobody"]);
    assert!(unknown.contains("There is no node `nobody`"), "{unknown}");
    let back = json_of(&cluster, &["topology", "revert"]);
    assert_eq!(back.get("stagedEpoch"), None);
    let staged = json_of(&cluster, &["node", "drain", &name]);
    assert_eq!(staged["stagedEpoch"], 3, "an epoch is given once");

    // Nothing of all that has moved anything.
    let count = cluster
        .client()
        .get("/indexes/things/stats")
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(count["numberOfDocuments"], 600);
    assert!(cluster.nodes[0].client().get("/health").is_ok());
}

#[test]
fn a_plan_that_cannot_be_is_refused_with_the_reason() {
    let cluster = filled();
    said(&cluster, &["topology", "copies", "4"]);
    let output = miroir(&cluster, &["topology", "plan"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("wants 4 copies of each shard and 3 nodes take shards"),
        "{text}"
    );
}

#[test]
fn shards_and_searches_are_explained() {
    let cluster = filled();
    let shard = json_of(&cluster, &["explain", "shard", "things/3"]);
    let holders = shard["nodes"].as_array().unwrap();
    assert_eq!(
        holders.iter().filter(|node| node["holds"] == true).count(),
        2
    );
    assert_eq!(shard["blockedBy"], json!([]), "{shard}");
    let text = said(&cluster, &["explain", "shard", "things/3"]);
    assert!(text.contains("Nothing keeps it from moving."), "{text}");
    let beyond = refused(&cluster, &["explain", "shard", "things/12"]);
    assert!(beyond.contains("has the shards 0 to 11"), "{beyond}");

    let query = json_of(&cluster, &["explain", "query", "things", "-q", "x"]);
    let shards: usize = query["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["shards"].as_array().unwrap().len())
        .sum();
    assert_eq!((shards, &query["cached"]), (12, &json!(false)));
    cluster
        .client()
        .search("things", &json!({"q": "x"}))
        .unwrap();
    let again = json_of(&cluster, &["explain", "query", "things", "-q", "x"]);
    assert_eq!(again["cached"], true, "{again}");

    let advice = json_of_any(&cluster, &["index", "advise"]);
    assert_eq!(advice["shardsOfANewIndex"], 32);
}

/// The answer of a command whose exit code tells something.
fn json_of_any(cluster: &Cluster, args: &[&str]) -> Value {
    let mut args = args.to_vec();
    args.push("--json");
    serde_json::from_slice(&miroir(cluster, &args).stdout).unwrap()
}

/// Stages, shows, applies, waits.
fn applied(cluster: &Cluster, staging: &[&str]) {
    let staged = json_of(cluster, staging);
    let epoch = staged["stagedEpoch"].to_string();
    let plan = json_of(cluster, &["topology", "plan"]);
    assert_eq!(plan["refusals"], json!([]), "{plan}");
    let after = json_of(cluster, &["topology", "apply", "--epoch", &epoch, "--wait"]);
    assert_eq!(after.get("underway"), None, "{after}");
    assert_eq!(after["epoch"].to_string(), epoch);
    let nothing_left = json_of(cluster, &["topology", "plan"]);
    assert_eq!(nothing_left["moveCount"], 0, "{nothing_left}");
}

fn shards_of(cluster: &Cluster, name: &str) -> Option<u64> {
    let topology = cluster
        .client()
        .get("/_miroir/topology")
        .unwrap()
        .ok()
        .unwrap();
    let nodes = topology["nodes"].as_array().unwrap().clone();
    let node = nodes.into_iter().find(|node| node["name"] == name)?;
    node["shardCount"].as_u64()
}

fn check_whole(cluster: &Cluster) {
    let query = json!({"q": "", "limit": 1000});
    let found = cluster
        .client()
        .search("things", &query)
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(found["estimatedTotalHits"], 600);
    let mut ids: Vec<u64> = found["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..600));
}

fn start_empty() -> (NodeProcess, String) {
    let node = node();
    let url = node.url();
    (node, url)
}

#[test]
fn what_is_applied_is_carried_out_as_it_was_planned() {
    let mut cluster = filled();
    let topology = cluster
        .client()
        .get("/_miroir/topology")
        .unwrap()
        .ok()
        .unwrap();
    let names: Vec<String> = topology["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["name"].as_str().unwrap().to_owned())
        .collect();

    let (_d, url) = start_empty();
    json_of(&cluster, &["node", "add", "d", "--node-url", &url]);
    let other = refused(&cluster, &["topology", "apply", "--epoch", "7"]);
    assert!(
        other.contains("Epoch 7 is not what is staged, 1 is"),
        "{other}"
    );
    said(&cluster, &["topology", "revert"]);
    applied(&cluster, &["node", "add", "d", "--node-url", &url]);
    assert_eq!(
        shards_of(&cluster, "d"),
        Some(6),
        "a quarter of 24 replicas"
    );
    check_whole(&cluster);

    applied(&cluster, &["node", "drain", &names[0]]);
    assert_eq!(shards_of(&cluster, &names[0]), Some(0));
    check_whole(&cluster);
    applied(&cluster, &["node", "activate", &names[0]]);
    assert!(shards_of(&cluster, &names[0]) >= Some(5));

    applied(&cluster, &["node", "remove", "d"]);
    assert_eq!(shards_of(&cluster, "d"), None);
    check_whole(&cluster);

    applied(&cluster, &["topology", "copies", "3"]);
    assert_eq!(shards_of(&cluster, &names[1]), Some(12));
    cluster.nodes[2].kill();
    let (_e, url) = start_empty();
    applied(
        &cluster,
        &[
            "node",
            "replace",
            &names[2],
            "--by",
            "e",
            "--node-url",
            &url,
        ],
    );
    assert_eq!(shards_of(&cluster, "e"), Some(12));
    assert_eq!(shards_of(&cluster, &names[2]), None);
    check_whole(&cluster);
    applied(&cluster, &["topology", "copies", "1"]);
    check_whole(&cluster);

    let status = json_of(&cluster, &["topology", "status"]);
    assert_eq!(status["state"], "done", "{status}");
    cluster.proxy.kill();
    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    check_whole(&cluster);
}
