//! `miroir rewind` on real processes: the operator who deleted the wrong thing.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, Cluster, ClusterOptions, Programs};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Output};

const MIROIR: &str = env!("CARGO_BIN_EXE_miroir");

fn rewind(client: &Client, args: &[&str]) -> Output {
    Command::new(MIROIR)
        .args(["rewind", "--url", &client.url()])
        .args(args)
        .env_remove("MIROIR_MASTER_KEY")
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

fn done(client: &Client, reply: miroir_testkit::Reply) -> u64 {
    let uid = reply.accepted().unwrap();
    client.wait_succeeded(uid).unwrap();
    uid
}

fn documents(client: &Client, index: &str) -> BTreeMap<u64, Value> {
    let path = format!("/indexes/{index}/documents?limit=10000");
    let found = client.get(&path).unwrap().ok().unwrap();
    let results = found["results"].as_array().unwrap().iter();
    results
        .map(|document| (document["id"].as_u64().unwrap(), document.clone()))
        .collect()
}

fn search(client: &Client, index: &str) -> Vec<Value> {
    let body = json!({"q": "green", "limit": 1000, "sort": ["rank:asc"]});
    let path = format!("/indexes/{index}/search");
    let found = client.post(&path, &body).unwrap().ok().unwrap();
    found["hits"].as_array().unwrap().clone()
}

#[test]
fn an_index_deleted_by_mistake_is_built_again_beside_and_swapped_into_its_place() {
    let mut options = ClusterOptions::new(3, 2, 8);
    options.config.push("log_retention = \"7 d\"".into());
    let mut cluster = Cluster::start(&Programs::new(MIROIR), &options).unwrap();
    let client = cluster.client().clone();
    // Small and large payloads, settings, partial updates, deletions.
    let settings = json!({"filterableAttributes": ["rank"], "sortableAttributes": ["rank"]});
    done(
        &client,
        client.patch("/indexes/movies/settings", &settings).unwrap(),
    );
    let of = |range: std::ops::Range<u64>| -> Vec<Value> {
        let filling = "green tree ".repeat(40);
        range
            .map(|id| json!({"id": id, "rank": id % 7, "text": filling}))
            .collect()
    };
    let path = "/indexes/movies/documents";
    done(&client, client.post(path, &json!(of(0..1000))).unwrap());
    done(&client, client.post(path, &json!(of(1000..1010))).unwrap());
    let partial = json!([{"id": 3, "rank": 100}, {"id": 5000, "text": "green"}]);
    done(&client, client.put(path, &partial).unwrap());
    let ids = json!([1, 2, 999]);
    let deletion = client.post(&format!("{path}/delete-batch"), &ids);
    done(&client, deletion.unwrap());
    let filter = json!({"filter": "rank = 4"});
    let deletion = client.post(&format!("{path}/delete"), &filter).unwrap();
    let before = done(&client, deletion);
    let (held, found) = (documents(&client, "movies"), search(&client, "movies"));
    assert!(held.len() > 800 && found.len() > 800);

    // The mistake; and a restart of the proxy, as people do.
    done(&client, client.delete(path).unwrap());
    done(&client, client.post(path, &json!(of(0..5))).unwrap());
    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    let client = cluster.client().clone();

    let task = before.to_string();
    let args = [
        "--index",
        "movies",
        "--to-task",
        &task,
        "--as",
        "movies-before",
    ];
    let rewound = rewind(&client, &args);
    assert!(rewound.status.success(), "{}", said(&rewound));
    assert!(
        said(&rewound).contains("as it was at task"),
        "{}",
        said(&rewound)
    );
    assert_eq!(documents(&client, "movies-before"), held);
    assert_eq!(search(&client, "movies-before"), found);
    let again = rewind(&client, &args);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("already exists"), "{}", said(&again));

    let swap = json!([{"indexes": ["movies", "movies-before"]}]);
    done(&client, client.post("/swap-indexes", &swap).unwrap());
    assert_eq!(documents(&client, "movies"), held);
    let args = ["--index", "shows", "--to-task", &task, "--as", "x"];
    let refused = rewind(&client, &args);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("no index `shows`"),
        "{}",
        said(&refused)
    );
}
