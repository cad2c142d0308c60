//! Digests that tell whether two replicas hold the same documents, without holding the documents.
//!
//! Laws: the digest of a document does not depend on the order of its fields (each node orders them
//! by its own history); the digest of a set does not depend on the order in which it was read; sets
//! that differ in one document differ in the bucket of its id, and (but for a collision of 64 bits)
//! nowhere else do they seem to.

use crate::hash::document_hash;
use serde_json::Value;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The field with a document's vectors. It is left out of digests: replicas may have computed theirs
/// by separate calls of an embedder, which need not answer alike to the last bit.
const VECTORS_FIELD: &str = "_vectors";

/// The digest of one document as a node shows it, reserved fields included, `_vectors` not.
///
/// ```
/// use miroir_core::digest::document_digest;
/// let one = document_digest(br#"{"id":1,"a":{"x":1,"y":2}}"#).unwrap();
/// assert_eq!(one, document_digest(br#"{"a":{"y":2,"x":1},"id":1}"#).unwrap());
/// assert_ne!(one, document_digest(br#"{"a":{"y":2,"x":1},"id":2}"#).unwrap());
/// ```
///
/// # Errors
/// The text is no JSON.
pub fn document_digest(document: &[u8]) -> Result<u64, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(document)?;
    if let Value::Object(fields) = &mut value {
        fields.remove(VECTORS_FIELD);
    }
    Ok(digest(&value))
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
    fn vectors_are_left_out_and_reserved_fields_are_not() {
        let digest = |text: &str| document_digest(text.as_bytes()).unwrap();
        let plain = digest(r#"{"id":1,"_miroir_seq":"a"}"#);
        assert_eq!(
            plain,
            digest(r#"{"id":1,"_vectors":{"e":[1.0]},"_miroir_seq":"a"}"#)
        );
        assert_ne!(plain, digest(r#"{"id":1,"_miroir_seq":"b"}"#));
    }

    #[test]
    fn what_looks_alike_differs() {
        let digest = |text: &str| document_digest(text.as_bytes()).unwrap();
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
