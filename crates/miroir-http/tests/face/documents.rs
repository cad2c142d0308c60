//! Payloads: how they are taken in, and how they are refused.

use crate::support::{Face, request};
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder};
use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::StatusCode;
use miroir_http::Options;
use serde_json::json;
use tokio::io::AsyncReadExt;

const DOCUMENTS: &str = "/indexes/movies/documents";

#[tokio::test]
async fn documents_come_as_json_ndjson_and_csv() {
    let face = Face::open().await;
    for (content_type, body, count) in [
        ("application/json", "[{\"id\": 1},\n {\"id\": 2}]", 2),
        ("application/json; charset=utf-8", "{\"id\": 1}", 1),
        ("application/json", "[]", 0),
        (
            "application/x-ndjson",
            "{\"id\": 1}\n{\"id\": 2}{\"id\": 3}",
            3,
        ),
        ("text/csv", "id,size:number\na,1\nb,2\n", 2),
    ] {
        let answer = face.upload(DOCUMENTS, content_type, body).await;
        assert_eq!(
            answer.status,
            StatusCode::ACCEPTED,
            "{content_type}: {answer:?}"
        );
        let summary = answer.json();
        assert_eq!(summary["type"], "documentAdditionOrUpdate");
        assert_eq!(summary["status"], "enqueued");
        assert_eq!(summary["indexUid"], "movies");
        let details = &face.task_of(&answer).await["details"];
        assert_eq!(
            *details,
            json!({"receivedDocuments": count, "indexedDocuments": null})
        );
    }
}

#[tokio::test]
async fn an_addition_carries_its_options() {
    let face = Face::open().await;
    let path = format!("{DOCUMENTS}?primaryKey=id&csvDelimiter=%3B&customMetadata=mine");
    let answer = face.upload(&path, "text/csv", "id;a\n1;2\n").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.json()["customMetadata"], "mine");
    let task = face.task_of(&answer).await;
    assert_eq!(task["customMetadata"], "mine");
    assert_eq!(task["details"]["receivedDocuments"], 1);
}

#[tokio::test]
async fn a_refused_payload_leaves_neither_task_nor_file() {
    let face = Face::open().await;
    let accepted = "`application/json`, `application/x-ndjson`, `text/csv`";
    let missing_type = face.call("POST", DOCUMENTS).await.refusal();
    let message = format!(
        "A Content-Type header is missing. Accepted values for the Content-Type header are: \
         {accepted}"
    );
    assert_eq!(
        missing_type,
        (415, "missing_content_type".to_owned(), message)
    );
    let table = [
        (
            "doggo",
            "",
            415,
            "invalid_content_type",
            format!(
                "The Content-Type `doggo` is invalid. Accepted values for the Content-Type header \
                 are: {accepted}"
            ),
        ),
        (
            "application/json",
            "",
            400,
            "missing_payload",
            "A json payload is missing.".to_owned(),
        ),
        (
            "application/x-ndjson",
            "",
            400,
            "missing_payload",
            "A ndjson payload is missing.".to_owned(),
        ),
        (
            "text/csv",
            "",
            400,
            "missing_payload",
            "A csv payload is missing.".to_owned(),
        ),
    ];
    for (content_type, body, status, code, message) in table {
        let refusal = face.upload(DOCUMENTS, content_type, body).await.refusal();
        assert_eq!(refusal, (status, code.to_owned(), message));
    }
    for (content_type, body) in [
        ("application/json", "[{\"id\": 1}, {\"id\""),
        ("application/x-ndjson", "{\"id\": 1}\n{\"id\": }"),
        ("text/csv", "id,a\n1\n"),
    ] {
        let (status, code, message) = face.upload(DOCUMENTS, content_type, body).await.refusal();
        assert_eq!((status, &*code), (400, "malformed_payload"), "{message}");
    }
    assert_eq!(face.task_count().await, 0);
    assert_eq!(face.file_count().await, 0);
}

#[tokio::test]
async fn a_csv_delimiter_needs_a_csv() {
    let face = Face::open().await;
    let path = format!("{DOCUMENTS}?csvDelimiter=a");
    assert_eq!(
        face.upload(&path, "application/json", "[]").await.refusal(),
        (
            415,
            "invalid_content_type".to_owned(),
            "The Content-Type `application/json` does not support the use of a csv delimiter. The \
             csv delimiter can only be used with the Content-Type `text/csv`."
                .to_owned()
        )
    );
}

#[tokio::test]
async fn the_size_limit_counts_decompressed_bytes_of_every_body() {
    let options = Options {
        http_payload_size_limit: 1_000,
        ..Options::default()
    };
    let face = Face::with(options).await;
    let body = json!([{"id": 1, "text": "a".repeat(2_000)}]).to_string();
    let message = "The provided payload reached the size limit. The maximum accepted payload size \
                   is 1 KB.";
    let refusal = (413, "payload_too_large".to_owned(), message.to_owned());
    let plain = face
        .upload(DOCUMENTS, "application/json", body.clone())
        .await;
    assert_eq!(plain.refusal(), refusal);
    let mut compressed = Vec::new();
    GzipEncoder::new(body.as_bytes())
        .read_to_end(&mut compressed)
        .await
        .unwrap();
    assert!(compressed.len() < 1_000);
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let answer = face
        .send(request("POST", DOCUMENTS, &headers, compressed.into()))
        .await;
    assert_eq!(answer.refusal(), refusal);
    let search = face
        .json(
            "POST",
            "/indexes/movies/search",
            json!({"q": "a".repeat(2_000)}),
        )
        .await;
    assert_eq!(search.refusal(), refusal);
    assert_eq!(face.task_count().await, 0);
}

