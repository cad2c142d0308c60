//! The fields of generated documents, and which of them are good for what.

/// Fields that hold texts.
pub(super) const TEXTS: &[&str] = &["title", "body", "author", "meta.title", "meta.notes.name"];
/// Fields to filter, sort and count by; each holds another mixture of values.
pub(super) const FACETS: &[&str] = &[
    "year",
    "price",
    "code",
    "label",
    "tags",
    "flag",
    "mixed",
    "meta.score",
    "meta.notes.name",
    "author",
    "absent",
];
/// Fields with at most one value in each document: what can be told apart by, exactly.
pub(super) const SINGLE: &[&str] = &["year", "code", "label", "flag", "meta.score", "author"];
/// Numbers, mostly.
pub(super) const NUMBERS: &[&str] = &["year", "price", "meta.score"];
/// Top-level fields.
pub(super) const TOP: &[&str] = &[
    "title", "body", "author", "year", "price", "code", "label", "tags", "flag", "mixed", "meta",
];
/// Spellings of few values.
pub(super) const LABELS: &[&str] = &[
    "red",
    "Red",
    " RED",
    "Blue",
    "blue",
    "été",
    "ÉTÉ",
    "e\u{301}te\u{301}",
    "grün",
    "10",
    "9",
    "東京",
    "with space",
    "it's",
    "say \"hi\"",
    "a,b",
];
/// The same but for numbers: one field that holds the number 9 and the text "9" has facets which
/// answers do not tell apart.
pub(super) const WORDY_LABELS: &[&str] =
    &["red", "Red", " RED", "blue", "été", "ÉTÉ", "東京", "a,b"];
/// Sorted by these, one node lists each document once; by others, once for each of its values.
pub(super) const LISTED_ONCE: &[&str] = &[
    "year",
    "code",
    "label",
    "flag",
    "meta.score",
    "author",
    "_geo",
    "absent",
];
/// The dimensions of vectors.
pub(super) const DIMENSIONS: usize = 3;
/// The name of the embedder.
pub(super) const EMBEDDER: &str = "own";
