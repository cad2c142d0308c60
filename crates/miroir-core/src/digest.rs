//! Digests that tell whether two replicas hold the same documents, without holding the documents.
//!
//! Laws: the digest of a document does not depend on the order of its fields (each node orders them
//! by its own history); the digest of a set does not depend on the order in which it was read; sets
//! that differ in one document differ in the bucket of its id, and (but for a collision of 64 bits)
//! nowhere else do they seem to.

use crate::hash::document_hash;
use serde_json::Value;
use std::collections::BTreeSet;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The field with a document's vectors.
const VECTORS_FIELD: &str = "_vectors";

/// The digest of one document as a node shows it, reserved fields included; of `_vectors` what
/// clients gave for these embedders.
///
/// A node keeps such a vector as 32-bit numbers and shows just these (measured on 1.50), so replicas
/// and copies agree to the last bit. Left out are vectors that nodes have computed: replicas did so
/// by separate calls of an embedder, which need not answer alike to the last bit.
///
/// ```
/// use miroir_core::digest::document_digest;
/// let digest = |text: &str| document_digest(text.as_bytes(), &["e".to_owned()].into()).unwrap();
/// let one = digest(r#"{"id":1,"a":{"x":1,"y":2}}"#);
/// assert_eq!(one, digest(r#"{"a":{"y":2,"x":1},"id":1}"#));
/// assert_ne!(one, digest(r#"{"a":{"y":2,"x":1},"id":2}"#));
/// let with = |vector| format!(r#"{{"_vectors":{{"e":{{"embeddings":[{vector}],"regenerate":false}}}}}}"#);
/// assert_ne!(digest(&with("[0.5]")), digest(&with("[0.25]")));
/// ```
///
/// # Errors
/// The text is no JSON.
pub fn document_digest(
    document: &[u8],
    embedders: &BTreeSet<String>,
) -> Result<u64, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(document)?;
    let Value::Object(fields) = &mut value else {
        return Ok(digest(&value));
    };
    let vectors = fields.remove(VECTORS_FIELD);
    let own = digest(&value);
    let given = vectors.as_ref().and_then(Value::as_object).map(|vectors| {
        let named = embedders
            .iter()
            .filter_map(|name| Some((name, vectors.get(name)?)));
        named.fold(0u64, |sum, (name, shown)| {
            sum.wrapping_add(given_digest(name, shown))
        })
    });
    // A document without vectors is one whose lists of vectors are empty.
    Ok(own.wrapping_add(given.unwrap_or(0)))
}

/// The digest of the vectors that a client gave for one embedder; 0 if there are none.
fn given_digest(embedder: &str, shown: &Value) -> u64 {
    let is_given = shown.get("regenerate") == Some(&Value::Bool(false));
    let embeddings = shown.get("embeddings").and_then(Value::as_array);
    let Some(embeddings) = embeddings.filter(|list| is_given && !list.is_empty()) else {
        return 0;
    };
    let mut hasher = Xxh3::new();
    hasher.update(embedder.as_bytes());
    for embedding in embeddings {
        hasher.update(b"v");
        for number in embedding.as_array().into_iter().flatten() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "nodes keep so many bits; what they show may have more digits"
            )]
            let kept = number.as_f64().unwrap_or_default() as f32;
            hasher.update(&kept.to_bits().to_le_bytes());
        }
    }
    hasher.digest()
}

/// Objects are sums over their members, so that order does not matter; everything else is a chain.
fn digest(value: &Value) -> u64 {
    match value {
        Value::Object(fields) => {
            let mut sum = 0u64;
            for (name, value) in fields {
                let mut hasher = Xxh3::new();
                hasher.update(name.as_bytes());
                hasher.update(&[0]);
                hasher.update(&digest(value).to_le_bytes());
                sum = sum.wrapping_add(hasher.digest());
            }
            tagged(b'o', &sum.to_le_bytes())
        }
        Value::Array(values) => {
            let mut hasher = Xxh3::new();
            hasher.update(b"a");
            for value in values {
                hasher.update(&digest(value).to_le_bytes());
            }
            hasher.digest()
        }
        Value::String(text) => tagged(b's', text.as_bytes()),
        other => xxh3_64(other.to_string().as_bytes()),
    }
}

fn tagged(tag: u8, bytes: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[tag]);
    hasher.update(bytes);
    hasher.digest()
}

/// The digest of a part of a set of documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Documents in it.
    pub count: u64,
    sum: u64,
}

/// A set of documents, in buckets by the hashes of their ids.
///
/// ```
/// use miroir_core::digest::Buckets;
/// let (mut one, mut other) = (Buckets::new(16), Buckets::new(16));
/// one.add("1", 7);
/// one.add("2", 8);
/// other.add("2", 8);
/// other.add("1", 9);
/// assert_eq!(one.differing(&other), vec![Buckets::bucket_of("1", 16)]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Vec<Bucket>);

