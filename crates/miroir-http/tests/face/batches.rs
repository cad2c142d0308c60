//! Batches, where nothing is ever sent: there are none, and mistakes are told.

use crate::support::Face;
use serde_json::json;

#[tokio::test]
async fn without_batches_the_list_is_empty() {
    let face = Face::open().await;
    face.call("DELETE", "/indexes/a").await;
    assert_eq!(
        face.get("/batches?limit=3&reverse=true&statuses=succeeded")
            .await
            .json(),
        json!({"results": [], "total": 0, "limit": 3, "from": null, "next": null})
    );
}

#[tokio::test]
async fn mistakes_are_told_in_the_words_of_meilisearch() {
    let face = Face::open().await;
    for (path, status, code, message) in [
        ("/batches/7", 404, "batch_not_found", "Batch `7` not found."),
        (
            "/batches/doggo",
            400,
            "invalid_batch_uids",
            "Batch uid `doggo` is invalid. It should only contain numeric characters.",
        ),
        (
            "/batches?limit=doggo",
            400,
            "invalid_task_limit",
            "Invalid value in parameter `limit`: could not parse `doggo` as a positive integer",
        ),
    ] {
        assert_eq!(
            face.get(path).await.refusal(),
            (status, code.to_owned(), message.to_owned())
        );
    }
}
