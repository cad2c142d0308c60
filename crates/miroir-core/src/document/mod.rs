//! What a document must be before it is cut: its primary key, its id, the special fields.
//!
//! The rules and the messages are Meilisearch's (observed on 1.50), because a task must fail as on
//! one node, before any node sees a byte of it. Documents stay raw text; only the names of the
//! top-level fields are read, and the few values that matter here.

mod error;
mod id;
mod special;

pub use error::DocumentError;
pub use id::{
    DOCUMENT_ID_BYTES_MAX, PrimaryKey, ScannedDocument, document_id, infer_primary_key,
    scan_document,
};
pub use special::{check_geo, check_vectors};

use crate::id::DocumentSeq;
use crate::reserved::{SEQ_FIELD, SHARD_FIELD, encode_seq};

/// Appends to `out` the object `raw_object` with the reserved fields as its first members.
///
/// `raw_object` is the text of one JSON object without them. `seq` may be a `DocumentSeq` or an
/// `Option` of one: an index that keeps no exact order has none.
///
/// ```
/// use miroir_core::{document::inject_reserved, id::DocumentSeq};
/// let mut out = Vec::new();
/// inject_reserved(br#"{"id":1}"#, "⊰⊰⊰⊱", None::<DocumentSeq>, &mut out);
/// assert_eq!(out, r#"{"_miroir_shard":"⊰⊰⊰⊱","id":1}"#.as_bytes());
/// ```
pub fn inject_reserved(
    raw_object: &[u8],
    shard_tag: &str,
    seq: impl Into<Option<DocumentSeq>>,
    out: &mut Vec<u8>,
) {
    // Tags and encoded numbers need no escaping: see `reserved`.
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(SHARD_FIELD.as_bytes());
    out.extend_from_slice(b"\":\"");
    out.extend_from_slice(shard_tag.as_bytes());
    out.push(b'"');
    if let Some(seq) = seq.into() {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(SEQ_FIELD.as_bytes());
        out.extend_from_slice(b"\":\"");
        out.extend_from_slice(encode_seq(seq).as_bytes());
        out.push(b'"');
    }
    let members = raw_object.trim_ascii_start();
    let members = members
        .strip_prefix(b"{")
        .unwrap_or(members)
        .trim_ascii_start();
    if !members.starts_with(b"}") {
        out.push(b',');
    }
    out.extend_from_slice(members);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    #[test]
    fn an_empty_object_gets_only_the_reserved_fields() {
        for raw in ["{}", " { }"] {
            let mut out = Vec::new();
            inject_reserved(raw.as_bytes(), "⊰⊰⊰⊰", DocumentSeq(3), &mut out);
            let object: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(
                object,
                json!({"_miroir_shard": "⊰⊰⊰⊰", "_miroir_seq": "⊰⊰⊰⊰⊰⊰⊰⊳"})
            );
        }
    }

    proptest! {
        #[test]
        fn injecting_adds_two_members_in_front(
            fields in prop::collection::btree_map("[a-z\"\\\\{]{0,4}", any::<i64>(), 0..5),
        ) {
            let object: Map<String, Value> =
                fields.into_iter().map(|(name, value)| (name, json!(value))).collect();
            let mut out = Vec::new();
            let raw = serde_json::to_vec_pretty(&object).unwrap();
            inject_reserved(&raw, "⊰⊰⊰⊰", DocumentSeq(0), &mut out);
            let injected: Map<String, Value> = serde_json::from_slice(&out).unwrap();
            let names: Vec<&str> = injected.keys().map(String::as_str).collect();
            prop_assert_eq!(&names[..2], &["_miroir_shard", "_miroir_seq"]);
            let others: Vec<&str> = object.keys().map(String::as_str).collect();
            prop_assert_eq!(&names[2..], &others[..]);
        }
    }
}
