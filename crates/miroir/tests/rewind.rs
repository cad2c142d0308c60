//! `miroir rewind` on real processes: the operator who deleted the wrong thing.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, Cluster, ClusterOptions, PATIENCE, Programs, clean_command, poll};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Output;

const MIROIR: &str = env!("CARGO_BIN_EXE_miroir");

fn rewind(client: &Client, args: &[&str]) -> Output {
    clean_command(MIROIR)
        .args(["rewind", "--url", &client.url()])
        .args(args)
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

fn tasks_deleted(client: &Client, from: u64, to: u64) {
    let uids: Vec<String> = (from..to).map(|uid| uid.to_string()).collect();
    let path = format!("/tasks?uids={}", uids.join(","));
    let deletion = client.delete(&path).unwrap();
    client
        .wait_succeeded(deletion.ok().unwrap()["taskUid"].as_u64().unwrap())
        .unwrap();
}

#[test]
fn a_rewind_from_a_dump_goes_on_over_a_restart_of_the_proxy() {
    let mut options = ClusterOptions::new(3, 2, 8);
    options.config.push("log_retention = \"7 d\"".into());
    let mut cluster = Cluster::start(&Programs::new(MIROIR), &options).unwrap();
    let client = cluster.client().clone();
    let path = "/indexes/movies/documents";
    let of = |range: std::ops::Range<u64>| -> Vec<Value> {
        let filling = "x".repeat(4000);
        range
            .map(|id| json!({"id": id, "rank": id % 7, "text": "green tree", "filling": filling}))
            .collect()
    };
    let settings = json!({
        "filterableAttributes": ["rank"], "sortableAttributes": ["rank"],
        "searchableAttributes": ["text"],
    });
    let first = client.patch("/indexes/movies/settings", &settings).unwrap();
    let first = done(&client, first);
    done(&client, client.post(path, &json!(of(0..1500))).unwrap());
    let dump = done(&client, client.post("/dumps", &json!({})).unwrap());
    let uid = client.wait_task(dump).unwrap()["details"]["dumpUid"].clone();
    let uid = uid.as_str().unwrap();
    for id in 1500..1510 {
        done(&client, client.post(path, &json!(of(id..id + 1))).unwrap());
    }
    let filter = json!({"filter": "rank = 4"});
    let deletion = client.post(&format!("{path}/delete"), &filter).unwrap();
    let before = done(&client, deletion);
    let (held, found) = (documents(&client, "movies"), search(&client, "movies"));
    done(&client, client.delete("/indexes/movies").unwrap());
    tasks_deleted(&client, first, dump);

    let task = before.to_string();
    let wish = ["--index", "movies", "--to-task", &task, "--as", "again"];
    let planned = rewind(&client, &[&wish[..], &["--plan"]].concat());
    assert!(planned.status.success(), "{}", said(&planned));
    let text = format!("on top of the dump {uid}, which stands at task {dump}");
    assert!(said(&planned).contains(&text), "{}", said(&planned));
    assert!(client.get("/indexes/again").unwrap().status == 404);

    // It dies in the middle, and again when all is written but the name.
    for (step, count) in [("rewind.written", 5), ("rewind.built", 1)] {
        let reached = cluster.proxy.folder().join(format!("{step}.reached"));
        let stop_at = format!("{step}:{count}");
        let file = reached.display().to_string();
        let environment = [
            ("MIROIR_STOP_AT", stop_at.as_str()),
            ("MIROIR_STOP_FILE", &file),
        ];
        cluster.proxy.restart(&environment).unwrap();
        cluster.proxy.wait_ready().unwrap();
        if count == 5 {
            let request = json!({"indexUid": "movies", "toTask": before, "as": "again"});
            let begun = client.post("/_miroir/rewind", &request).unwrap();
            assert_eq!(begun.status, 202, "{}", begun.body);
        }
        poll("the step of a rewind", PATIENCE, || {
            Ok(reached.exists().then_some(()))
        })
        .unwrap();
        cluster.proxy.kill();
    }
    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    let report = poll("the end of a rewind", PATIENCE, || {
        let report = client.get("/_miroir/rewind/1")?.ok()?;
        Ok((report["state"] != "running").then_some(report))
    })
    .unwrap();
    assert_eq!(report["state"], "succeeded", "{report}");
    assert_eq!(
        (&report["documents"], &report["tasksDone"]),
        (&json!(1500), &json!(11))
    );
    assert_eq!(documents(&client, "again"), held);
    assert_eq!(search(&client, "again"), found);
    assert_eq!(client.get("/indexes/again-rewinding").unwrap().status, 404);
    let listed = rewind(&client, &["--list"]);
    assert!(
        said(&listed).contains("1  `again` is `movies` as it was"),
        "{}",
        said(&listed)
    );
    let cancelled = rewind(&client, &["--cancel", "1"]);
    assert_eq!(cancelled.status.code(), Some(1));
    assert!(
        said(&cancelled).contains("has ended"),
        "{}",
        said(&cancelled)
    );

    // The dump by its name, which needs no log when the moment is its own; and not one of others.
    let file = cluster
        .proxy
        .folder()
        .join(format!("data/dumps/{uid}.dump"));
    let file = file.display().to_string();
    let task = dump.to_string();
    let args = [
        "--index",
        "movies",
        "--to-task",
        &task,
        "--as",
        "dumped",
        "--from-dump",
        &file,
    ];
    let rewound = rewind(&client, &args);
    assert!(rewound.status.success(), "{}", said(&rewound));
    let ids: Vec<u64> = documents(&client, "dumped").into_keys().collect();
    assert!(ids.into_iter().eq(0..1500));
    let other = Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(1, 1, 2)).unwrap();
    let stranger = other.client();
    done(stranger, stranger.post(path, &json!(of(0..1))).unwrap());
    let args = [
        "--index",
        "movies",
        "--to-task",
        "0",
        "--as",
        "x",
        "--from-dump",
        &file,
    ];
    let refused = rewind(stranger, &args);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("of another instance"),
        "{}",
        said(&refused)
    );
}