#[tokio::test]
async fn compressed_payloads_are_decompressed() {
    let face = Face::open().await;
    let body = b"{\"id\": 1}\n{\"id\": 2}\n".as_slice();
    for encoding in ["gzip", "deflate", "br"] {
        let mut compressed = Vec::new();
        match encoding {
            "gzip" => GzipEncoder::new(body).read_to_end(&mut compressed).await,
            "deflate" => ZlibEncoder::new(body).read_to_end(&mut compressed).await,
            _ => BrotliEncoder::new(body).read_to_end(&mut compressed).await,
        }
        .unwrap();
        let headers = [
            ("content-type", "application/x-ndjson"),
            ("content-encoding", encoding),
        ];
        let answer = face
            .send(request("POST", DOCUMENTS, &headers, compressed.into()))
            .await;
        assert_eq!(
            answer.status,
            StatusCode::ACCEPTED,
            "{encoding}: {answer:?}"
        );
        assert_eq!(
            face.task_of(&answer).await["details"]["receivedDocuments"],
            2
        );
    }
}

#[tokio::test]
async fn a_large_payload_goes_to_a_file_and_a_broken_one_leaves_none() {
    let face = Face::open().await;
    let line = Bytes::from(format!(
        "{{\"id\": 1, \"text\": \"{}\"}}\n",
        "a".repeat(1_000)
    ));
    let pieces =
        |count: usize| stream::iter(vec![line.clone(); count]).map(Ok::<_, std::io::Error>);
    let whole = Body::from_stream(pieces(2_000));
    let answer = face.upload(DOCUMENTS, "application/x-ndjson", whole).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(
        face.task_of(&answer).await["details"]["receivedDocuments"],
        2_000
    );
    assert_eq!(face.file_count().await, 1);

    let torn = pieces(2_000).chain(stream::iter([Err(std::io::Error::other("gone"))]));
    let answer = face
        .upload(DOCUMENTS, "application/x-ndjson", Body::from_stream(torn))
        .await;
    assert_eq!(answer.refusal().1, "bad_request");
    let wrong = pieces(2_000).chain(stream::iter([Ok(Bytes::from_static(b"}"))]));
    let answer = face
        .upload(DOCUMENTS, "application/x-ndjson", Body::from_stream(wrong))
        .await;
    assert_eq!(answer.refusal().1, "malformed_payload");
    assert_eq!(face.file_count().await, 1);
    assert_eq!(face.task_count().await, 1);
}

#[tokio::test]
async fn documents_are_deleted_by_id_by_list_by_filter_or_all() {
    let face = Face::open().await;
    let one = face.call("DELETE", "/indexes/movies/documents/a%2Fb").await;
    assert_eq!(one.status, StatusCode::ACCEPTED);
    let details = |provided: u64| json!({"providedIds": provided, "deletedDocuments": null, "originalFilter": null});
    assert_eq!(face.task_of(&one).await["details"], details(1));
    let path = "/indexes/movies/documents/delete-batch?customMetadata=m";
    let batch = face.json("POST", path, json!([1, "b", null])).await;
    assert_eq!(batch.status, StatusCode::ACCEPTED);
    let task = face.task_of(&batch).await;
    assert_eq!(
        (&task["details"], &task["customMetadata"]),
        (&details(3), &json!("m"))
    );
    let path = "/indexes/movies/documents/delete";
    let filtered = face.json("POST", path, json!({"filter": "a = 1"})).await;
    assert_eq!(
        face.task_of(&filtered).await["details"]["originalFilter"],
        "\"a = 1\""
    );
    let all = face.call("DELETE", DOCUMENTS).await;
    assert_eq!(
        face.task_of(&all).await["details"],
        json!({"deletedDocuments": null})
    );
}

#[tokio::test]
async fn wrong_deletions_are_refused_at_once() {
    let face = Face::open().await;
    let path = "/indexes/movies/documents/delete-batch";
    assert_eq!(
        face.json("POST", path, json!("doggo")).await.refusal(),
        (
            400,
            "bad_request".to_owned(),
            "Json deserialize error: invalid type: string \"doggo\", expected a sequence at line 1 \
             column 7"
                .to_owned()
        )
    );
    let path = "/indexes/movies/documents/delete";
    for (body, code) in [
        (json!({}), "missing_document_filter"),
        (json!({"filter": ""}), "invalid_document_filter"),
        (json!({"filter": 1}), "invalid_document_filter"),
        (json!({"filter": "a = 1", "x": 1}), "bad_request"),
    ] {
        assert_eq!(face.json("POST", path, body).await.refusal().1, code);
    }
    assert_eq!(face.task_count().await, 0);
}

#[tokio::test]
async fn reading_checks_the_form_before_the_index() {
    let face = Face::open().await;
    for (path, code) in [
        (
            "/indexes/movies/documents?limit=x",
            "invalid_document_limit",
        ),
        ("/indexes/movies/documents?x=1", "bad_request"),
        (
            "/indexes/movies/documents?ids=a%20b",
            "invalid_document_ids",
        ),
        ("/indexes/movies/documents?filter=true", "index_not_found"),
        ("/indexes/movies/documents", "index_not_found"),
        ("/indexes/movies/documents/1", "index_not_found"),
        ("/indexes/a%20b/documents", "invalid_index_uid"),
    ] {
        assert_eq!(face.get(path).await.refusal().1, code, "{path}");
    }
    let fetch = "/indexes/movies/documents/fetch";
    let answer = face.json("POST", fetch, json!({"limit": "x"})).await;
    assert_eq!(answer.refusal().1, "invalid_document_limit");
    assert_eq!(
        face.json("POST", fetch, json!({})).await.refusal().1,
        "index_not_found"
    );
}
