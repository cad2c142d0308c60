//! Documents like one document.

use crate::error::ApiError;
use crate::http::object::wrong_type;
use crate::http::{Call, Object, check_index_uid, document_id, invalid_document_id_text};
use crate::route::search::filter_of;
use crate::route::{Answer, ok};
use axum::extract::Path;
use miroir_devnode_engine::{SimilarQuery, Totals};
use serde_json::{Value, json};
use std::time::Instant;

const FIELDS: &[&str] = &[
    "id",
    "offset",
    "limit",
    "filter",
    "embedder",
    "attributesToRetrieve",
    "retrieveVectors",
    "showRankingScore",
    "showRankingScoreDetails",
    "rankingScoreThreshold",
    "showPerformanceDetails",
];

const DEFAULT_LIMIT: usize = 20;

pub(super) async fn by_body(Path(uid): Path<String>, mut call: Call) -> Answer {
    call.authorize("search", Some(&uid))?;
    check_index_uid(&uid)?;
    let body = call.take_json().await?;
    let object = Object::root(&body, FIELDS)?;
    let id = object.required("id", "invalid_similar_id")?;
    let query = SimilarQuery {
        id: check_id(id)?,
        embedder: object.required_string(
            "embedder",
            "invalid_similar_embedder",
            "invalid_similar_embedder",
        )?,
        offset: object.usize_or("offset", 0, "invalid_similar_offset")?,
        limit: object.usize_or("limit", DEFAULT_LIMIT, "invalid_similar_limit")?,
        filter: object.filter("filter", "invalid_similar_filter")?,
        attributes_to_retrieve: object.strings(
            "attributesToRetrieve",
            "invalid_similar_attributes_to_retrieve",
        )?,
        retrieve_vectors: object.boolean_or(
            "retrieveVectors",
            false,
            "invalid_similar_retrieve_vectors",
        )?,
        show_ranking_score: object.boolean_or(
            "showRankingScore",
            false,
            "invalid_similar_show_ranking_score",
        )?,
        show_ranking_score_details: object.boolean_or(
            "showRankingScoreDetails",
            false,
            "invalid_similar_show_ranking_score_details",
        )?,
        ranking_score_threshold: object.number("rankingScoreThreshold", THRESHOLD_CODE)?,
    };
    answer(uid, call, query).await
}

pub(super) async fn by_query(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("search", Some(&uid))?;
    check_index_uid(&uid)?;
    let query = call.query(FIELDS)?;
    let missing = |name: &str, code| ApiError::new(code, format!("Missing parameter `{name}`"));
    let id = query
        .string("id")
        .ok_or_else(|| missing("id", "invalid_similar_id"))?;
    let query = SimilarQuery {
        id: check_id(&Value::String(id))?,
        embedder: query
            .string("embedder")
            .ok_or_else(|| missing("embedder", "invalid_similar_embedder"))?,
        offset: query.usize_or("offset", 0, "invalid_similar_offset")?,
        limit: query.usize_or("limit", DEFAULT_LIMIT, "invalid_similar_limit")?,
        filter: query.get("filter").map(filter_of),
        attributes_to_retrieve: query.csv("attributesToRetrieve"),
        retrieve_vectors: query.boolean("retrieveVectors", "invalid_similar_retrieve_vectors")?,
        show_ranking_score: query
            .boolean("showRankingScore", "invalid_similar_show_ranking_score")?,
        show_ranking_score_details: query.boolean(
            "showRankingScoreDetails",
            "invalid_similar_show_ranking_score_details",
        )?,
        ranking_score_threshold: query.number("rankingScoreThreshold", THRESHOLD_CODE)?,
    };
    answer(uid, call, query).await
}

const THRESHOLD_CODE: &str = "invalid_similar_ranking_score_threshold";

fn check_id(id: &Value) -> Result<String, ApiError> {
    match id {
        Value::String(_) | Value::Number(_) => document_id(id).ok_or_else(|| {
            let text = invalid_document_id_text(id);
            ApiError::new(
                "invalid_similar_id",
                format!("Invalid value at `.id`: {text}"),
            )
        }),
        other => Err(wrong_type(
            ".id",
            "a string or an integer",
            other,
            "invalid_similar_id",
        )),
    }
}

async fn answer(uid: String, call: Call, query: SimilarQuery) -> Answer {
    if query
        .ranking_score_threshold
        .is_some_and(|score| !(0.0..=1.0).contains(&score))
    {
        return Err(ApiError::new(
            THRESHOLD_CODE,
            "Invalid value at `.rankingScoreThreshold`: the value of `rankingScoreThreshold` is \
             invalid, expected a float between `0.0` and `1.0`.",
        ));
    }
    call.shared.delay_search().await;
    let answer = call.shared.blocking(move |shared| {
        let started = Instant::now();
        let index = shared.index(&uid)?;
        let outcome = shared.engine.similar(&index.key, &query).map_err(|error| {
            let error = ApiError::of_read(&uid, error);
            error.recoded("invalid_search_filter", "invalid_similar_filter")
        })?;
        let total = match outcome.totals {
            Totals::Estimated {
                estimated_total_hits,
                ..
            } => estimated_total_hits,
            Totals::Exhaustive { total_hits, .. } => total_hits,
        };
        Ok(json!({
            "hits": outcome.hits,
            "id": query.id,
            "processingTimeMs": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "limit": query.limit,
            "offset": query.offset,
            "estimatedTotalHits": total,
        }))
    });
    Ok(ok(answer.await?))
}
