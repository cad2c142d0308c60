//! Searches before they reach the engine.

use crate::support::Face;
use serde_json::json;

const SEARCH: &str = "/indexes/movies/search";

#[tokio::test]
async fn a_wrong_search_is_refused_before_the_index_is_looked_up() {
    let face = Face::open().await;
    for (body, code) in [
        (json!({"q": ["doggo"]}), "invalid_search_q"),
        (json!({"limit": "x"}), "invalid_search_limit"),
        (json!({"marin": "hello"}), "bad_request"),
        (json!({"vector": [1.0]}), "missing_search_hybrid"),
        (
            json!({"matchingStrategy": "most"}),
            "invalid_search_matching_strategy",
        ),
    ] {
        let (status, found, message) = face.json("POST", SEARCH, body).await.refusal();
        assert_eq!((status, &*found), (400, code), "{message}");
    }
    let answer = face.get("/indexes/movies/search?limit=x").await;
    assert_eq!(answer.refusal().1, "invalid_search_limit");
}

#[tokio::test]
async fn a_missing_index_is_reported_after_a_filter_of_a_wrong_type() {
    let face = Face::open().await;
    let refusal = face
        .json("POST", SEARCH, json!({"filter": true}))
        .await
        .refusal();
    assert_eq!(
        (refusal.0, refusal.1.as_str()),
        (400, "invalid_search_filter")
    );
    for body in [json!({}), json!({"filter": "a = 1"})] {
        assert_eq!(
            face.json("POST", SEARCH, body).await.refusal(),
            (
                404,
                "index_not_found".to_owned(),
                "Index `movies` not found.".to_owned()
            )
        );
    }
    assert_eq!(
        face.get("/indexes/movies/search?q=x").await.refusal().0,
        404
    );
}

#[tokio::test]
async fn a_parameter_of_a_feature_that_miroir_lacks_is_refused_as_by_a_server_without_it() {
    let face = Face::open().await;
    let answer = face.json("POST", SEARCH, json!({"useNetwork": true})).await;
    let (status, code, message) = answer.refusal();
    assert_eq!((status, &*code), (400, "feature_not_enabled"));
    assert!(
        message.starts_with(
            "passing `useNetwork` in a search query requires enabling the `network` experimental \
             feature."
        ),
        "{message}"
    );
}
