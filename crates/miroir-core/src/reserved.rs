//! The reserved fields that Miroir adds to the documents on the nodes, and their encoding.
//!
//! With `searchableAttributes: ["*"]` every word and number of a document is searchable, so a plain
//! shard number would answer the query `12`. A text made only of separator characters yields no
//! word. The characters used here are mathematical operators that the tokenizer takes for
//! separators, that have no case and no decomposition, and need no escaping in a filter.

use crate::id::{DocumentSeq, ShardId};

/// The field that holds a document's shard tag.
pub const SHARD_FIELD: &str = "_miroir_shard";
/// The field that holds a document's place in the insertion order.
pub const SEQ_FIELD: &str = "_miroir_seq";
/// Names no field; in the pattern list of a filterable rule it says that the rule is Miroir's, made
/// for the index's distinct attribute.
pub const DISTINCT_MARK: &str = "_miroir_distinct";
/// What the names of all reserved fields begin with; clients may not use such names.
pub const RESERVED_PREFIX: &str = "_miroir_";

/// The hidden last ranking rule on the nodes.
pub const SEQ_RULE: &str = "_miroir_seq:asc";

/// The most shards of one index: what six digits of a tag can tell apart. A filter that lists
/// half of them already costs a node tens of milliseconds, so more would help nobody.
pub const SHARD_COUNT_MAX: u32 = 4096;

/// The greatest sequence number: eight digits of five bits.
pub const SEQ_MAX: u64 = (1 << 40) - 1;

const TAG_DIGITS: [char; 4] = ['⊰', '⊱', '⋔', '⋕'];
const SEQ_DIGIT_FIRST: u32 = 0x22B0;
const SEQ_DIGIT_BITS: u32 = 5;
const SEQ_DIGIT_COUNT: u32 = 8;
/// Every character of U+2200..U+23FF takes three bytes of UTF-8.
const DIGIT_BYTES: usize = 3;
/// The length of an encoded sequence number.
pub const SEQ_BYTES: usize = SEQ_DIGIT_COUNT as usize * DIGIT_BYTES;

/// Whether a field name belongs to Miroir.
#[must_use]
pub fn is_reserved(field: &str) -> bool {
    field.starts_with(RESERVED_PREFIX)
}

/// Whether a text is one of the characters that tags and sequence numbers are written with.
#[must_use]
pub fn is_reserved_character(text: &str) -> bool {
    let mut chars = text.chars();
    let (Some(c), None) = (chars.next(), chars.next()) else {
        return false;
    };
    let seq_digits = SEQ_DIGIT_FIRST..SEQ_DIGIT_FIRST + (1 << SEQ_DIGIT_BITS);
    TAG_DIGITS.contains(&c) || seq_digits.contains(&u32::from(c))
}

fn tag_digit_count(shard_count: u32) -> u32 {
    if shard_count <= 256 { 4 } else { 6 }
}

/// The tag of a shard's documents: fixed width, base 4, most significant digit first.
///
/// ```
/// use miroir_core::{id::ShardId, reserved::{decode_shard_tag, shard_tag}};
/// assert_eq!(shard_tag(ShardId(5), 64), "⊰⊰⊱⊱");
/// assert_eq!(decode_shard_tag("⊰⊰⊱⊱"), Some(ShardId(5)));
/// ```
#[must_use]
pub fn shard_tag(shard: ShardId, shard_count: u32) -> String {
    let mut tag = String::with_capacity(6 * DIGIT_BYTES);
    push_shard_tag(shard, shard_count, &mut tag);
    tag
}

fn push_shard_tag(shard: ShardId, shard_count: u32, out: &mut String) {
    for place in (0..tag_digit_count(shard_count)).rev() {
        out.push(TAG_DIGITS[(shard.0 >> (2 * place)) as usize & 3]);
    }
}

/// The shard that a tag names, or `None` if it is no tag.
#[must_use]
pub fn decode_shard_tag(tag: &str) -> Option<ShardId> {
    if tag.len() != 4 * DIGIT_BYTES && tag.len() != 6 * DIGIT_BYTES {
        return None;
    }
    let mut shard = 0;
    for c in tag.chars() {
        let digit = TAG_DIGITS.iter().position(|d| *d == c)?;
        shard = shard << 2 | u32::try_from(digit).ok()?;
    }
    Some(ShardId(shard))
}

/// The text of a sequence number: eight digits, base 32, so that the order of the bytes is the
/// order of the numbers. Numbers above [`SEQ_MAX`] lose their high bits.
#[must_use]
pub fn encode_seq(seq: DocumentSeq) -> String {
    let mut text = String::with_capacity(SEQ_BYTES);
    for place in (0..SEQ_DIGIT_COUNT).rev() {
        let digit = (seq.0 >> (SEQ_DIGIT_BITS * place)) & 31;
        let code_point = SEQ_DIGIT_FIRST + u32::try_from(digit).unwrap_or_default();
        text.extend(char::from_u32(code_point));
    }
    text
}

