//! What a node makes of a write.

use super::{Document, Index, error, name_of};
use crate::filter::{Filter, text_of as id_text};
use miroir_core::task::AdditionMethod;
use miroir_engine::port::NodeWrite;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Carries out one write: the details, or the error object.
pub(super) fn apply(
    indexes: &mut BTreeMap<String, Index>,
    allergies: &BTreeSet<String>,
    write: &NodeWrite,
) -> Result<Value, Value> {
    let name = name_of(write).0.to_string();
    let not_found = || error("index_not_found", format!("Index `{name}` not found."));
    match write {
        NodeWrite::CreateIndex { primary_key, .. } => {
            if indexes.contains_key(&name) {
                let message = format!("Index `{name}` already exists.");
                return Err(error("index_already_exists", message));
            }
            let primary_key = primary_key.clone();
            indexes.insert(
                name,
                Index {
                    primary_key,
                    ..Index::default()
                },
            );
            Ok(json!({}))
        }
        NodeWrite::UpdateIndex { primary_key, .. } => {
            let index = indexes.get_mut(&name).ok_or_else(not_found)?;
            index.primary_key = Some(primary_key.clone());
            Ok(json!({}))
        }
        NodeWrite::DeleteIndex { .. } => {
            let index = indexes.remove(&name).ok_or_else(not_found)?;
            Ok(json!({"deletedDocuments": index.documents.len()}))
        }
        NodeWrite::UpdateSettings { body, .. } => {
            let patch: Map<String, Value> = serde_json::from_slice(body).expect("an object");
            let index = indexes.entry(name.clone()).or_default();
            if patch
                .get("synonyms")
                .is_some_and(|synonyms| synonyms.get("poison").is_some())
            {
                let message = format!("Index `{name}`: these settings are poison.");
                return Err(error("invalid_settings_synonyms", message));
            }
            for (field, value) in patch {
                index.settings.insert(field, value);
            }
            Ok(json!({}))
        }
        NodeWrite::AddDocuments {
            method,
            primary_key,
            body,
            skip_creation,
            ..
        } => {
            let index = indexes.entry(name.clone()).or_default();
            let body = body.concat();
            let mut documents = Vec::new();
            for line in body
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let document: Document = serde_json::from_slice(line).expect("a JSON object");
                let id = id_text(&document[primary_key]);
                if document.contains_key("poison") || allergies.contains(&id) {
                    let message = format!("Index `{name}`: document `{id}` is poison.");
                    return Err(error("internal", message));
                }
                documents.push((id, document));
            }
            index.primary_key = Some(primary_key.clone());
            for (id, document) in documents {
                if *skip_creation && !index.documents.contains_key(&id) {
                    continue;
                }
                match method {
                    AdditionMethod::Replace => {
                        index.documents.insert(id, document);
                    }
                    AdditionMethod::Update => {
                        index.documents.entry(id).or_default().extend(document);
                    }
                }
            }
            Ok(json!({"indexedDocuments": 1}))
        }
        NodeWrite::DeleteDocuments { body, .. } => {
            let ids: Vec<String> = serde_json::from_slice(body).expect("ids");
            let index = indexes.get_mut(&name).ok_or_else(not_found)?;
            let deleted = ids
                .iter()
                .filter(|id| index.documents.remove(*id).is_some())
                .count();
            Ok(json!({"deletedDocuments": deleted}))
        }
        NodeWrite::DeleteByFilter { body, .. } => {
            let body: Value = serde_json::from_slice(body).expect("an object");
            let index = indexes.get_mut(&name).ok_or_else(not_found)?;
            let before = index.documents.len();
            let filter = Filter::read(&body["filter"]);
            index.documents.retain(|_, d| !filter.matches(d));
            Ok(json!({"deletedDocuments": before - index.documents.len()}))
        }
        NodeWrite::EditDocuments { body, .. } => {
            let body: Value = serde_json::from_slice(body).expect("an object");
            edit(indexes.get_mut(&name).ok_or_else(not_found)?, &name, &body)
        }
        NodeWrite::CompactIndex { .. } => {
            indexes.get(&name).ok_or_else(not_found)?;
            Ok(json!({"preCompactionSize": "2 KiB", "postCompactionSize": "1 KiB"}))
        }
        NodeWrite::DeleteAllDocuments { .. } => {
            let index = indexes.get_mut(&name).ok_or_else(not_found)?;
            let deleted = index.documents.len();
            index.documents.clear();
            Ok(json!({"deletedDocuments": deleted}))
        }
    }
}

/// Runs a function of this fleet's own little language, which stands on a line of its own: `n += 1`
/// adds to a field, `doc = ()` deletes, `throw` fails where a document is `poison`.
fn edit(index: &mut Index, name: &str, body: &Value) -> Result<Value, Value> {
    let function = body["function"].as_str().expect("a function").to_owned();
    let line = function
        .lines()
        .nth(1)
        .expect("the client's function")
        .to_owned();
    let filter = body.get("filter").map(Filter::read);
    let is_chosen = |document: &Document| {
        filter
            .as_ref()
            .is_none_or(|filter| filter.matches(document))
    };
    let chosen: Vec<String> = index
        .documents
        .iter()
        .filter(|(_, document)| is_chosen(document))
        .map(|(id, _)| id.clone())
        .collect();
    for id in &chosen {
        if line.contains("throw") && index.documents[id].contains_key("poison") {
            let message = format!("Index `{name}`: it threw (line 2, position 1)");
            return Err(error("edit_documents_by_function_error", message));
        }
    }
    for id in &chosen {
        if line == "doc = ()" {
            index.documents.remove(id);
        } else if line == "n += 1" {
            let document = index.documents.get_mut(id).expect("it was chosen");
            let n = document.get("n").and_then(Value::as_u64).unwrap_or(0);
            document.insert("n".into(), json!(n + 1));
        }
    }
    Ok(json!({"deletedDocuments": chosen.len(), "editedDocuments": chosen.len()}))
}
