//! What a node answers to a read.

use super::port::denial;
use super::{Document, Index, Node, error};
use crate::filter::Filter;
use bytes::Bytes;
use miroir_core::id::{NodeId, PhysicalIndex};
use miroir_engine::port::{NodeError, NodeRead};
use serde_json::{Map, Value, json};

fn answer(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// The documents asked for, by their numbers.
fn chosen<'i>(index: &'i Index, body: &Value) -> Vec<&'i Document> {
    let ids = body.get("ids").and_then(Value::as_array);
    let filter = body
        .get("filter")
        .filter(|filter| !filter.is_null())
        .map(Filter::read);
    let is_shown = |(id, document): &(&String, &Document)| {
        let is_asked = ids.is_none_or(|ids| ids.iter().any(|asked| asked == id.as_str()));
        is_asked
            && filter
                .as_ref()
                .is_none_or(|filter| filter.matches(document))
    };
    let mut found: Vec<_> = index
        .documents
        .iter()
        .filter(is_shown)
        .map(|(_, d)| d)
        .collect();
    found.sort_by_key(|document| document["_miroir_seq"].as_str().map(str::to_owned));
    found
}

pub(super) fn read(node: &Node, name: &NodeId, read: NodeRead) -> Result<Bytes, NodeError> {
    let find = |index: &PhysicalIndex| {
        node.indexes
            .get(index.as_str())
            .ok_or_else(|| NodeError::Refused {
                node: name.clone(),
                status: 404,
                code: "index_not_found".into(),
                message: format!("Index `{index}` not found."),
                body: error("index_not_found", format!("Index `{index}` not found.")),
            })
    };
    let window = |body: &Value, len: usize| {
        let number = |field: &str, other| body[field].as_u64().map_or(other, |n| n as usize);
        let from = number("offset", 0).min(len);
        from..from.saturating_add(number("limit", 20)).min(len)
    };
    match read {
        NodeRead::Health => Ok(answer(&json!({"status": "available"}))),
        // Its health is told to everyone, all else only to one whose key it knows.
        _ if node.faults.is_denying => Err(denial(name)),
        NodeRead::Version => Ok(answer(&json!({"pkgVersion": "1.50.0"}))),
        NodeRead::Index { index } => {
            find(&index).map(|found| answer(&json!({"primaryKey": found.primary_key})))
        }
        NodeRead::Stats => {
            let indexes = node.indexes.iter();
            let of = |index: &Index| json!({"numberOfDocuments": index.documents.len()});
            let indexes: Map<String, Value> = indexes
                .map(|(name, index)| (name.clone(), of(index)))
                .collect();
            Ok(answer(&json!({
                "databaseSize": 0,
                "usedDatabaseSize": 0,
                "lastUpdate": null,
                "indexes": indexes,
            })))
        }
        NodeRead::IndexStats { index } => {
            find(&index).map(|_| answer(&json!({"rawDocumentDbSize": 0, "fieldDistribution": {}})))
        }
        NodeRead::Settings { index } => {
            find(&index).map(|found| answer(&Value::Object(found.settings.clone())))
        }
        NodeRead::Documents { index, body } => {
            let body: Value = serde_json::from_slice(&body).expect("a body");
            let found = chosen(find(&index)?, &body);
            let range = window(&body, found.len());
            let mut results: Vec<Document> = found[range].iter().map(|d| (*d).clone()).collect();
            if body["retrieveVectors"] == true {
                for document in &mut results {
                    document.entry("_vectors").or_insert(json!({}));
                }
            }
            Ok(answer(&json!({"results": results, "total": found.len()})))
        }
        NodeRead::Search { index, body } => {
            let body: Value = serde_json::from_slice(&body).expect("a body");
            let found = chosen(find(&index)?, &body);
            let hits: Vec<Value> = found[window(&body, found.len())]
                .iter()
                .map(|document| {
                    let mut hit = Value::Object((*document).clone());
                    hit["_rankingScore"] = json!(1.0);
                    hit["_rankingScoreDetails"] = json!({
                        "_miroir_seq:asc": {"order": 0, "value": document["_miroir_seq"]},
                    });
                    hit
                })
                .collect();
            Ok(answer(
                &json!({"hits": hits, "estimatedTotalHits": found.len()}),
            ))
        }
        NodeRead::Document { index, id, .. } => {
            let found = find(&index)?.documents.get(&id);
            let not_found = || {
                let message = format!("Document `{id}` not found.");
                NodeError::Refused {
                    node: name.clone(),
                    status: 404,
                    code: "document_not_found".into(),
                    body: error("document_not_found", message.clone()),
                    message,
                }
            };
            let found = found.ok_or_else(not_found)?;
            Ok(answer(&Value::Object(found.clone())))
        }
        // The last embedder is wrong, and here no other is.
        NodeRead::CheckSettings { body, .. } => {
            let body: Value = serde_json::from_slice(&body).expect("an object");
            let embedders = body["embedders"].as_object().expect("embedders");
            let last = embedders.keys().max().expect("one that is wrong");
            let message = format!("`.embedders.{last}`: Missing field `dimensions`");
            Err(NodeError::Refused {
                node: name.clone(),
                status: 400,
                code: "invalid_settings_embedders".into(),
                body: error("invalid_settings_embedders", message.clone()),
                message,
            })
        }
        NodeRead::Raw { path, .. } if path == "/tasks?limit=1" => {
            let newest = node.tasks.last().map(|task| &task.told);
            let shown =
                newest.map(|task| json!({"uid": task.uid.0, "enqueuedAt": task.enqueued_at}));
            Ok(answer(&json!({"results": Vec::from_iter(shown)})))
        }
        other => panic!("the fleet does not answer {other:?}"),
    }
}
