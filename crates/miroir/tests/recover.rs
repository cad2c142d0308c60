//! The store's disk is lost: a new store is made from the nodes alone, everything is served as before,
//! and writes go on.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{
    Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, Programs, clean_command,
};
use serde_json::{Value, json};
use std::fs;
use std::process::Output;

const MIROIR: &str = env!("CARGO_BIN_EXE_miroir");

/// Runs `miroir recover` with the configuration of the cluster's proxy.
fn recover(cluster: &Cluster, args: &[&str]) -> Output {
    clean_command(MIROIR)
        .args(["recover", "--config", "miroir.toml"])
        .args(args)
        .current_dir(cluster.proxy.folder())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn book(id: u64, version: u64) -> Value {
    json!({
        "id": id,
        "title": format!("book {} of {}", id % 17, version),
        "genre": format!("g{}", id % 5),
        "series": id % 40,
        "year": 1900 + id % 90,
        "hidden": format!("secret {id}"),
    })
}

fn books(ids: impl Iterator<Item = u64>, version: u64) -> Value {
    ids.map(|id| book(id, version)).collect()
}

/// One history, written to the cluster and to one node.
fn write_history(client: &Client) {
    let write = |method: &str, path: &str, body: Value| {
        client.write(method, path, Some(&body)).unwrap();
    };
    write("POST", "/indexes", json!({"uid": "empty"}));
    write(
        "PATCH",
        "/indexes/books/settings",
        json!({
            "filterableAttributes": ["genre", "year", "series"],
            "sortableAttributes": ["year"],
            "displayedAttributes": ["id", "title", "year"],
            "distinctAttribute": "series",
            "stopWords": ["of"],
            "synonyms": {"volume": ["book"]},
            "faceting": {"maxValuesPerFacet": 3, "sortFacetValuesBy": {"genre": "count"}},
            "pagination": {"maxTotalHits": 150},
        }),
    );
    write("POST", "/indexes/books/documents", books(0..300, 0));
    write(
        "PUT",
        "/indexes/books/documents",
        books((0..300).step_by(7), 1),
    );
    let gone: Value = (0..300).step_by(11).map(Value::from).collect();
    write("POST", "/indexes/books/documents/delete-batch", gone);
    write(
        "POST",
        "/indexes/books/documents/delete",
        json!({"filter": "year = 1950"}),
    );
    // A new generation takes the place of the old one, and is written to.
    write(
        "PATCH",
        "/indexes/shop/settings",
        json!({"searchableAttributes": ["title"]}),
    );
    write(
        "POST",
        "/indexes/shop/documents?primaryKey=id",
        books(0..50, 3),
    );
    write(
        "POST",
        "/indexes/shop_new/documents?primaryKey=id",
        books(0..60, 4),
    );
    write(
        "POST",
        "/swap-indexes",
        json!([{"indexes": ["shop", "shop_new"]}]),
    );
    write("POST", "/indexes/shop/documents", books(60..70, 5));
    write(
        "POST",
        "/indexes/draft/documents?primaryKey=id",
        books(0..20, 6),
    );
}

const INDEXES: [&str; 4] = ["books", "shop", "shop_new", "draft"];

/// What clients see of an index, as far as it is its documents' and settings' alone.
fn shown(client: &Client, index: &str) -> Vec<Value> {
    let mut shown = Vec::new();
    let mut queries = vec![
        json!({"q": "", "limit": 200}),
        json!({"q": "book 3", "limit": 50}),
        json!({"q": "volume", "limit": 20, "offset": 5}),
    ];
    if index == "books" {
        queries.push(json!({"q": "book", "filter": "year > 1930", "sort": ["year:desc"]}));
        queries.push(json!({"q": "", "facets": ["genre"]}));
    }
    for query in queries {
        let mut answer = client.search(index, &query).unwrap().ok().unwrap();
        answer.as_object_mut().unwrap().remove("processingTimeMs");
        answer.as_object_mut().unwrap().remove("requestUid");
        shown.push(answer);
    }
    let settings = format!("/indexes/{index}/settings");
    shown.push(client.get(&settings).unwrap().ok().unwrap());
    let stats = client
        .get(&format!("/indexes/{index}/stats"))
        .unwrap()
        .ok()
        .unwrap();
    shown.push(json!([
        stats["numberOfDocuments"],
        stats["fieldDistribution"]
    ]));
    let about = client
        .get(&format!("/indexes/{index}"))
        .unwrap()
        .ok()
        .unwrap();
    shown.push(json!([about["uid"], about["primaryKey"]]));
    shown
}

/// One node counts what an index's distinct attribute leaves in its own way (docs/reference/exactness).
const COUNTED_OTHERWISE: [&str; 3] = ["estimatedTotalHits", "facetDistribution", "facetStats"];

fn assert_same(client: &Client, reference: &Client) {
    for index in INDEXES {
        for (mut ours, mut theirs) in shown(client, index)
            .into_iter()
            .zip(shown(reference, index))
        {
            for answer in [&mut ours, &mut theirs]
                .into_iter()
                .filter_map(Value::as_object_mut)
            {
                answer.retain(|part, _| {
                    index != "books" || !COUNTED_OTHERWISE.contains(&part.as_str())
                });
            }
            assert_eq!(ours, theirs, "{index}");
        }
    }
}

fn newest_task(client: &Client) -> u64 {
    let tasks = client.get("/tasks?limit=1").unwrap().ok().unwrap();
    tasks["results"][0]["uid"].as_u64().unwrap()
}

fn physical_of(cluster: &Cluster, index: &str) -> String {
    cluster.physical_index(index).unwrap()
}

fn lose_store(cluster: &mut Cluster) {
    cluster.proxy.kill();
    fs::remove_dir_all(cluster.proxy.folder().join("data")).unwrap();
}

#[test]
fn a_lost_store_is_made_from_the_nodes_and_everything_goes_on() {
    let programs = Programs::new(MIROIR);
    let mut cluster = Cluster::start(&programs, &ClusterOptions::new(3, 2, 6)).unwrap();
    let reference = NodeProcess::start(&programs.node, NodeOptions::default()).unwrap();
    write_history(cluster.client());
    write_history(reference.client());
    assert_same(cluster.client(), reference.client());
    let last = newest_task(cluster.client());
    let draft = physical_of(&cluster, "draft");
    // A renaming that no write follows leaves no trace on the nodes.
    for client in [cluster.client(), reference.client()] {
        client
            .write("POST", "/indexes", Some(&json!({"uid": "old"})))
            .unwrap();
    }
    let renamed = json!({"uid": "final"});
    let answer = cluster.client().patch("/indexes/draft", &renamed).unwrap();
    cluster
        .client()
        .wait_succeeded(answer.accepted().unwrap())
        .unwrap();
    lose_store(&mut cluster);

    let preview = recover(&cluster, &[]);
    assert!(preview.status.success(), "{}", said(&preview));
    assert!(
        said(&preview).contains("Nothing was written"),
        "{}",
        said(&preview)
    );
    assert!(!cluster.proxy.folder().join("data").exists());
    let wrong = recover(&cluster, &["--name", "nothing__7=x"]);
    assert!(
        said(&wrong).contains("no node has an index nothing__7"),
        "{}",
        said(&wrong)
    );
    let name = format!("{draft}=draft");
    let written = recover(&cluster, &["--yes", "--json", "--name", &name]);
    assert!(written.status.success(), "{}", said(&written));
    let report: Value = serde_json::from_slice(&written.stdout).unwrap();
    assert_eq!(report["indexes"].as_array().unwrap().len(), 6, "{report}");
    assert_eq!(report["nodesToRefill"], json!({}), "{report}");
    let again = recover(&cluster, &["--yes"]);
    assert!(said(&again).contains("is not empty"), "{}", said(&again));

    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    assert_same(cluster.client(), reference.client());
    // A node gives new documents the places of removed ones, so where some were removed none is new.
    let is_there = |id: &u64| !id.is_multiple_of(11) && id % 90 != 50;
    for client in [cluster.client(), reference.client()] {
        for index in INDEXES {
            let path = format!("/indexes/{index}/documents");
            let more = match index {
                "books" => books((0..300).step_by(3).filter(is_there), 7),
                _ => books((0..320).step_by(3), 7),
            };
            client.write("POST", &path, Some(&more)).unwrap();
        }
    }
    assert!(newest_task(cluster.client()) > last);
    assert_same(cluster.client(), reference.client());
    let tasks = cluster.client().tasks().unwrap();
    assert_eq!(tasks.len(), INDEXES.len(), "no task is made up");
}

#[test]
fn a_node_that_was_away_when_the_store_was_lost_is_made_anew() {
    let programs = Programs::new(MIROIR);
    let mut cluster = Cluster::start(&programs, &ClusterOptions::new(3, 2, 6)).unwrap();
    let add = |client: &Client, ids: std::ops::Range<u64>, version| {
        let path = "/indexes/books/documents";
        client
            .write("PUT", path, Some(&books(ids, version)))
            .unwrap();
    };
    add(cluster.client(), 0..200, 0);
    cluster.nodes[1].kill();
    add(cluster.client(), 100..300, 1);
    let expected = shown_documents(cluster.client());
    lose_store(&mut cluster);
    // Without the node nothing is decided for it, unless the operator says that it is gone.
    let refused = recover(&cluster, &[]);
    assert!(
        said(&refused).contains("--absent node-2"),
        "{}",
        said(&refused)
    );
    let without = recover(&cluster, &["--absent", "node-2", "--json"]);
    let report: Value = serde_json::from_slice(&without.stdout).unwrap();
    assert!(report["nodesToRefill"]["node-2"].is_string(), "{report}");

    cluster.nodes[1].restart().unwrap();
    let written = recover(&cluster, &["--yes", "--json"]);
    assert!(written.status.success(), "{}", said(&written));
    let report: Value = serde_json::from_slice(&written.stdout).unwrap();
    let refills: Vec<&String> = report["nodesToRefill"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(refills, ["node-2"], "{report}");
    cluster.proxy.restart(&[]).unwrap();
    cluster.wait_healthy(1).unwrap();
    assert_eq!(shown_documents(cluster.client()), expected);
    // The others go, and what it was given is enough.
    cluster.nodes[0].kill();
    assert_eq!(shown_documents(cluster.client()), expected);
}

fn shown_documents(client: &Client) -> Value {
    let query = json!({"limit": 1000});
    let path = "/indexes/books/documents/fetch";
    let answer = client.post(path, &query).unwrap().ok().unwrap();
    answer["results"].clone()
}
