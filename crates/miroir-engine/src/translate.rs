//! Takes our names out of what nodes say, so that clients read of their index and their fields.

use miroir_core::id::{IndexUid, PhysicalIndex};
use miroir_core::reserved::{SEQ_FIELD, SHARD_FIELD};
use serde_json::Value;

/// A node's error object with the client's index name and without reserved fields.
#[must_use]
pub(crate) fn translate_error(mut error: Value, physical: &PhysicalIndex, uid: &IndexUid) -> Value {
    if let Some(Value::String(message)) = error.get_mut("message") {
        *message = translate_text(message, physical, uid);
    }
    error
}

/// The same for a message alone.
///
/// A list of attributes loses the reserved ones; a list of nothing else reads as Meilisearch says
/// it of an index without any.
#[must_use]
pub(crate) fn translate_text(text: &str, physical: &PhysicalIndex, uid: &IndexUid) -> String {
    let mut text = text.replace(physical.as_str(), uid.as_str());
    for field in [SHARD_FIELD, SEQ_FIELD] {
        // Lists come as `a, b` or as `a`, `b`, by the server's version.
        for (listed, rest) in [
            (format!("`{field}`, "), ""),
            (format!(", `{field}`"), ""),
            (format!("`{field}, "), "`"),
            (format!(", {field}"), ""),
        ] {
            text = text.replace(&listed, rest);
        }
        for (kind, none) in [
            ("filterable attribute patterns", "filterable attributes"),
            ("filterable attributes patterns", "filterable attributes"),
            ("filterable attributes", "filterable attributes"),
            ("sortable attributes", "sortable attributes"),
        ] {
            let only = format!("Available {kind} are: `{field}`.");
            text = text.replace(&only, &format!("This index does not have configured {none}."));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let uid = IndexUid::new("movies").expect("a valid uid");
        let physical = PhysicalIndex::from_stored("movies__12");
        assert_eq!(translate_text(text, &physical, &uid), expected);
    }

    #[test]
    fn clients_read_of_their_own_index_and_fields() {
        check("Index `movies__12`: x", "Index `movies`: x");
        check(
            "Index `movies__12`: Attribute `a` is not filterable. Available filterable attribute patterns are: `_miroir_shard, genre`.",
            "Index `movies`: Attribute `a` is not filterable. Available filterable attribute patterns are: `genre`.",
        );
        check(
            "Attribute `a` is not filterable. Available filterable attribute patterns are: `_miroir_shard`.",
            "Attribute `a` is not filterable. This index does not have configured filterable attributes.",
        );
        check(
            "Attribute `a` is not filterable. Available filterable attribute patterns are: `_miroir_shard`, `year`.",
            "Attribute `a` is not filterable. Available filterable attribute patterns are: `year`.",
        );
        check(
            "Attribute `a` is not sortable. Available sortable attributes are: `_miroir_seq`.",
            "Attribute `a` is not sortable. This index does not have configured sortable attributes.",
        );
        check(
            "Attribute `a` is not sortable. Available sortable attributes are: `_miroir_seq, price`.",
            "Attribute `a` is not sortable. Available sortable attributes are: `price`.",
        );
    }
}