/// The sequence number that a text encodes, or `None` if it encodes none.
#[must_use]
pub fn decode_seq(text: &str) -> Option<DocumentSeq> {
    if text.len() != SEQ_BYTES {
        return None;
    }
    let mut seq = 0;
    for c in text.chars() {
        let digit = u32::from(c)
            .checked_sub(SEQ_DIGIT_FIRST)
            .filter(|d| *d < 32)?;
        seq = seq << SEQ_DIGIT_BITS | u64::from(digit);
    }
    Some(DocumentSeq(seq))
}

/// The filter that keeps the shards `wanted` of a node that holds the shards `held`, or `None` if
/// every held shard is wanted.
///
/// Written as the shorter of `IN` the wanted and `NOT … IN` the others: a node pays per value.
/// Wanted shards that are not held are left out of the choice; if none is held, the filter matches
/// nothing.
#[must_use]
pub fn shard_filter(wanted: &[ShardId], held: &[ShardId], shard_count: u32) -> Option<String> {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let (keep, drop): (Vec<ShardId>, Vec<ShardId>) = held
        .iter()
        .partition(|shard| wanted.binary_search(shard).is_ok());
    if drop.is_empty() && !keep.is_empty() {
        return None;
    }
    // `NOT` costs a node one more set operation, so on equal length the positive form wins.
    let (negation, listed) = if drop.len() < keep.len() {
        ("NOT ", &drop)
    } else {
        ("", &keep)
    };
    Some(listing_filter(negation, listed, shard_count))
}

/// The filter that keeps these shards, whatever else a node holds.
#[must_use]
pub fn shards_filter(shards: &[ShardId], shard_count: u32) -> String {
    listing_filter("", shards, shard_count)
}

fn listing_filter(negation: &str, listed: &[ShardId], shard_count: u32) -> String {
    let mut filter = String::with_capacity(32 + listed.len() * (6 * DIGIT_BYTES + 4));
    filter.push_str(negation);
    filter.push_str(SHARD_FIELD);
    filter.push_str(" IN [");
    for (shard_idx, shard) in listed.iter().enumerate() {
        filter.push_str(if shard_idx == 0 { "\"" } else { ", \"" });
        push_shard_tag(*shard, shard_count, &mut filter);
        filter.push('"');
    }
    filter.push(']');
    filter
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization as _;

    #[test]
    fn the_alphabets_survive_the_facet_normalisation() {
        let seq_digits = (SEQ_DIGIT_FIRST..SEQ_DIGIT_FIRST + 32).filter_map(char::from_u32);
        for c in TAG_DIGITS.into_iter().chain(seq_digits) {
            let normalised = c.to_string().nfkd().collect::<String>().to_lowercase();
            assert_eq!(normalised, c.to_string());
            assert_eq!(c.len_utf8(), DIGIT_BYTES);
            assert!(!c.is_alphanumeric() && !c.is_whitespace());
            assert!(is_reserved_character(&c.to_string()));
        }
    }

    #[test]
    fn every_tag_is_read_back() {
        for shard_count in [1, 4, 256, 257, SHARD_COUNT_MAX] {
            for shard in (0..shard_count).map(ShardId) {
                let tag = shard_tag(shard, shard_count);
                assert_eq!(decode_shard_tag(&tag), Some(shard));
                assert_eq!(tag.len(), if shard_count <= 256 { 12 } else { 18 });
            }
        }
    }

    #[test]
    fn foreign_text_is_no_tag_and_no_seq() {
        for text in [
            "",
            "⊰",
            "⊰⊰⊰a",
            "abcd",
            "⊰⊰⊰⊰⊰",
            "⊰⊰⊰⊰⊰⊰⊰",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(decode_shard_tag(text), None);
            assert_eq!(decode_seq(text), None);
        }
    }

    #[test]
    fn the_filter_lists_the_shorter_side() {
        let shards = |numbers: &[u32]| numbers.iter().copied().map(ShardId).collect::<Vec<_>>();
        let held = shards(&[0, 1, 2, 3]);
        let check = |wanted: &[u32], filter: Option<&str>| {
            assert_eq!(shard_filter(&shards(wanted), &held, 8).as_deref(), filter);
        };
        check(&[3, 2, 1, 0], None);
        check(&[1], Some(r#"_miroir_shard IN ["⊰⊰⊰⊱"]"#));
        check(&[0, 1], Some(r#"_miroir_shard IN ["⊰⊰⊰⊰", "⊰⊰⊰⊱"]"#));
        check(&[0, 1, 3], Some(r#"NOT _miroir_shard IN ["⊰⊰⊰⋔"]"#));
        check(&[7], Some("_miroir_shard IN []"));
    }

    proptest! {
        #[test]
        fn seq_text_keeps_the_order_of_the_numbers(a in 0..=SEQ_MAX, b in 0..=SEQ_MAX) {
            let (text_a, text_b) = (encode_seq(DocumentSeq(a)), encode_seq(DocumentSeq(b)));
            prop_assert_eq!(text_a.cmp(&text_b), a.cmp(&b));
            prop_assert_eq!(decode_seq(&text_a), Some(DocumentSeq(a)));
        }
    }
}
