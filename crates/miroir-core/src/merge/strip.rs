//! Taking out of a node's JSON what only Miroir may see.

use super::members::{Members, RawMembers, write_member};
use crate::reserved::{SHARD_FIELD, is_reserved};
use serde_json::{Map, Value};

/// One document without the reserved fields; every other member keeps its text and its place.
///
/// # Errors
/// The document is not a JSON object.
///
/// ```
/// use miroir_core::merge::strip_document;
///
/// let stored = br#"{"id": 1.50, "_miroir_shard": "!!", "name": "a"}"#;
/// assert_eq!(strip_document(stored).unwrap(), br#"{"id":1.50,"name":"a"}"#);
/// ```
pub fn strip_document(document: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let Members(members): RawMembers<'_> = serde_json::from_slice(document)?;
    let mut out = Vec::with_capacity(document.len());
    out.push(b'{');
    let mut is_first = true;
    for (name, raw) in &members {
        if !is_reserved(name) {
            write_member(&mut out, &mut is_first, name, raw.get().as_bytes());
        }
    }
    out.push(b'}');
    Ok(out)
}

/// One document as it is written to another node: a node that is asked for vectors shows an empty
/// `_vectors` where there are none, which written back would be a field of the document.
///
/// # Errors
/// The document is not a JSON object.
///
/// ```
/// use miroir_core::merge::without_empty_vectors;
///
/// let shown = br#"{"id":1,"_vectors":{}}"#;
/// assert_eq!(without_empty_vectors(shown).unwrap(), br#"{"id":1}"#);
/// let shown = br#"{"id":1,"_vectors":{"e":[1.0]}}"#;
/// assert_eq!(without_empty_vectors(shown).unwrap(), shown);
/// ```
pub fn without_empty_vectors(document: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let Members(members): RawMembers<'_> = serde_json::from_slice(document)?;
    let mut out = Vec::with_capacity(document.len());
    out.push(b'{');
    let mut is_first = true;
    for (name, raw) in &members {
        let text = raw.get();
        let is_empty = text.starts_with('{') && text[1..text.len() - 1].trim().is_empty();
        if !(name == "_vectors" && is_empty) {
            write_member(&mut out, &mut is_first, name, text.as_bytes());
        }
    }
    out.push(b'}');
    Ok(out)
}

/// One document as another index holds it whose shards are cut otherwise: its tag is this one, and
/// everything else, its place in the insertion order too, is as it was.
///
/// # Errors
/// The document is not a JSON object.
///
/// ```
/// use miroir_core::merge::retagged;
///
/// let stored = "{\"id\":1,\"_miroir_shard\":\"⊰⊰⊰⊰\",\"_miroir_seq\":\"⊰\"}";
/// let cut = retagged(stored.as_bytes(), "⊰⊰⊰⊱").unwrap();
/// assert_eq!(cut, stored.replace("⊰⊰⊰⊰", "⊰⊰⊰⊱").as_bytes());
/// ```
pub fn retagged(document: &[u8], tag: &str) -> Result<Vec<u8>, serde_json::Error> {
    let Members(members): RawMembers<'_> = serde_json::from_slice(document)?;
    let quoted = Value::from(tag).to_string();
    let mut out = Vec::with_capacity(document.len() + quoted.len());
    out.push(b'{');
    let mut is_first = true;
    for (name, raw) in &members {
        let text = match name == SHARD_FIELD {
            true => quoted.as_bytes(),
            false => raw.get().as_bytes(),
        };
        write_member(&mut out, &mut is_first, name, text);
    }
    out.push(b'}');
    Ok(out)
}

/// Takes the reserved fields out of a `fieldDistribution`.
///
/// ```
/// use miroir_core::merge::strip_field_distribution;
/// use serde_json::json;
///
/// let mut stats = json!({"id": 3, "_miroir_shard": 3, "_miroir_seq": 3});
/// strip_field_distribution(stats.as_object_mut().unwrap());
/// assert_eq!(stats, json!({"id": 3}));
/// ```
pub fn strip_field_distribution(distribution: &mut Map<String, Value>) {
    distribution.retain(|name, _| !is_reserved(name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reserved::SEQ_FIELD;
    use proptest::prelude::*;

    #[test]
    fn a_document_keeps_its_numbers_order_and_nested_names() {
        let stored =
            br#"{"_miroir_seq":"!!","z":1e400,"a":{"_miroir_seq":1},"b":12345678901234567890.0}"#;
        let stripped = strip_document(stored).unwrap();
        let expected = br#"{"z":1e400,"a":{"_miroir_seq":1},"b":12345678901234567890.0}"#;
        assert_eq!(stripped, expected);
        assert_eq!(strip_document(br#"{"_miroir_seq":"!!"}"#).unwrap(), b"{}");
    }

    #[test]
    fn only_objects_are_documents() {
        for text in ["[]", "1", "{", "", "{\"a\":}"] {
            assert!(strip_document(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn stripping_undoes_tagging(names in proptest::collection::btree_set("[a-c\"\\\\é_.]{0,4}", 0..5)) {
            let document: Map<String, Value> =
                names.into_iter().map(|name| (name.clone(), name.into())).collect();
            let mut tagged = document.clone();
            tagged.insert(SHARD_FIELD.to_owned(), "!".into());
            tagged.insert(SEQ_FIELD.to_owned(), "#".into());
            let text = serde_json::to_vec(&tagged).unwrap();
            let stripped: Map<String, Value> =
                serde_json::from_slice(&strip_document(&text).unwrap()).unwrap();
            prop_assert_eq!(stripped, document);
        }
    }
}
