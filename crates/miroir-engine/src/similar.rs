//! Documents like one document: its own node is asked by id, the others by its vector.

use crate::engine::{Engine, SearchSteps};
use crate::error::EngineError;
use crate::hybrid::bodies_of;
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::scatter::Scatter;
use crate::search::elapsed_ms;
use bytes::Bytes;
use miroir_core::cover::CoverPart;
use miroir_core::hash::{document_hash, shard_of};
use miroir_core::id::{IndexUid, ShardId};
use miroir_core::merge::{MergeError, SimilarPlan, SimilarRequest};
use miroir_core::settings::{Settings, ranking_rules};
use serde_json::{Value, json};
use std::num::NonZeroU32;

impl Engine {
    /// The documents like one document, as the whole JSON body, and what took how long.
    ///
    /// # Errors
    /// [`EngineError::DocumentNotFound`]; as [`Engine::search`]; [`EngineError::Unsupported`] for
    /// what nodes would rank otherwise by vector than by document.
    pub async fn similar(
        &self,
        uid: &IndexUid,
        request: SimilarRequest,
    ) -> Result<(Bytes, SearchSteps), EngineError> {
        let read = || self.similar_once(uid, request.clone());
        self.read_named(std::iter::once(uid), read).await
    }

    async fn similar_once(
        &self,
        uid: &IndexUid,
        request: SimilarRequest,
    ) -> Result<(Bytes, SearchSteps), EngineError> {
        let shared = self.shared();
        let clock = &shared.ports.clock;
        let started = clock.monotonic();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let document = self.document(uid, &request.id, None, true).await?;
        let vector = vector_of(&document, &request.embedder)?;
        let shard_count = NonZeroU32::new(entry.record.shard_count).unwrap_or(NonZeroU32::MIN);
        let home = shard_of(&request.id, shard_count);
        let is_alone = entry.record.shard_count == 1;
        if !is_alone && begins_with_custom_rule(&entry.record.settings) {
            let what = "Searching similar documents in an index whose first ranking rule is a \
                        custom one";
            return Err(EngineError::Unsupported(what.into()));
        }
        let affinity = document_hash(&request.id);
        let plan = SimilarPlan::new(request, &entry.view);
        let index = &entry.record.physical;
        let planned = clock.monotonic();
        let ask = |part: &CoverPart| {
            let filter = part.filter.as_deref();
            if part.shards.contains(&home) {
                NodeRead::Raw {
                    path: format!("/indexes/{index}/similar"),
                    body: Some(plan.owner_body(filter).into()),
                }
            } else {
                NodeRead::Search {
                    index: index.clone(),
                    body: plan.other_body(vector.as_ref(), filter).into(),
                }
            }
        };
        let shards: Vec<ShardId> = (0..entry.record.shard_count).map(ShardId).collect();
        let scatter = |shards| Scatter {
            shared,
            snapshot: &snapshot,
            entry,
            shards,
            affinity,
            kind: ReadKind::Other,
            request: ask,
        };
        let answers = match scatter(None).gather().await {
            Ok(answers) => answers,
            // The node of the document tells a mistake in the words of this route.
            Err(error @ EngineError::Refused { .. }) => {
                scatter(Some(std::slice::from_ref(&home))).gather().await?;
                return Err(as_of_similar(error));
            }
            Err(error) => return Err(error),
        };
        let garbled = |error: MergeError| EngineError::Answer(error.to_string());
        let mut bodies = bodies_of(&answers);
        let mut page = plan.merge(&bodies).map_err(garbled)?;
        let mut by_shard = Vec::new();
        if page.is_shallow {
            // Shard by shard, the part of each search is small enough to be shown to its end.
            for shard in shards.chunks(1) {
                by_shard.extend(scatter(Some(shard)).gather().await?);
            }
            bodies = bodies_of(&by_shard);
            page = plan.merge(&bodies).map_err(garbled)?;
            if page.is_shallow {
                let what = "Searching more similar documents than `pagination.maxTotalHits`, of \
                            which one shard holds more than that,";
                return Err(EngineError::Unsupported(what.into()));
            }
        }
        let answered = clock.monotonic();
        let mut body = Vec::new();
        page.write_response(&mut body, elapsed_ms(shared, started));
        let steps = SearchSteps {
            plan: planned.saturating_sub(started),
            nodes: answered.saturating_sub(planned),
            merge: clock.monotonic().saturating_sub(answered),
        };
        Ok((body.into(), steps))
    }
}

/// The document's one vector of this embedder; `None` if it has none.
fn vector_of(document: &[u8], embedder: &str) -> Result<Option<Value>, EngineError> {
    let mut document: Value =
        serde_json::from_slice(document).map_err(|error| EngineError::Answer(error.to_string()))?;
    let embeddings = document
        .get_mut("_vectors")
        .and_then(|vectors| vectors.get_mut(embedder))
        .and_then(|entry| entry.get_mut("embeddings"))
        .map(Value::take);
    let Some(Value::Array(mut embeddings)) = embeddings else {
        return Ok(None);
    };
    if embeddings.first().is_some_and(Value::is_number) {
        return Ok(Some(Value::Array(embeddings)));
    }
    if embeddings.len() > 1 {
        // A node compares the vectors pairwise by position, which no search by one vector does.
        let what = "Searching documents similar to one with several vectors";
        return Err(EngineError::Unsupported(what.into()));
    }
    Ok(embeddings.pop())
}

/// A search would rank by that rule before it looks at the vectors.
fn begins_with_custom_rule(settings: &Settings) -> bool {
    // The rules that are the same whatever the nodes' version: only custom ones hold a colon.
    let rules = ranking_rules(settings, false);
    let first = rules.iter().find(|rule| *rule != "sort");
    first.is_some_and(|rule| rule.contains(':'))
}

/// A mistake in the filter may be found first by a node that was asked to search.
fn as_of_similar(error: EngineError) -> EngineError {
    let EngineError::Refused { status, mut body } = error else {
        return error;
    };
    for (of_search, of_similar) in [
        ("invalid_search_filter", "invalid_similar_filter"),
        ("invalid_search_embedder", "invalid_similar_embedder"),
    ] {
        if body.get("code") == Some(&json!(of_search)) {
            body["code"] = json!(of_similar);
            body["link"] = json!(format!("https://docs.meilisearch.com/errors#{of_similar}"));
        }
    }
    EngineError::Refused { status, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documents_vector_is_found_in_either_form() {
        let vector = |embeddings: Value| {
            let document = json!({"id": 1, "_vectors": {"e": {"embeddings": embeddings}}});
            vector_of(document.to_string().as_bytes(), "e")
        };
        assert_eq!(
            vector(json!([[1.0, 0.5]])).ok(),
            Some(Some(json!([1.0, 0.5])))
        );
        assert_eq!(
            vector(json!([1.0, 0.5])).ok(),
            Some(Some(json!([1.0, 0.5])))
        );
        assert_eq!(vector(json!([])).ok(), Some(None));
        assert!(vector(json!([[1.0], [2.0]])).is_err());
        assert_eq!(vector_of(br#"{"id":1}"#, "e").ok(), Some(None));
    }

    #[test]
    fn a_mistake_keeps_its_message_and_gets_the_code_of_this_route() {
        let body = json!({"code": "invalid_search_filter", "message": "m", "link": "l"});
        let error = as_of_similar(EngineError::Refused { status: 400, body });
        let EngineError::Refused { body, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(body["code"], "invalid_similar_filter");
        assert_eq!(body["message"], "m");
    }
}
