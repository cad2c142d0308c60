//! Answers without the shards that cannot be reached: only if allowed, always labelled, never kept.

use crate::reads::everything;
use crate::world::{World, add, pass, succeed, uid};
use miroir_core::search::SearchRequest;
use miroir_engine::engine::{DocumentsQuery, SearchAnswer};
use miroir_engine::reads::PartialPolicy::{self, Error, Partial};
use miroir_engine::{Engine, EngineError};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

fn documents() -> Vec<Value> {
    (0..60).map(|n| json!({"id": n})).collect()
}

fn ids(found: &Value) -> BTreeSet<u64> {
    let found = found.as_array().expect("a list").iter();
    found
        .map(|hit| hit["id"].as_u64().expect("an id"))
        .collect()
}

async fn search(
    engine: &Engine,
    wish: Option<PartialPolicy>,
) -> Result<(SearchAnswer, Value), EngineError> {
    let answer = engine.search_with(&uid("m"), everything(), wish).await?;
    let body = serde_json::from_slice(&answer.body).expect("an answer is JSON");
    Ok((answer, body))
}

fn listing() -> DocumentsQuery {
    DocumentsQuery {
        offset: 0,
        limit: 1000,
        fields: None,
        ids: None,
        filter: None,
        sort: None,
        retrieve_vectors: false,
    }
}

#[test]
fn a_partial_answer_shows_what_is_left_and_names_what_is_missing() {
    let world = World::new(&["a", "b", "c"], 9, 1);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let lost: BTreeSet<u64> = world
            .fleet
            .documents("b", "m")
            .keys()
            .map(|id| id.parse().unwrap())
            .collect();
        let left: BTreeSet<u64> = (0..60).filter(|id| !lost.contains(id)).collect();
        for round in 0..2 {
            let (answer, body) = search(&engine, Some(Partial)).await.unwrap();
            assert_eq!(ids(&body["hits"]), left, "round {round}");
            assert_eq!(body["estimatedTotalHits"], left.len());
            assert!(!answer.missing_shards.is_empty());
            let named: Vec<u32> = answer.missing_shards.iter().map(|shard| shard.0).collect();
            assert!(named.is_sorted());
            let share = (9 - named.len()) as f64 / 9.0;
            assert_eq!(
                body["_miroir"],
                json!({"degraded": true, "missingShards": named, "coverage": share})
            );
            // What was shown to one who allows it is not shown to others.
            let error = search(&engine, None).await.unwrap_err();
            assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");

            let listed = engine
                .documents_with(&uid("m"), listing(), Some(Partial))
                .await;
            let listed = listed.unwrap();
            let body: Value = serde_json::from_slice(&listed.body).unwrap();
            assert_eq!(ids(&body["results"]), left);
            assert_eq!(body["total"], left.len());
            assert_eq!(body["_miroir"]["missingShards"], json!(named));
            assert!(engine.documents(&uid("m"), listing()).await.is_err());
            pass(Duration::from_secs(5)).await;
        }
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        pass(Duration::from_secs(5)).await;
        let (answer, body) = search(&engine, Some(Partial)).await.unwrap();
        assert_eq!(ids(&body["hits"]), (0..60).collect());
        assert_eq!(answer.missing_shards, []);
        assert_eq!(body.get("_miroir"), None);
    });
}

#[test]
fn the_request_beats_the_index_and_the_index_the_whole() {
    for (whole, of_index, wish, expected) in [
        (Partial, None, None, true),
        (Error, Some(Partial), None, true),
        (Partial, Some(Error), None, false),
        (Partial, None, Some(Error), false),
        (Error, Some(Error), Some(Partial), true),
    ] {
        let mut world = World::new(&["a", "b", "c"], 9, 1);
        world.reads.partial = whole;
        let of_index = of_index.map(|policy| ("m".to_owned(), policy));
        world.reads.partial_of = of_index.into_iter().collect();
        world.run(async |engine| {
            succeed(&engine, add("m", &documents())).await;
            world.fleet.set("b", |faults| faults.is_unreachable = true);
            assert_eq!(search(&engine, wish).await.is_ok(), expected);
        });
    }
}

#[test]
fn no_answer_at_all_is_no_partial_answer() {
    let world = World::new(&["a", "b"], 4, 1);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_unreachable = true);
        }
        let error = search(&engine, Some(Partial)).await.unwrap_err();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
    });
}

#[test]
fn a_partial_answer_comes_when_the_only_replica_stays_silent() {
    let world = World::new(&["a", "b", "c"], 9, 1);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        world.fleet.set("b", |faults| {
            faults.reads = crate::node::ReadFault::Silence;
        });
        let started = Instant::now();
        let (answer, _) = search(&engine, Some(Partial)).await.unwrap();
        assert!(started.elapsed() <= Duration::from_millis(2100));
        assert!(!answer.missing_shards.is_empty());
    });
}

#[test]
fn a_short_page_is_filled_from_what_is_left() {
    let world = World::new(&["a", "b", "c"], 9, 1);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let request = SearchRequest {
            paging: miroir_core::search::Paging::Offset {
                offset: 10,
                limit: 15,
            },
            ..everything()
        };
        let answer = engine.search_with(&uid("m"), request, Some(Partial)).await;
        let body: Value = serde_json::from_slice(&answer.unwrap().body).unwrap();
        let (_, all) = search(&engine, Some(Partial)).await.unwrap();
        let all = all["hits"].as_array().unwrap();
        assert_eq!(body["hits"].as_array().unwrap()[..], all[10..25]);
    });
}
