//! Foreign keys over several nodes: a hit shows the documents it names, on whatever node they lie,
//! and as they are now.
//!
//! That every detail is as on one Meilisearch is compared in `compat/foreign.json`.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, Cluster, ClusterOptions, Programs};
use serde_json::{Value, json};

const AUTHORS: u64 = 60;

fn write(client: &Client, method: &str, path: &str, body: &Value) {
    client.write(method, path, Some(body)).unwrap();
}

fn hits(client: &Client, query: &Value) -> Vec<Value> {
    let answer = client.search("books", query).unwrap().ok().unwrap();
    answer["hits"].as_array().unwrap().clone()
}

/// Authors, and one book of each that names him and the next.
fn fill(client: &Client) {
    let author = |id| json!({"id": id, "name": format!("author {id}"), "secret": id * 2});
    let book = |id| json!({"id": id, "title": format!("book {id}"), "by": [id, id + 1]});
    let authors: Value = (0..AUTHORS).map(author).collect();
    let books: Value = (0..AUTHORS).map(book).collect();
    write(client, "POST", "/indexes/authors/documents", &authors);
    write(client, "POST", "/indexes/books/documents", &books);
    let displayed = json!({"displayedAttributes": ["id", "name"]});
    write(client, "PATCH", "/indexes/authors/settings", &displayed);
}

fn switch(client: &Client, is_on: bool) {
    let switched = json!({ "foreignKeys": is_on });
    let answer = client.patch("/experimental-features", &switched).unwrap();
    answer.ok().unwrap();
}

#[test]
fn hits_show_foreign_documents_of_all_nodes_as_they_are_now() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let cluster = Cluster::start(&programs, &ClusterOptions::new(3, 2, 8)).unwrap();
    let client = cluster.client();
    fill(client);
    let path = "/indexes/books/settings/foreign-keys";
    let keys = json!([{"foreignIndexUid": "authors", "fieldName": "by"}]);
    let refused = client.put(path, &keys).unwrap();
    assert_eq!(refused.code(), Some("feature_not_enabled"));
    switch(client, true);
    write(client, "PUT", path, &keys);
    assert_eq!(client.get(path).unwrap().ok().unwrap(), keys);

    let everything = json!({"limit": AUTHORS});
    let shown = |id: u64, name: &str| json!({"id": id, "name": name});
    let expected = |id: u64| {
        let next = if id + 1 < AUTHORS {
            shown(id + 1, &format!("author {}", id + 1))
        } else {
            json!({})
        };
        json!([shown(id, &format!("author {id}")), next])
    };
    let found = hits(client, &everything);
    assert_eq!(found.len() as u64, AUTHORS);
    for (id, hit) in (0..).zip(&found) {
        assert_eq!(hit["by"], expected(id), "{hit}");
    }
    let query = json!({"federation": {"limit": AUTHORS}, "queries": [{"indexUid": "books"}]});
    let answer = client.post("/multi-search", &query).unwrap().ok().unwrap();
    for (id, hit) in (0..).zip(answer["hits"].as_array().unwrap()) {
        assert_eq!(hit["by"], expected(id), "{hit}");
    }

    // The same question once more, after nothing but the other index has changed.
    let renamed = json!([{"id": 7, "name": "another"}]);
    write(client, "PUT", "/indexes/authors/documents", &renamed);
    let found = hits(client, &everything);
    assert_eq!(found[7]["by"][0], shown(7, "another"));
    assert_eq!(found[6]["by"][1], shown(7, "another"));

    switch(client, false);
    assert_eq!(hits(client, &everything)[7]["by"], json!([7, 8]));
    let settings = client.get("/indexes/books/settings").unwrap().ok().unwrap();
    assert_eq!(settings.get("foreignKeys"), None);
    assert_eq!(client.get(path).unwrap().ok().unwrap(), keys);
}

#[test]
fn a_foreign_index_that_does_not_exist_fails_the_search() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let cluster = Cluster::start(&programs, &ClusterOptions::new(2, 1, 4)).unwrap();
    let client = cluster.client();
    fill(client);
    switch(client, true);
    let keys = json!([{"foreignIndexUid": "nobody", "fieldName": "by"}]);
    write(client, "PUT", "/indexes/books/settings/foreign-keys", &keys);
    let answer = client.search("books", &json!({})).unwrap();
    assert_eq!(
        (answer.status, answer.code()),
        (404, Some("index_not_found"))
    );
    let query = json!({"queries": [{"indexUid": "books"}]});
    let answer = client.post("/multi-search", &query).unwrap();
    assert_eq!(
        (answer.status, answer.code()),
        (404, Some("index_not_found"))
    );
    write(
        client,
        "DELETE",
        "/indexes/books/settings/foreign-keys",
        &Value::Null,
    );
    assert_eq!(hits(client, &json!({"limit": 1}))[0]["by"], json!([0, 1]));
}
