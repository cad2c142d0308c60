//! The settings under which answers are compared, each with the reason it is there.

use crate::KeyStyle;
use serde_json::{Value, json};

/// One way to set an index up.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its name in reports; also a part of index names.
    pub name: &'static str,
    /// What is sent to `PATCH /indexes/{uid}/settings`.
    pub settings: Value,
    /// The kind of primary key of its documents.
    pub key: KeyStyle,
    /// Documents at scale 1.
    pub document_count: u64,
    /// Queries at scale 1.
    pub query_count: usize,
    /// Whether documents are deleted at the end.
    pub deletes: bool,
    /// Whether bundled nodes can be set so: their engine is older than a real server's.
    pub on_bundled_nodes: bool,
}

/// Explicit, because the defaults differ between server versions.
const RULES: &[&str] = &[
    "words",
    "typo",
    "proximity",
    "attribute",
    "sort",
    "exactness",
];

fn base() -> Value {
    json!({
        "rankingRules": RULES,
        "searchableAttributes": ["title", "body", "author"],
        "filterableAttributes": [
            "id", "sku", "year", "price", "rating", "category", "label", "tags", "stock", "size",
            "author", "_geo"
        ],
        "sortableAttributes": ["year", "price", "rating", "title", "label", "tags", "_geo", "size"],
    })
}

fn with(changes: Value) -> Value {
    let mut settings = base();
    if let (Some(settings), Value::Object(changes)) = (settings.as_object_mut(), changes) {
        settings.extend(changes);
    }
    settings
}

/// All variants, the broadest first.
#[must_use]
pub fn variants() -> Vec<Variant> {
    let small = |name, settings| Variant {
        name,
        settings,
        key: KeyStyle::Number,
        document_count: 500,
        query_count: 70,
        deletes: false,
        on_bundled_nodes: true,
    };
    vec![
        Variant {
            document_count: 1_500,
            query_count: 195,
            ..small("plain", base())
        },
        // Every field searchable: numbers are words too, and hidden fields must not be.
        Variant {
            key: KeyStyle::Text,
            deletes: true,
            ..small(
                "every-field",
                with(json!({ "searchableAttributes": ["*"] })),
            )
        },
        // A custom rule decides before the words are looked at, another one in the middle.
        small(
            "custom-early",
            with(json!({
                "rankingRules": [
                    "rating:desc", "words", "typo", "sort", "price:asc", "proximity", "attribute",
                    "exactness"
                ],
                "faceting": { "maxValuesPerFacet": 200, "sortFacetValuesBy": { "tags": "count" } },
            })),
        ),
        // The usual place of a custom rule; few total hits (but more than a search for words finds, or
        // what was found could not be listed) and few facet values.
        Variant {
            deletes: true,
            ..small(
                "custom-late",
                with(json!({
                    "rankingRules": [
                        "words", "typo", "proximity", "attribute", "sort", "exactness",
                        "year:desc", "label:asc"
                    ],
                    "pagination": { "maxTotalHits": 150 },
                    "faceting": { "maxValuesPerFacet": 5 },
                })),
            )
        },
        // What changes the words themselves, and fields that clients may not see but sort by.
        small(
            "language",
            with(json!({
                "rankingRules": ["sort", "words", "typo", "proximity", "attribute", "exactness"],
                "stopWords": ["a", "of", "to", "in"],
                "synonyms": { "books": ["tools"], "is": ["ou", "of to"] },
                "typoTolerance": {
                    "minWordSizeForTypos": { "oneTypo": 4, "twoTypos": 7 },
                    "disableOnAttributes": ["author"]
                },
                "displayedAttributes": ["id", "title", "author", "year", "category", "tags"],
                "separatorTokens": ["ou"],
            })),
        ),
        // The default rules of newer servers: `attribute` split in two.
        Variant {
            on_bundled_nodes: false,
            ..small(
                "split-attribute",
                with(json!({
                    "rankingRules": [
                        "words", "typo", "proximity", "attributeRank", "sort", "wordPosition",
                        "exactness"
                    ],
                })),
            )
        },
    ]
}
