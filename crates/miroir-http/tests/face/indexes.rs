//! Indexes by name.

use crate::support::Face;
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn index_writes_become_tasks() {
    let face = Face::open().await;
    let created = face
        .json("POST", "/indexes", json!({"uid": "a", "primaryKey": "id"}))
        .await;
    assert_eq!(created.status, StatusCode::ACCEPTED);
    assert_eq!(created.json()["type"], "indexCreation");
    assert_eq!(
        face.task_of(&created).await["details"],
        json!({"primaryKey": "id"})
    );
    let changed = face.json("PATCH", "/indexes/a", json!({"uid": "b"})).await;
    assert_eq!(changed.json()["type"], "indexUpdate");
    assert_eq!(face.task_of(&changed).await["details"]["newIndexUid"], "b");
    let removed = face.call("DELETE", "/indexes/a").await;
    assert_eq!(removed.json()["type"], "indexDeletion");
}

#[tokio::test]
async fn wrong_index_requests_are_refused_in_meilisearch_words() {
    let face = Face::open().await;
    let refusal = face.get("/indexes/the%20good%20doggo").await.refusal();
    let message = "`the good doggo` is not a valid index uid. Index uid can be an integer or a \
                   string containing only alphanumeric characters, hyphens (-) and underscores \
                   (_), and can not be more than 512 bytes.";
    assert_eq!(
        refusal,
        (400, "invalid_index_uid".to_owned(), message.to_owned())
    );
    assert_eq!(
        face.get("/indexes/doggo").await.refusal(),
        (
            404,
            "index_not_found".to_owned(),
            "Index `doggo` not found.".to_owned()
        )
    );
    assert_eq!(
        face.json("POST", "/indexes", json!({})).await.refusal().1,
        "missing_index_uid"
    );
    assert_eq!(
        face.json("PATCH", "/indexes/a", json!({"updatedAt": 1}))
            .await
            .refusal()
            .1,
        "immutable_index_updated_at"
    );
    assert_eq!(
        face.get("/indexes?limit=x").await.refusal().1,
        "invalid_index_limit"
    );
    assert_eq!(
        face.get("/indexes/doggo/stats").await.refusal().1,
        "index_not_found"
    );
    assert_eq!(
        face.get("/stats?sizeFormat=x").await.refusal().1,
        "invalid_stats_size_format"
    );
}

#[tokio::test]
async fn an_empty_list_has_the_shape_of_a_page() {
    let face = Face::open().await;
    assert_eq!(
        face.get("/indexes?offset=3").await.json(),
        json!({"results": [], "offset": 3, "limit": 20, "total": 0})
    );
}

#[tokio::test]
async fn json_bodies_are_checked_for_type_presence_and_syntax() {
    use crate::support::request;
    let face = Face::open().await;
    let send = async |headers: &[(&str, &str)], body: &'static str| {
        face.send(request("POST", "/indexes", headers, body.into()))
            .await
            .refusal()
    };
    assert_eq!(
        send(&[], "{}").await,
        (
            415,
            "missing_content_type".to_owned(),
            "A Content-Type header is missing. Accepted values for the Content-Type header are: \
             `application/json`"
                .to_owned()
        )
    );
    assert_eq!(
        send(&[("content-type", "text/plain")], "{}").await.1,
        "invalid_content_type"
    );
    let json = [("content-type", "application/json")];
    assert_eq!(
        send(&json, "").await,
        (
            400,
            "missing_payload".to_owned(),
            "A json payload is missing.".to_owned()
        )
    );
    assert_eq!(
        send(&json, "{").await,
        (
            400,
            "malformed_payload".to_owned(),
            "The json payload provided is malformed. `EOF while parsing an object at line 1 column \
             1`."
                .to_owned()
        )
    );
}
