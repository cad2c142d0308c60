use crate::node::Node;
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn documents_are_added_replaced_and_updated() {
    let node = Node::start().await;
    let task = node
        .add(
            "a",
            json!([{ "id": 1, "x": 1, "y": 1 }, { "id": "b", "x": 2 }]),
        )
        .await;
    assert_eq!(task["type"], "documentAdditionOrUpdate");
    assert_eq!(
        task["details"],
        json!({ "receivedDocuments": 2, "indexedDocuments": 2 })
    );
    assert_eq!(task["error"], Value::Null);
    node.add("a", json!({ "id": 1, "x": 3 })).await;
    node.write_well(
        Method::PUT,
        "/indexes/a/documents",
        json!([{ "id": "b", "z": 4 }]),
    )
    .await;
    assert_eq!(
        node.get("/indexes/a/documents/1").await,
        json!({ "id": 1, "x": 3 })
    );
    assert_eq!(
        node.get("/indexes/a/documents/b").await,
        json!({ "id": "b", "x": 2, "z": 4 })
    );
    assert_eq!(node.get("/indexes/a").await["primaryKey"], "id");
}

#[tokio::test]
async fn ndjson_csv_and_compressed_payloads_are_read() {
    let node = Node::start().await;
    let path = "/indexes/a/documents";
    let ndjson = [("content-type", "application/x-ndjson; charset=utf-8")];
    let (status, _, summary) = node
        .send(Method::POST, path, &ndjson, "{\"id\":1}\n{\"id\":2}")
        .await
        .unwrap();
    assert_eq!(status, 202);
    node.wait(&summary).await;
    let csv = [("content-type", "text/csv")];
    let csv_path = "/indexes/a/documents?csvDelimiter=%3B";
    let (status, _, summary) = node
        .send(Method::POST, csv_path, &csv, "id:number;n\n3;x\n")
        .await
        .unwrap();
    assert_eq!(status, 202);
    node.wait(&summary).await;
    assert_eq!(
        node.get("/indexes/a/documents/3").await,
        json!({ "id": 3, "n": "x" })
    );
    // `[{"id":4}]` as raw deflate inside zlib, made by another program.
    let zlib: &[u8] = &[
        120, 156, 139, 174, 86, 202, 76, 81, 178, 50, 169, 141, 5, 0, 17, 183, 3, 48,
    ];
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "deflate"),
    ];
    let (status, _, summary) = node.send(Method::POST, path, &headers, zlib).await.unwrap();
    assert_eq!(status, 202, "{summary}");
    node.wait(&summary).await;
    assert_eq!(node.get("/indexes/a/documents?limit=1").await["total"], 4);
}

#[tokio::test]
async fn documents_are_listed_fetched_and_filtered() {
    let node = Node::start().await;
    let settings = json!({ "filterableAttributes": ["n"], "sortableAttributes": ["n"] });
    node.write_well(Method::PATCH, "/indexes/a/settings", settings)
        .await;
    let documents: Vec<Value> = (0..30)
        .map(|n| json!({ "id": n, "n": n, "m": { "k": n } }))
        .collect();
    node.add("a", json!(documents)).await;
    let list = node
        .get("/indexes/a/documents?offset=5&limit=2&fields=id,m.k")
        .await;
    let expected = json!([{ "id": 5, "m": { "k": 5 } }, { "id": 6, "m": { "k": 6 } }]);
    assert_eq!(
        list,
        json!({ "results": expected, "offset": 5, "limit": 2, "total": 30 })
    );
    let body = json!({ "ids": [3, "7", 99], "filter": "n > 3", "fields": ["id"] });
    let (status, fetched) = node.post("/indexes/a/documents/fetch", body).await;
    assert_eq!((status, &fetched["results"]), (200, &json!([{ "id": 7 }])));
    let body = json!({ "sort": ["n:desc"], "limit": 2, "fields": ["id"] });
    let (_, fetched) = node.post("/indexes/a/documents/fetch", body).await;
    assert_eq!(fetched["results"], json!([{ "id": 29 }, { "id": 28 }]));
    let filtered = node
        .get("/indexes/a/documents?filter=n%20%3C%203&limit=10")
        .await;
    assert_eq!(filtered["total"], 3);
}

