//! What the server says of itself.

use crate::clock::to_rfc3339;
use crate::error::ApiError;
use crate::http::{Call, Query, check_index_uid};
use crate::route::{Answer, ok};
use crate::shared::Shared;
use crate::store::IndexRow;
use axum::extract::Path;
use axum::response::Response;
use miroir_devnode_engine::IndexStats;
use serde_json::{Map, Value, json};

/// Version of Meilisearch whose engine this is. It is not 1.50, and tests may need to know.
const ENGINE_VERSION: &str = "1.15.1";

pub(super) async fn root() -> Response {
    ok(json!({ "status": "Meilisearch is running" }))
}

pub(super) async fn health() -> Response {
    ok(json!({ "status": "available" }))
}

pub(super) async fn version(call: Call) -> Answer {
    call.authorize("version", None)?;
    Ok(ok(json!({
        "commitSha": "miroir-devnode",
        "commitDate": "unknown",
        "pkgVersion": ENGINE_VERSION,
    })))
}

pub(super) async fn stats(call: Call) -> Answer {
    let permit = call.authorize("stats.get", None)?;
    check_query(&call)?;
    let answer = call.shared.blocking(move |shared| {
        let (mut size, mut used_size) = (0, 0);
        let mut last_update = None;
        let mut indexes = Map::new();
        for row in shared.store.get_indexes().values() {
            let stats = match load_stats(shared, row) {
                Ok(stats) => stats,
                // Removed since the list was taken.
                Err(error) if error.code == "index_not_found" => continue,
                Err(error) => return Err(error),
            };
            size += stats.disk_size;
            used_size += stats.used_size;
            if permit.covers(&row.uid) {
                last_update = last_update.max(Some(row.updated_at));
                indexes.insert(row.uid.clone(), view(shared, row, &stats)?);
            }
        }
        Ok(json!({
            "databaseSize": size,
            "usedDatabaseSize": used_size,
            "lastUpdate": last_update.map(to_rfc3339),
            "indexes": indexes,
        }))
    });
    Ok(ok(answer.await?))
}

pub(super) async fn index_stats(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("stats.get", Some(&uid))?;
    check_index_uid(&uid)?;
    check_query(&call)?;
    let answer = call.shared.blocking(move |shared| {
        let row = shared.index(&uid)?;
        let stats = load_stats(shared, &row)?;
        view(shared, &row, &stats)
    });
    Ok(ok(answer.await?))
}

fn check_query(call: &Call) -> Result<Query, ApiError> {
    let query = call.query(&["showInternalDatabaseSizes", "sizeFormat"])?;
    query.boolean(
        "showInternalDatabaseSizes",
        "invalid_stats_show_internal_database_sizes",
    )?;
    match query.get("sizeFormat") {
        None | Some("raw" | "human") => Ok(query),
        Some(other) => Err(ApiError::new(
            "invalid_stats_size_format",
            format!(
                "Unknown value `{other}` for parameter `sizeFormat`: expected one of `human`, `raw`"
            ),
        )),
    }
}

fn load_stats(shared: &Shared, row: &IndexRow) -> Result<IndexStats, ApiError> {
    shared
        .engine
        .stats(&row.key)
        .map_err(|error| ApiError::of_read(&row.uid, error))
}

fn view(shared: &Shared, row: &IndexRow, stats: &IndexStats) -> Result<Value, ApiError> {
    Ok(json!({
        "numberOfDocuments": stats.number_of_documents,
        "rawDocumentDbSize": stats.raw_document_db_size,
        "avgDocumentSize": stats.avg_document_size,
        "isIndexing": shared.store.load_is_indexing(&row.uid)?,
        "numberOfEmbeddings": stats.number_of_embeddings,
        "numberOfEmbeddedDocuments": stats.number_of_embedded_documents,
        "fieldDistribution": stats.field_distribution,
    }))
}
