//! How a secret is shown: as Meilisearch shows it, the capitals being what clients see.

/// How many bytes of a secret of this length stay readable, and what is shown in place of the rest.
///
/// ```
/// assert_eq!(miroir_api::secret::mask("a short key".len()), (2, "XXXX..."));
/// ```
#[must_use]
pub fn mask(byte_count: usize) -> (usize, &'static str) {
    match byte_count {
        0..10 => (0, "XXX..."),
        10..20 => (2, "XXXX..."),
        20..30 => (3, "XXXXX..."),
        _ => (5, "XXXXXX..."),
    }
}
