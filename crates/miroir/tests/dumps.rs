//! What is dumped or exported is what is imported: between Miroirs, and with a stock Meilisearch.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, NodeOptions, NodeProcess, Programs, ProxyOptions, ProxyProcess};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NODES: u32 = 3;
const KEY: &str = "MASTER_KEY_OF_TESTS";

/// A proxy with a master key over nodes of its own, and the folder of its dumps. The proxy is
/// stopped before its nodes.
struct Fleet {
    proxy: ProxyProcess,
    dumps: TempDir,
    _nodes: Vec<NodeProcess>,
}

impl Fleet {
    fn start(programs: &Programs) -> Self {
        let dumps = tempfile::tempdir().unwrap();
        let nodes: Vec<NodeProcess> = (0..NODES)
            .map(|_| NodeProcess::start(&programs.node, NodeOptions::default()).unwrap())
            .collect();
        let options = ProxyOptions::over(nodes.iter().map(NodeProcess::url))
            .with(format!("dump_dir = {:?}", dumps.path().join("d")))
            .with("allowed_ip_networks = \"127.0.0.0/8\"");
        let options = ProxyOptions {
            master_key: Some(KEY.to_owned()),
            ..options
        };
        let proxy = ProxyProcess::start(programs, options).unwrap();
        proxy.wait_ready().unwrap();
        Self {
            proxy,
            dumps,
            _nodes: nodes,
        }
    }

    /// One that has imported the dump before it served.
    fn importing(programs: &Programs, dump: &Path) -> Self {
        let mut fleet = Self::start(programs);
        let dump = dump.to_str().unwrap();
        fleet
            .proxy
            .restart(&[("MIROIR_IMPORT_DUMP", dump)])
            .unwrap();
        fleet.proxy.wait_ready().unwrap();
        fleet
    }

    fn client(&self) -> &Client {
        self.proxy.client()
    }

    /// Writes a dump and returns its path.
    fn dump(&self) -> PathBuf {
        dump(self.client(), &self.dumps.path().join("d"))
    }
}

/// Has a server write a dump into its folder.
fn dump(client: &Client, folder: &Path) -> PathBuf {
    let task = client.write("POST", "/dumps", None).unwrap();
    assert_eq!(task["type"], "dumpCreation");
    let uid = task["details"]["dumpUid"].as_str().unwrap();
    let path = folder.join(format!("{uid}.dump"));
    assert!(path.is_file(), "{}", path.display());
    path
}

/// Some of everything that a dump holds.
fn fill(client: &Client) {
    let write = |method: &str, path: &str, body: Value| {
        client.write(method, path, Some(&body)).unwrap();
    };
    write("POST", "/indexes", json!({"uid": "empty"}));
    write(
        "PATCH",
        "/indexes/books/settings",
        json!({
            "filterableAttributes": ["genre"],
            "sortableAttributes": ["year"],
            "displayedAttributes": ["id", "title"],
            "distinctAttribute": "genre",
            "stopWords": ["the"],
            "faceting": {"sortFacetValuesBy": {"genre": "count"}},
            "embedders": {"own": {"source": "userProvided", "dimensions": 2}},
        }),
    );
    for part in 0..3 {
        let books: Vec<Value> = (0..40)
            .map(|n| {
                // Not in the order of the ids.
                let id = (part * 40 + n) * 7 % 120;
                json!({
                    "id": id,
                    "title": format!("book {id}"),
                    "genre": format!("g{}", id % 5),
                    "year": 1900 + id,
                    "price": 1.50,
                    "_vectors": {"own": [f64::from(id) / 128.0, 0.5]},
                })
            })
            .collect();
        write("POST", "/indexes/books/documents", json!(books));
    }
    let key = json!({
        "uid": "6062abda-a5aa-4414-ac91-ecd7944c0f8d",
        "name": "for tests",
        "actions": ["search", "documents.get"],
        "indexes": ["books"],
        "expiresAt": null,
    });
    client.post("/keys", &key).unwrap().ok().unwrap();
    // One that fails is a part of the history too.
    let task = client
        .post("/indexes/books/documents", &json!([{"no": "id"}]))
        .unwrap()
        .accepted()
        .unwrap();
    assert_eq!(client.wait_task(task).unwrap()["status"], "failed");
}

fn get(client: &Client, path: &str) -> Value {
    client.get(path).unwrap().ok().unwrap()
}

/// What a client sees of what a dump holds.
fn seen(client: &Client) -> Value {
    let fetch = json!({"limit": 1000, "retrieveVectors": true});
    let documents = client.post("/indexes/books/documents/fetch", &fetch);
    let mut settings = get(client, "/indexes/books/settings");
    // The bundled node is older than what a dump may come from: its rules have other names.
    settings.as_object_mut().unwrap().remove("rankingRules");
    let mut keys = get(client, "/keys")["results"].clone();
    for key in keys.as_array_mut().unwrap() {
        key.as_object_mut().unwrap().remove("updatedAt");
    }
    json!({
        "documents": documents.unwrap().ok().unwrap()["results"],
        "empty": get(client, "/indexes/empty/documents")["total"],
        "primaryKey": get(client, "/indexes/books")["primaryKey"],
        "settings": settings,
        "keys": keys,
        "hits": client
            .search("books", &json!({"q": "book", "filter": "genre = g1"}))
            .unwrap()
            .ok()
            .unwrap()["hits"],
    })
}