#[tokio::test]
async fn documents_are_deleted_one_by_one_in_batches_by_filter_and_all() {
    let node = Node::start().await;
    let settings = json!({ "filterableAttributes": ["n"] });
    node.write_well(Method::PATCH, "/indexes/a/settings", settings)
        .await;
    let documents: Vec<Value> = (0..10).map(|n| json!({ "id": n, "n": n })).collect();
    node.add("a", json!(documents)).await;
    let task = node
        .write_well(Method::DELETE, "/indexes/a/documents/0", Value::Null)
        .await;
    let details = json!({ "providedIds": 1, "deletedDocuments": 1, "originalFilter": null });
    assert_eq!(
        (&task["type"], &task["details"]),
        (&json!("documentDeletion"), &details)
    );
    let path = "/indexes/a/documents/delete-batch?customMetadata=mine";
    let task = node
        .write_well(Method::POST, path, json!([1, "2", 77]))
        .await;
    assert_eq!(task["details"]["deletedDocuments"], 2);
    assert_eq!(task["customMetadata"], "mine");
    let body = json!({ "filter": "n >= 8" });
    let task = node
        .write_well(Method::POST, "/indexes/a/documents/delete", body)
        .await;
    let details =
        json!({ "providedIds": 0, "deletedDocuments": 2, "originalFilter": "\"n >= 8\"" });
    assert_eq!(task["details"], details);
    let task = node
        .write_well(Method::DELETE, "/indexes/a/documents", Value::Null)
        .await;
    assert_eq!(task["details"], json!({ "deletedDocuments": 5 }));
    assert_eq!(node.get("/indexes/a/stats").await["numberOfDocuments"], 0);
}

#[tokio::test]
async fn skip_creation_leaves_out_unknown_documents() {
    let node = Node::start().await;
    node.add("a", json!([{ "id": 1, "x": 1 }])).await;
    let path = "/indexes/a/documents?skipCreation=True";
    node.write_well(
        Method::PUT,
        path,
        json!([{ "id": 1, "y": 2 }, { "id": 2, "y": 2 }]),
    )
    .await;
    assert_eq!(
        node.get("/indexes/a/documents/1").await,
        json!({ "id": 1, "x": 1, "y": 2 })
    );
    assert_eq!(node.get("/indexes/a/documents").await["total"], 1);
}

#[tokio::test]
async fn errors_in_documents_fail_their_task_only() {
    let node = Node::start().await;
    node.add("a", json!([{ "id": 0 }])).await;
    let hold = json!({ "holdQueue": true });
    node.post("/_devnode/faults", hold).await;
    let path = "/indexes/a/documents";
    let (_, good) = node.post(path, json!([{ "id": 1 }])).await;
    let (_, bad_id) = node
        .post(path, json!([{ "id": 2 }, { "id": "no id" }]))
        .await;
    let (_, no_id) = node.post(path, json!([{ "x": 2 }])).await;
    let (_, also_good) = node.post(path, json!([{ "id": 3 }])).await;
    node.post("/_devnode/faults", json!({ "holdQueue": false }))
        .await;
    let (good, bad_id) = (node.wait(&good).await, node.wait(&bad_id).await);
    let (no_id, also_good) = (node.wait(&no_id).await, node.wait(&also_good).await);
    assert_eq!(
        (&good["status"], &also_good["status"]),
        (&json!("succeeded"), &json!("succeeded"))
    );
    assert_eq!(good["batchUid"], bad_id["batchUid"]);
    assert_eq!(bad_id["error"]["code"], "invalid_document_id");
    assert_eq!(
        bad_id["details"],
        json!({ "receivedDocuments": 2, "indexedDocuments": 0 })
    );
    assert_eq!(no_id["error"]["code"], "missing_document_id");
    assert_eq!(node.get(path).await["total"], 3);
}

#[tokio::test]
async fn primary_keys_are_inferred_or_refused_and_an_empty_index_stays() {
    let node = Node::start().await;
    let code = async |path: &str, body: Value| {
        node.write(Method::POST, path, body).await["error"]["code"]
            .as_str()
            .map(str::to_owned)
    };
    let none = code("/indexes/a/documents", json!([{ "x": 1 }])).await;
    assert_eq!(
        none.as_deref(),
        Some("index_primary_key_no_candidate_found")
    );
    let many = code("/indexes/a/documents", json!([{ "aid": 1, "bid": 1 }])).await;
    assert_eq!(
        many.as_deref(),
        Some("index_primary_key_multiple_candidates_found")
    );
    assert_eq!(node.get("/indexes/a").await["primaryKey"], Value::Null);
    let given = code(
        "/indexes/a/documents?primaryKey=bid",
        json!([{ "aid": 1, "bid": 1 }]),
    )
    .await;
    assert_eq!(given, None);
    let other = code(
        "/indexes/a/documents?primaryKey=aid",
        json!([{ "aid": 1, "bid": 1 }]),
    )
    .await;
    assert_eq!(other.as_deref(), Some("index_primary_key_already_exists"));
    assert_eq!(code("/indexes/b/documents", json!([])).await, None);
    assert_eq!(node.get("/indexes/b").await["primaryKey"], Value::Null);
}

