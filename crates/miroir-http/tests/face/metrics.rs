//! The page of metrics.

use crate::support::Face;
use miroir_http::{Features, Options};

#[tokio::test]
async fn metrics_need_their_feature_but_on_miroirs_own_route() {
    let face = Face::open().await;
    let (status, code, message) = face.get("/metrics").await.refusal();
    assert_eq!((status, &*code), (400, "feature_not_enabled"));
    assert!(message.starts_with("Getting metrics requires enabling the `metrics`"));
    assert_eq!(face.get("/_miroir/metrics").await.status.as_u16(), 200);
}

#[tokio::test]
async fn the_page_has_the_names_that_dashboards_know_and_miroirs_own() {
    let features = Features {
        metrics: true,
        ..Features::default()
    };
    let face = Face::with(Options {
        features,
        ..Options::default()
    })
    .await;
    face.call("DELETE", "/indexes/a").await;
    face.get("/tasks/0").await;
    face.get("/nowhere").await;
    let answer = face.get("/metrics").await;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4");
    let page = String::from_utf8(answer.body.to_vec()).expect("text");
    for line in [
        "meilisearch_http_requests_total{method=\"GET\",path=\"/tasks/{task_id}\",status=\"200\"} 1",
        "meilisearch_http_requests_total{method=\"DELETE\",path=\"/indexes/{index_uid}\",status=\"202\"} 1",
        "meilisearch_http_response_time_seconds_count{method=\"GET\",path=\"/tasks/{task_id}\"} 1",
        "meilisearch_index_count 0",
        "meilisearch_nb_tasks{kind=\"statuses\",value=\"enqueued\"} 1",
        "meilisearch_nb_tasks{kind=\"types\",value=\"indexDeletion\"} 1",
        "meilisearch_is_indexing 0",
        "miroir_log_position 1",
        "miroir_node_up{node=\"a\"} 0",
        "miroir_node_in_sync{node=\"a\"} 1",
        "miroir_node_queued_batches{node=\"a\"} 0",
        "miroir_shards{replicas=\"none\"} 0",
        "miroir_payload_bytes_total 0",
        "# TYPE miroir_merges_total counter",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(!page.contains("nowhere"), "{page}");
}
