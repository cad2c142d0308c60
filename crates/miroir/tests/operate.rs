//! What operators do on real processes: orphans, losses that are accepted, a declared topology.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Cluster, ClusterOptions, NodeOptions, NodeProcess, PATIENCE, Programs, poll};
use serde_json::{Value, json};
use std::process::Output;

fn programs() -> Programs {
    Programs::new(env!("CARGO_BIN_EXE_miroir"))
}

fn miroir(cluster: &Cluster, args: &[&str]) -> Output {
    cluster.proxy.command(args).unwrap()
}

/// The exit code of a command, and what it prints.
fn said(cluster: &Cluster, args: &[&str]) -> (i32, String) {
    let output = miroir(cluster, args);
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

fn cluster(nodes: u32, replication_factor: u32, config: &[&str]) -> Cluster {
    let mut options = ClusterOptions::new(nodes, replication_factor, 12);
    options
        .config
        .extend(config.iter().map(|line| (*line).to_owned()));
    let cluster = Cluster::start(&programs(), &options).unwrap();
    write(&cluster, 1);
    cluster
}

fn write(cluster: &Cluster, version: u64) {
    let documents: Vec<Value> = (0..600)
        .map(|id| json!({"id": id, "version": version}))
        .collect();
    let done = cluster
        .client()
        .write("POST", "/indexes/things/documents", Some(&json!(documents)))
        .unwrap();
    assert_eq!(done["status"], "succeeded", "{done}");
}

fn count(cluster: &Cluster) -> u64 {
    let stats = cluster.client().get("/indexes/things/stats").unwrap();
    stats.ok().unwrap()["numberOfDocuments"].as_u64().unwrap()
}

fn node_names(cluster: &Cluster) -> Vec<String> {
    let topology = cluster.client().get("/_miroir/topology").unwrap();
    let nodes = topology.ok().unwrap()["nodes"].as_array().unwrap().clone();
    let name = |node: &Value| node["name"].as_str().unwrap().to_owned();
    nodes.iter().map(name).collect()
}

#[test]
fn orphans_are_shown_first_and_what_was_shown_is_removed() {
    let cluster = cluster(2, 1, &[]);
    let (code, text) = said(&cluster, &["orphans"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("Every node holds what is placed on it"),
        "{text}"
    );

    let node = cluster.nodes[0].client();
    for uid in ["old__7", "theirs"] {
        node.write("POST", "/indexes", Some(&json!({"uid": uid})))
            .unwrap();
    }
    let (code, text) = said(&cluster, &["orphans", "sweep"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("old__7") && text.contains("--yes"), "{text}");
    assert!(
        !text.contains("theirs"),
        "it bears no name of Miroir's: {text}"
    );
    let held = || {
        let list = node.get("/indexes").unwrap().ok().unwrap();
        list["results"].to_string()
    };
    assert!(held().contains("old__7"), "it was only shown");

    let other = cluster
        .client()
        .post(
            "/_miroir/orphans/sweep",
            &json!({"digest": "0123456789abcdef"}),
        )
        .unwrap();
    assert_eq!(other.status, 400, "{}", other.body);
    let (code, text) = said(&cluster, &["orphans", "sweep", "--yes"]);
    assert_eq!(code, 0, "{text}");
    poll("the removal", PATIENCE, || {
        Ok((!held().contains("old__7")).then_some(()))
    })
    .unwrap();
    assert!(held().contains("theirs"));
    assert_eq!(count(&cluster), 600);
}

#[test]
fn a_node_whose_loss_is_accepted_leaves_and_its_shards_begin_anew() {
    let mut cluster = cluster(3, 1, &[]);
    cluster.nodes[2].kill_and_wipe().unwrap();
    let waiting = cluster
        .client()
        .post("/indexes/things/documents", &json!([{"id": 1, "version": 2}, {"id": 2, "version": 2}, {"id": 3, "version": 2}, {"id": 4, "version": 2}, {"id": 5, "version": 2}, {"id": 6, "version": 2}, {"id": 7, "version": 2}, {"id": 8, "version": 2}]))
        .unwrap();
    let waiting = waiting.ok().unwrap()["taskUid"].clone();

    assert_eq!(said(&cluster, &["node", "lost", "node-3"]).0, 0);
    let (code, text) = said(&cluster, &["topology", "plan"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--accept-data-loss"), "{text}");
    assert_eq!(said(&cluster, &["topology", "revert"]).0, 0);

    assert_eq!(
        said(&cluster, &["node", "lost", "node-3", "--accept-data-loss"]).0,
        0
    );
    let (code, text) = said(&cluster, &["topology", "plan"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("LOST: ") && text.contains("of 12 shards of index `things`"),
        "{text}"
    );
    let (code, text) = said(&cluster, &["topology", "apply", "--epoch", "2", "--wait"]);
    assert_eq!(code, 0, "{text}");

    assert_eq!(node_names(&cluster), ["node-1", "node-2"]);
    let task = poll("the end of a task that waited", PATIENCE, || {
        let task = cluster.client().get(&format!("/tasks/{waiting}"))?.ok()?;
        Ok((task["finishedAt"] != Value::Null).then_some(task))
    });
    let task = task.unwrap();
    let is_told = task["error"]["message"]
        .as_str()
        .is_some_and(|text| text.contains("is lost"));
    assert!(task["status"] == "succeeded" || is_told, "{task}");
    assert!(count(&cluster) < 600);
    write(&cluster, 3);
    assert_eq!(count(&cluster), 600);
    let found = cluster
        .client()
        .search("things", &json!({"q": "", "limit": 1000}))
        .unwrap();
    assert_eq!(found.ok().unwrap()["hits"].as_array().unwrap().len(), 600);
}

#[test]
fn a_declared_topology_is_followed_when_the_file_is_read_again() {
    let cluster = cluster(2, 1, &["[topology]", "apply = \"auto\""]);
    let file = cluster.proxy.folder().join("miroir.toml");
    let source = std::fs::read_to_string(&file).unwrap();
    let newcomer = NodeProcess::start(&programs().node, NodeOptions::default()).unwrap();
    let url = newcomer.url();
    let table = format!("\n[[nodes]]\nname = \"node-3\"\nurl = \"{url}\"\nweight = 2\n");

    // The command compares with any file, and the file says whether it may apply.
    let planned = source.replace("\"auto\"", "\"plan-only\"") + &table;
    let other = cluster.proxy.folder().join("wanted.toml");
    std::fs::write(&other, planned).unwrap();
    let other = other.to_str().unwrap();
    let compare = ["topology", "apply", "--file", other, "--dry-run"];
    let (code, text) = said(&cluster, &compare);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("add node node-3") && !text.contains("Staged"),
        "{text}"
    );
    let (code, text) = said(&cluster, &["topology", "apply", "--file", other]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Staged as epoch 1"), "{text}");
    assert_eq!(node_names(&cluster).len(), 2);

    let declare = |source: String| {
        std::fs::write(&file, source).unwrap();
        cluster.proxy.process().unwrap().signal("HUP").unwrap();
    };
    declare(source.clone() + &table);
    let holds = |name: &str, expected: Option<bool>| {
        poll("the topology as declared", PATIENCE, || {
            let staged = cluster.client().get("/_miroir/topology/staged")?.ok()?;
            let topology = cluster.client().get("/_miroir/topology")?.ok()?;
            let mut nodes = topology["nodes"].as_array().unwrap().iter();
            let node = nodes.find(|node| node["name"] == name);
            let found = node.map(|node| node["shardCount"] != 0);
            Ok((found == expected && staged.get("underway").is_none()).then_some(()))
        })
        .unwrap();
    };
    holds("node-3", Some(true));
    assert_eq!(count(&cluster), 600);

    // A line that is missing takes no node away; a mistake changes nothing.
    declare(source.clone());
    poll("an objection", PATIENCE, || {
        let staged = cluster.client().get("/_miroir/topology/staged")?.ok()?;
        Ok(staged["objections"]
            .to_string()
            .contains("drain = true")
            .then_some(()))
    })
    .unwrap();
    declare("this is no TOML".to_owned());
    declare(source.clone() + &table + "drain = true\n");
    holds("node-3", Some(false));
    declare(source);
    holds("node-3", None);
    assert_eq!(count(&cluster), 600);
}