#[tokio::test]
async fn errors_of_a_whole_batch_name_the_index() {
    let node = Node::start().await;
    let settings = json!({ "filterableAttributes": ["_geo"] });
    node.write_well(Method::PATCH, "/indexes/a/settings", settings)
        .await;
    let body = json!([{ "id": 1, "_geo": "here" }]);
    let task = node.write(Method::POST, "/indexes/a/documents", body).await;
    assert_eq!(task["error"]["code"], "invalid_document_geo_field");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("Index `a`: "), "{message}");
    assert_eq!(task["error"]["type"], "invalid_request");
}

#[tokio::test]
async fn requests_about_documents_are_checked_before_a_task_is_made() {
    let node = Node::start_with(|options| options.http_payload_size_limit = 1000).await;
    node.add("a", json!([{ "id": 1 }])).await;
    let path = "/indexes/a/documents";
    let long = "x".repeat(1001);
    /// Path, headers, body, and the status and code to be refused with.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, (u16, &'a str));
    let cases: [Case<'_>; 8] = [
        (path, &[], "[]", (415, "missing_content_type")),
        (
            path,
            &[("content-type", "text/plain")],
            "[]",
            (415, "invalid_content_type"),
        ),
        (
            path,
            &[("content-type", "application/json")],
            "",
            (400, "missing_payload"),
        ),
        (
            path,
            &[("content-type", "application/json")],
            "[1]",
            (400, "malformed_payload"),
        ),
        (
            path,
            &[("content-type", "application/json")],
            &long,
            (413, "payload_too_large"),
        ),
        (
            "/indexes/a/documents?x=1",
            &[("content-type", "text/csv")],
            "id",
            (400, "bad_request"),
        ),
        (
            "/indexes/a/documents?csvDelimiter=ab",
            &[("content-type", "text/csv")],
            "id",
            (400, "invalid_document_csv_delimiter"),
        ),
        (
            "/indexes/a%20b/documents",
            &[],
            "[]",
            (400, "invalid_index_uid"),
        ),
    ];
    for (path, headers, body, expected) in cases {
        let (status, _, answer) = node
            .send(Method::POST, path, headers, body.to_owned())
            .await
            .unwrap();
        assert_eq!(
            (status, answer["code"].as_str().unwrap()),
            expected,
            "{answer}"
        );
    }
    let post = async |path: &str, body: Value, expected| {
        node.refuses(Method::POST, path, body, expected).await;
    };
    let get = async |path: &str, expected| {
        node.refuses(Method::GET, path, Value::Null, expected).await;
    };
    let delete_path = "/indexes/a/documents/delete";
    post(delete_path, json!({}), (400, "missing_document_filter")).await;
    post(
        delete_path,
        json!({ "filter": "" }),
        (400, "invalid_document_filter"),
    )
    .await;
    post(
        delete_path,
        json!({ "filter": 1 }),
        (400, "invalid_document_filter"),
    )
    .await;
    post(
        "/indexes/a/documents/fetch",
        json!({ "ids": [1.5] }),
        (400, "invalid_document_ids"),
    )
    .await;
    post(
        "/indexes/a/documents/fetch",
        json!({ "x": 1 }),
        (400, "bad_request"),
    )
    .await;
    post(
        "/indexes/a/documents/fetch",
        json!({ "sort": ["id:asc"] }),
        (400, "invalid_document_sort"),
    )
    .await;
    post(
        "/indexes/a/documents/edit",
        json!({}),
        (400, "feature_not_enabled"),
    )
    .await;
    get(
        "/indexes/a/documents?filter=x%20%3D%201",
        (400, "invalid_document_filter"),
    )
    .await;
    get(
        "/indexes/a/documents?limit=-1",
        (400, "invalid_document_limit"),
    )
    .await;
    get("/indexes/a/documents/2", (404, "document_not_found")).await;
    get("/indexes/b/documents", (404, "index_not_found")).await;
    assert_eq!(node.get("/tasks").await["total"], 1);
}
