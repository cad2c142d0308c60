//! Searches: by body, by query string, several at once, and of facet values.

mod parameters;

use crate::error::ApiError;
use crate::http::object::wrong_type;
use crate::http::{Call, Object, check_index_uid};
use crate::route::{Answer, ok};
use crate::shared::Shared;
use axum::extract::Path;
use http::StatusCode;
use miroir_devnode_engine::{SearchOutcome, SearchQuery, Totals};
pub(super) use parameters::filter_of;
use parameters::{FIELDS, PARAMETERS};
use serde_json::{Value, json};
use std::time::Instant;
use uuid::Uuid;

pub(super) async fn by_body(Path(uid): Path<String>, mut call: Call) -> Answer {
    call.authorize("search", Some(&uid))?;
    check_index_uid(&uid)?;
    let body = call.take_json().await?;
    let query = parameters::from_object(&Object::root(&body, FIELDS)?)?;
    answer(uid, call, query).await
}

pub(super) async fn by_query(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("search", Some(&uid))?;
    check_index_uid(&uid)?;
    let query = parameters::from_query(&call.query(PARAMETERS)?)?;
    answer(uid, call, query).await
}

pub(super) async fn multi_search(mut call: Call) -> Answer {
    let permit = call.authorize("search", None)?;
    let body = call.take_json().await?;
    let object = Object::root(&body, &["queries", "federation"])?;
    if object.get("federation").is_some() {
        return Err(ApiError::new(
            "invalid_multi_search_federated",
            "This development stand-in does not answer federated searches.",
        ));
    }
    let queries = match object.required("queries", "bad_request")? {
        Value::Array(queries) => queries,
        other => return Err(wrong_type(".queries", "an array", other, "bad_request")),
    };
    let mut checked = Vec::new();
    for (query_idx, query) in queries.iter().enumerate() {
        let (uid, query) = read_query(query, query_idx)?;
        permit
            .check(&uid)
            .map_err(|error| error.inside(&inside(query_idx)))?;
        checked.push((uid, query));
    }
    call.shared.delay_search().await;
    let results = call.shared.blocking(move |shared| {
        let mut results = Vec::new();
        for (query_idx, (uid, query)) in checked.iter().enumerate() {
            let mut result = json!({ "indexUid": uid });
            let found = run(shared, uid, query).map_err(|error| {
                // Missing indexes are the request's fault here, not the path's.
                let is_missing = error.code == "index_not_found";
                let error = error.inside(&inside(query_idx));
                if is_missing {
                    error.with_status(StatusCode::BAD_REQUEST)
                } else {
                    error
                }
            })?;
            if let (Value::Object(result), Value::Object(found)) = (&mut result, found) {
                result.extend(found);
            }
            results.push(result);
        }
        Ok(results)
    });
    Ok(ok(json!({ "results": results.await? })))
}

pub(super) async fn facet_search(Path(uid): Path<String>, mut call: Call) -> Answer {
    call.authorize("search", Some(&uid))?;
    check_index_uid(&uid)?;
    let body = call.take_json().await?;
    let object = Object::open_at(&body, String::new(), "bad_request")?;
    let query = parameters::facet_search(&object)?;
    call.shared.delay_search().await;
    let answer = call.shared.blocking(move |shared| {
        let started = Instant::now();
        let index = shared.index(&uid)?;
        let hits = shared
            .engine
            .facet_search(&index.key, &query)
            .map_err(|error| ApiError::of_read(&uid, error))?;
        let hits: Vec<Value> = hits
            .into_iter()
            .map(|(value, count)| json!({ "value": value, "count": count }))
            .collect();
        Ok(json!({
            "facetHits": hits,
            "facetQuery": query.facet_query,
            "processingTimeMs": millis_since(started),
        }))
    });
    Ok(ok(answer.await?))
}

async fn answer(uid: String, call: Call, query: SearchQuery) -> Answer {
    call.shared.delay_search().await;
    Ok(ok(call
        .shared
        .blocking(move |shared| run(shared, &uid, &query))
        .await?))
}

fn read_query(query: &Value, query_idx: usize) -> Result<(String, SearchQuery), ApiError> {
    let path = format!(".queries[{query_idx}]");
    let known: Vec<&str> = ["indexUid", "federationOptions"]
        .iter()
        .chain(FIELDS)
        .copied()
        .collect();
    let object = Object::at(query, path.clone(), "bad_request", &known)?;
    if object.get("federationOptions").is_some() {
        return Err(ApiError::new(
            "invalid_multi_search_federation_options",
            format!(
                "Inside `{path}`: Using `federationOptions` is not allowed in a non-federated \
                 search."
            ),
        ));
    }
    let uid = object.required_string("indexUid", "missing_index_uid", "invalid_index_uid")?;
    check_index_uid(&uid)
        .map_err(|error| error.inside(&format!("Invalid value at `{path}.indexUid`: ")))?;
    Ok((uid, parameters::from_object(&object)?))
}

/// One search and its answer, in the order of fields of a real node.
fn run(shared: &Shared, uid: &str, query: &SearchQuery) -> Result<Value, ApiError> {
    let started = Instant::now();
    let index = shared.index(uid)?;
    let outcome = shared
        .engine
        .search(&index.key, query)
        .map_err(|error| ApiError::of_read(uid, error))?;
    Ok(view(query, outcome, started))
}

fn view(query: &SearchQuery, outcome: SearchOutcome, started: Instant) -> Value {
    let mut view = json!({
        "hits": outcome.hits,
        "query": query.q.as_deref().unwrap_or_default(),
    });
    if let Some(vector) = outcome.query_vector.filter(|_| query.retrieve_vectors) {
        view["queryVector"] = json!(vector);
    }
    view["processingTimeMs"] = json!(millis_since(started));
    match outcome.totals {
        Totals::Estimated {
            offset,
            limit,
            estimated_total_hits,
        } => {
            view["limit"] = json!(limit);
            view["offset"] = json!(offset);
            view["estimatedTotalHits"] = json!(estimated_total_hits);
        }
        Totals::Exhaustive {
            page,
            hits_per_page,
            total_pages,
            total_hits,
        } => {
            view["hitsPerPage"] = json!(hits_per_page);
            view["page"] = json!(page);
            view["totalPages"] = json!(total_pages);
            view["totalHits"] = json!(total_hits);
        }
    }
    if let Some(distribution) = outcome.facet_distribution {
        view["facetDistribution"] = Value::Object(distribution);
    }
    if let Some(stats) = outcome.facet_stats {
        view["facetStats"] = Value::Object(stats);
    }
    view["requestUid"] = json!(Uuid::now_v7());
    if let Some(count) = outcome.semantic_hit_count {
        view["semanticHitCount"] = json!(count);
    }
    view
}

fn inside(query_idx: usize) -> String {
    format!("Inside `.queries[{query_idx}]`: ")
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
