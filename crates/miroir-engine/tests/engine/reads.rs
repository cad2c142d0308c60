//! What readers see: everything that was reported done, each document once, or an error.

use crate::world::{World, add, ended, pass, register, succeed, uid};
use miroir_core::search::{Paging, SearchRequest};
use miroir_engine::{Engine, EngineError};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(crate) fn everything() -> SearchRequest {
    SearchRequest {
        q: None,
        paging: Paging::Offset {
            offset: 0,
            limit: 100,
        },
        filter: None,
        sort: None,
        distinct: None,
        facets: None,
        attributes_to_retrieve: None,
        attributes_to_highlight: None,
        attributes_to_crop: None,
        show_matches_position: false,
        show_ranking_score: false,
        show_ranking_score_details: false,
        retrieve_vectors: false,
        ranking_score_threshold: None,
        hybrid: None,
        vector: None,
        media: None,
        passthrough: Map::new(),
    }
}

async fn found(engine: &Engine) -> Result<Vec<Value>, EngineError> {
    let answer = engine.search(&uid("m"), everything()).await?;
    let body: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
    Ok(body["hits"].as_array().expect("hits").clone())
}

#[test]
fn a_search_shows_every_document_once_in_insertion_order_whichever_node_is_away() {
    let world = World::new(&["a", "b", "c"], 8, 2);
    let documents: Vec<Value> = (0..40).map(|n| json!({"id": (n * 7) % 40})).collect();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents)).await;
        assert_eq!(found(&engine).await.unwrap(), documents);
        for node in ["a", "b", "c"] {
            world.fleet.set(node, |faults| faults.is_unreachable = true);
            assert_eq!(found(&engine).await.unwrap(), documents, "without {node}");
            pass(Duration::from_secs(5)).await;
            assert_eq!(
                found(&engine).await.unwrap(),
                documents,
                "without {node}, known to be down"
            );
            world
                .fleet
                .set(node, |faults| faults.is_unreachable = false);
            pass(Duration::from_secs(5)).await;
        }
    });
}

#[test]
fn a_search_without_any_replica_of_a_shard_fails() {
    let world = World::new(&["a", "b", "c"], 8, 2);
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_unreachable = true);
        }
        let error = found(&engine).await.unwrap_err();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
    });
}

#[test]
fn a_node_that_missed_a_write_is_not_asked() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        succeed(&engine, add("m", &[json!({"id": 2})])).await;
        // It answers again, and has yet to catch up.
        world.fleet.set("b", |faults| {
            faults.is_unreachable = false;
            faults.is_holding = true;
        });
        pass(Duration::from_secs(5)).await;
        assert_eq!(found(&engine).await.unwrap().len(), 2);
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        pass(Duration::from_secs(5)).await;
        // Another window, which is not among the answers kept.
        let paging = Paging::Offset {
            offset: 0,
            limit: 50,
        };
        let answer = engine
            .search(
                &uid("m"),
                SearchRequest {
                    paging,
                    ..everything()
                },
            )
            .await;
        assert!(answer.is_err(), "rather no answer than an old one");
        world.fleet.set("b", |faults| faults.is_holding = false);
        world.in_sync_is("b", true).await;
        assert_eq!(found(&engine).await.unwrap().len(), 2);
    });
}

#[test]
fn an_answer_given_while_a_write_was_in_flight_is_not_given_after_its_end() {
    for restarts in [false, true] {
        let world = World::mirrored();
        let hold = |is_holding: bool| {
            for node in ["a", "b"] {
                world
                    .fleet
                    .set(node, |faults| faults.is_holding = is_holding);
            }
        };
        let end = async |engine: &Engine, task| {
            assert_eq!(found(engine).await.unwrap().len(), 1);
            hold(false);
            ended(engine, task).await;
            assert_eq!(
                found(engine).await.unwrap().len(),
                2,
                "after a restart: {restarts}"
            );
        };
        let task = world.run(async |engine| {
            succeed(&engine, add("m", &[json!({"id": 1})])).await;
            hold(true);
            let task = register(&engine, add("m", &[json!({"id": 2})])).await;
            pass(Duration::from_secs(1)).await;
            if !restarts {
                end(&engine, task).await;
            }
            task
        });
        if restarts {
            world.run(async |engine| {
                pass(Duration::from_secs(1)).await;
                end(&engine, task).await;
            });
        }
    }
}