/// The tasks that a dump holds, less what no dump tells.
fn history(client: &Client) -> Vec<Value> {
    let mut tasks = get(client, "/tasks?limit=1000&reverse=true")["results"].clone();
    for task in tasks.as_array_mut().unwrap() {
        let task = task.as_object_mut().unwrap();
        task.remove("batchUid");
        if task["type"] == "dumpCreation" {
            // It was not yet done when it was written.
            for member in ["details", "duration", "finishedAt", "startedAt"] {
                task.remove(member);
            }
        }
    }
    tasks.as_array().unwrap().clone()
}

fn same(found: &Value, expected: &Value) {
    for (part, expected) in expected.as_object().unwrap() {
        assert_eq!(&found[part], expected, "{part}");
    }
}

#[test]
fn one_miroir_imports_what_another_dumps() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let first = Fleet::start(&programs);
    fill(first.client());
    let on = json!({"foreignKeys": true});
    let switched = first.client().patch("/experimental-features", &on);
    switched.unwrap().ok().unwrap();
    let keys = json!([{"foreignIndexUid": "empty", "fieldName": "author"}]);
    let path = "/indexes/books/settings/foreign-keys";
    first.client().write("PUT", path, Some(&keys)).unwrap();
    let dump = first.dump();
    let second = Fleet::importing(&programs, &dump);
    same(&seen(second.client()), &seen(first.client()));
    assert_eq!(history(second.client()), history(first.client()));
    // The log goes on above the history.
    let last = history(first.client()).len() as u64;
    let task = second
        .client()
        .post(
            "/indexes/books/documents",
            &json!([{"id": 1000, "_vectors": {"own": null}}]),
        )
        .unwrap()
        .accepted()
        .unwrap();
    assert!(task >= last, "{task} {last}");
    second.client().wait_succeeded(task).unwrap();
}

#[test]
fn a_dump_is_imported_into_nothing_but_an_empty_miroir() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let mut fleet = Fleet::start(&programs);
    fill(fleet.client());
    let dump = fleet.dump();
    let dump = dump.to_str().unwrap().to_owned();
    let refused = fleet.proxy.restart(&[("MIROIR_IMPORT_DUMP", &dump)]);
    let told = format!("{:#}", refused.unwrap_err());
    assert!(told.contains("--ignore-dump-if-db-exists"), "{told}");
    let ignore = ("MIROIR_IGNORE_DUMP_IF_DB_EXISTS", "true");
    fleet
        .proxy
        .restart(&[("MIROIR_IMPORT_DUMP", &dump), ignore])
        .unwrap();
    assert_eq!(
        get(fleet.client(), "/indexes/books/stats")["numberOfDocuments"],
        120
    );
}

#[test]
fn a_meilisearch_imports_what_miroir_dumps_and_the_other_way_round() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    if !programs.has_real_nodes() {
        // The bundled node reads and writes no dumps.
        return;
    }
    let miroir = Fleet::start(&programs);
    fill(miroir.client());
    let dump_of_miroir = miroir.dump();
    let options = NodeOptions {
        master_key: Some(KEY.to_owned()),
        arguments: vec![
            "--import-dump".to_owned(),
            dump_of_miroir.to_str().unwrap().to_owned(),
        ],
    };
    let stock = NodeProcess::start(&programs.node, options).unwrap();
    same(&seen(stock.client()), &seen(miroir.client()));
    assert_eq!(history(stock.client()), history(miroir.client()));

    let dump_of_stock = dump(stock.client(), &stock.dumps());
    let again = Fleet::importing(&programs, &dump_of_stock);
    same(&seen(again.client()), &seen(stock.client()));
    assert_eq!(history(again.client()), history(stock.client()));
}

#[test]
fn what_is_exported_is_found_at_the_target() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let miroir = Fleet::start(&programs);
    fill(miroir.client());
    // A stock Meilisearch where there is one, else another Miroir.
    let options = NodeOptions {
        master_key: Some(KEY.to_owned()),
        arguments: Vec::new(),
    };
    let (stock, other) = if programs.has_real_nodes() {
        let stock = NodeProcess::start(&programs.node, options).unwrap();
        (Some(stock), None)
    } else {
        (None, Some(Fleet::start(&programs)))
    };
    let target = match (&stock, &other) {
        (Some(stock), _) => stock.client(),
        (_, Some(other)) => other.client(),
        _ => unreachable!(),
    };
    let export = json!({
        "url": target.url(),
        "apiKey": KEY,
        "payloadSize": "4 KiB",
        "indexes": {"boo*": {"filter": "genre != g0"}},
    });
    let send = |body: &Value| {
        // Unlike other writes it is answered with 200.
        let answer = miroir.client().post("/export", body).unwrap();
        let task = answer.ok().unwrap()["taskUid"].as_u64().unwrap();
        miroir.client().wait_task(task).unwrap()
    };
    let task = send(&export);
    assert_eq!(task["status"], "succeeded", "{task}");
    assert_eq!(task["details"]["payloadSize"], "4 KiB");
    assert_eq!(task["details"]["indexes"]["books"]["matchedDocuments"], 96);
    for task in target.tasks().unwrap() {
        let task = target.wait_succeeded(task["uid"].as_u64().unwrap());
        task.unwrap();
    }
    let fetch = json!({"limit": 1000, "retrieveVectors": true, "filter": "genre != g0"});
    let documents = |client: &Client| {
        let fetched = client.post("/indexes/books/documents/fetch", &fetch);
        fetched.unwrap().ok().unwrap()["results"].clone()
    };
    assert_eq!(documents(target), documents(miroir.client()));
    let found = get(target, "/indexes/books/stats")["numberOfDocuments"].clone();
    assert_eq!(found, 96);

    let closed = json!({"url": "http://10.255.255.1", "indexes": {"*": {}}});
    let task = send(&closed);
    assert_eq!(task["error"]["message"], "Rejected IP", "{task}");
}