impl Buckets {
    /// No documents, in so many buckets (at least one).
    #[must_use]
    pub fn new(bucket_count: u32) -> Self {
        Self(vec![Bucket::default(); bucket_count.max(1) as usize])
    }

    /// The bucket of an id. The hash is mixed once more: the documents of one shard agree in what
    /// the shard number is made of.
    #[must_use]
    pub fn bucket_of(id: &str, bucket_count: u32) -> u32 {
        let mixed = xxh3_64(&document_hash(id).to_le_bytes());
        u32::try_from(mixed % u64::from(bucket_count.max(1))).unwrap_or(0)
    }

    /// Takes a document in.
    pub fn add(&mut self, id: &str, digest: u64) {
        let bucket_count = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let bucket = &mut self.0[Self::bucket_of(id, bucket_count) as usize];
        bucket.count += 1;
        let entry = document_hash(id) ^ digest.rotate_left(17);
        bucket.sum = bucket.sum.wrapping_add(xxh3_64(&entry.to_le_bytes()));
    }

    /// Documents in all buckets.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.count).sum()
    }

    /// The numbers of the buckets in which two sets differ, ascending.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<u32> {
        (0u32..)
            .zip(self.0.iter().zip(&other.0))
            .filter(|(_, (a, b))| a != b)
            .map(|(bucket, _)| bucket)
            .collect()
    }

    /// Documents in one bucket.
    #[must_use]
    pub fn count_of(&self, bucket: u32) -> u64 {
        self.0.get(bucket as usize).map_or(0, |bucket| bucket.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors_that_nodes_computed_are_left_out_and_reserved_fields_are_not() {
        let embedders = ["e".to_owned()].into();
        let digest = |text: &str| document_digest(text.as_bytes(), &embedders).unwrap();
        let plain = digest(r#"{"id":1,"_miroir_seq":"a"}"#);
        for vectors in [
            r#"{"e":{"embeddings":[[1.0]],"regenerate":true}}"#,
            r#"{"e":{"embeddings":[],"regenerate":false}}"#,
            r#"{"other":{"embeddings":[[1.0]],"regenerate":false}}"#,
            r#"{"e":[1.0]}"#,
            "{}",
        ] {
            let text = format!(r#"{{"id":1,"_vectors":{vectors},"_miroir_seq":"a"}}"#);
            assert_eq!(plain, digest(&text), "{text}");
        }
        assert_ne!(plain, digest(r#"{"id":1,"_miroir_seq":"b"}"#));
    }

    #[test]
    fn vectors_that_clients_gave_count_to_the_bits_that_nodes_keep() {
        let embedders = ["e".to_owned()].into();
        let digest = |list: &str| {
            let text = format!(
                r#"{{"id":1,"_vectors":{{"e":{{"embeddings":{list},"regenerate":false}}}}}}"#
            );
            document_digest(text.as_bytes(), &embedders).unwrap()
        };
        assert_eq!(digest("[[0.1]]"), digest("[[0.10000000149011612]]"));
        let all = [
            "[]",
            "[[0.1,0.2]]",
            "[[0.1],[0.2]]",
            "[[0.2,0.1]]",
            "[[0.1,-0.2]]",
            "[[0.1]]",
        ];
        for (i, one) in all.iter().enumerate() {
            for other in &all[i + 1..] {
                assert_ne!(digest(one), digest(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn what_looks_alike_differs() {
        let digest = |text: &str| document_digest(text.as_bytes(), &BTreeSet::new()).unwrap();
        let all = [
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{"1":1}}"#,
            r#"{"a":null}"#,
            r#"{"a":""}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r"{}",
        ];
        for (i, one) in all.iter().enumerate() {
            for other in &all[i + 1..] {
                assert_ne!(digest(one), digest(other), "{one} {other}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_order_of_reading_does_not_matter(ids in proptest::collection::btree_set(0u32..500, 0..60)) {
            let (mut up, mut down) = (Buckets::new(8), Buckets::new(8));
            for id in &ids {
                up.add(&id.to_string(), u64::from(*id) * 31);
            }
            for id in ids.iter().rev() {
                down.add(&id.to_string(), u64::from(*id) * 31);
            }
            prop_assert_eq!(up.count(), ids.len() as u64);
            prop_assert!(up.differing(&down).is_empty());
        }

        #[test]
        fn one_changed_document_shows_in_its_bucket_alone(count in 1u32..60, changed in 0u32..60) {
            let changed = changed % count;
            let (mut one, mut other) = (Buckets::new(8), Buckets::new(8));
            for id in 0..count {
                one.add(&id.to_string(), 1);
                other.add(&id.to_string(), 1 + u64::from(id == changed));
            }
            prop_assert_eq!(one.differing(&other), vec![Buckets::bucket_of(&changed.to_string(), 8)]);
        }
    }
}
