//! The whole settings of an index as another instance must get them: every value, with secrets.

use super::patience::Patience;
use crate::broadcast::fetch_settings;
use crate::error::EngineError;
use crate::state::{IndexEntry, Shared};
use serde_json::{Map, Value};

/// What clients see, with the secrets that Miroir's own record holds instead of their masks.
pub(super) async fn revealed(
    shared: &Shared,
    entry: &IndexEntry,
) -> Result<Map<String, Value>, EngineError> {
    let patience = Patience::new(shared);
    let mut settings = loop {
        let snapshot = shared.snapshot.load_full();
        match fetch_settings(shared, &snapshot, entry).await {
            Ok(settings) => break settings,
            Err(error) => patience.wait(error).await?,
        }
    };
    if let (Some(shown), Some(known)) = (
        settings.get_mut("embedders"),
        entry.record.settings.get("embedders"),
    ) {
        reveal(shown, known);
    }
    Ok(settings)
}

/// Puts every `apiKey` of `known` at its place in `shown`, however deep.
fn reveal(shown: &mut Value, known: &Value) {
    let (Value::Object(shown), Value::Object(known)) = (shown, known) else {
        return;
    };
    for (name, known) in known {
        let Some(shown) = shown.get_mut(name) else {
            continue;
        };
        if name == "apiKey" && known.is_string() {
            *shown = known.clone();
        } else {
            reveal(shown, known);
        }
    }
}

/// The embedders whose vectors come from fragments. Vectors of such documents must not be marked
/// for regeneration elsewhere: as they come with the document, the other instance would take them
/// for the client's own and make all of them anew at the next change.
pub(super) fn fragment_embedders(settings: &Map<String, Value>) -> Vec<String> {
    let embedders = settings.get("embedders").and_then(Value::as_object);
    let has_fragments = |embedder: &Value| {
        embedder
            .get("indexingFragments")
            .and_then(Value::as_object)
            .is_some_and(|fragments| !fragments.is_empty())
    };
    embedders
        .into_iter()
        .flatten()
        .filter(|(_, embedder)| has_fragments(embedder))
        .map(|(name, _)| name.clone())
        .collect()
}

/// The document with the vectors of these embedders marked as final.
///
/// # Errors
/// It is no JSON object.
pub(super) fn fix_vectors(
    document: Vec<u8>,
    embedders: &[String],
) -> Result<Vec<u8>, serde_json::Error> {
    if embedders.is_empty() {
        return Ok(document);
    }
    let mut object: Map<String, Value> = serde_json::from_slice(&document)?;
    for embedder in embedders {
        let vectors = object
            .get_mut("_vectors")
            .and_then(|all| all.get_mut(embedder));
        if let Some(flag) = vectors.and_then(|vectors| vectors.get_mut("regenerate")) {
            *flag = Value::Bool(false);
        }
    }
    serde_json::to_vec(&object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_put_back_where_they_were() {
        let mut shown = json!({
            "a": {"source": "openAi", "apiKey": "XXX...", "model": "m"},
            "b": {"source": "composite", "searchEmbedder": {"apiKey": "XXX..."}},
        });
        let known = json!({
            "a": {"apiKey": "secret"},
            "b": {"searchEmbedder": {"apiKey": "deeper"}},
            "gone": {"apiKey": "no"},
        });
        reveal(&mut shown, &known);
        assert_eq!(shown["a"]["apiKey"], "secret");
        assert_eq!(shown["a"]["model"], "m");
        assert_eq!(shown["b"]["searchEmbedder"]["apiKey"], "deeper");
        assert!(shown.get("gone").is_none());
    }

    #[test]
    fn vectors_of_fragments_are_not_regenerated_elsewhere() {
        let settings = json!({"embedders": {
            "plain": {"source": "userProvided"},
            "parts": {"source": "rest", "indexingFragments": {"f": {"value": 1}}},
        }});
        let settings = settings.as_object().expect("an object");
        let embedders = fragment_embedders(settings);
        assert_eq!(embedders, ["parts"]);
        let document = json!({"_vectors": {
            "plain": {"embeddings": [[1.0]], "regenerate": true},
            "parts": {"embeddings": [[1.0]], "regenerate": true},
        }});
        let fixed = fix_vectors(document.to_string().into_bytes(), &embedders).expect("an object");
        let fixed: Value = serde_json::from_slice(&fixed).expect("JSON");
        assert_eq!(fixed["_vectors"]["plain"]["regenerate"], true);
        assert_eq!(fixed["_vectors"]["parts"]["regenerate"], false);
    }
}
