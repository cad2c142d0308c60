//! The names of things, each its own type so that they cannot be mixed up.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest index uid that Meilisearch accepts, in bytes.
pub const INDEX_UID_BYTES_MAX: usize = 400;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// A fixed slice of an index's documents, from 0 to the index's shard count less one.
    ShardId(u32)
);
number_id!(
    /// What a client sees as `taskUid`: the position of an entry in the log, from 0.
    TaskUid(u64)
);
number_id!(
    /// A run of adjacent entries that is delivered to the nodes as one.
    BatchUid(u64)
);
number_id!(
    /// The number of a placement: a later epoch replaces an earlier one.
    Epoch(u64)
);
number_id!(
    /// The uid that one node gave to one of its own tasks. Means nothing on another node.
    NodeTaskUid(u64)
);
number_id!(
    /// The place of a document in its index's insertion order; equal documents rank by it.
    DocumentSeq(u64)
);

/// The operator's name of a node, unique in the cluster and stable over restarts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(String);

impl NodeId {
    /// Wraps a node name as it stands.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The client's name of an index, checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IndexUid(String);

/// The text is not an index uid; holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid index uid")]
pub struct InvalidIndexUid(pub String);

impl IndexUid {
    /// Checks and wraps a uid: 1 to [`INDEX_UID_BYTES_MAX`] bytes of `[A-Za-z0-9_-]`.
    ///
    /// # Errors
    /// [`InvalidIndexUid`] with the text given.
    pub fn new(uid: impl Into<String>) -> Result<Self, InvalidIndexUid> {
        let uid = uid.into();
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if uid.is_empty() || uid.len() > INDEX_UID_BYTES_MAX || !uid.bytes().all(is_allowed) {
            return Err(InvalidIndexUid(uid));
        }
        Ok(Self(uid))
    }

    /// The uid as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IndexUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of an index on the nodes. It differs from the client's name, so that re-creating,
/// swapping and re-sharding an index are changes of a mapping and no work on the nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhysicalIndex(String);

impl PhysicalIndex {
    /// The physical name of the index that task `task` creates under `uid`.
    ///
    /// The client's name is cut so that the whole stays within [`INDEX_UID_BYTES_MAX`].
    #[must_use]
    pub fn new(uid: &IndexUid, task: TaskUid) -> Self {
        let suffix = format!("__{}", task.0);
        let keep = (INDEX_UID_BYTES_MAX - suffix.len()).min(uid.as_str().len());
        Self(format!("{}{suffix}", &uid.as_str()[..keep]))
    }

    /// What the number at the end of a physical name counts from for each time that an index was cut
    /// into another number of shards; below it is the task that made the index. No log has so many.
    pub const CUT: u64 = 1 << 40;

    /// The physical name of the same index, cut anew for the `count`-th time in the cluster.
    ///
    /// ```
    /// use miroir_core::id::PhysicalIndex;
    /// let index = PhysicalIndex::from_stored("movies__7");
    /// let cut = index.cut_anew(1);
    /// assert_eq!(cut.as_str(), "movies__1099511627783");
    /// assert_eq!(cut.cut_anew(2).as_str(), "movies__2199023255559");
    /// ```
    #[must_use]
    pub fn cut_anew(&self, count: u64) -> Self {
        let (name, number) = self.0.rsplit_once("__").unwrap_or((&self.0, ""));
        let task = number.parse().unwrap_or(0) & (Self::CUT - 1);
        let suffix = format!("__{}", count.wrapping_mul(Self::CUT) | task);
        let keep = (INDEX_UID_BYTES_MAX - suffix.len()).min(name.len());
        Self(format!("{}{suffix}", &name[..keep]))
    }

    /// The task that made the index, if the name tells it.
    ///
    /// ```
    /// use miroir_core::id::{PhysicalIndex, TaskUid};
    /// let index = PhysicalIndex::from_stored("movies__7");
    /// assert_eq!(index.made_by(), Some(TaskUid(7)));
    /// assert_eq!(index.cut_anew(2).made_by(), Some(TaskUid(7)));
    /// ```
    #[must_use]
    pub fn made_by(&self) -> Option<TaskUid> {
        let (_, number) = self.0.rsplit_once("__")?;
        let number: u64 = number.parse().ok()?;
        Some(TaskUid(number & (Self::CUT - 1)))
    }

    /// For the how manieth time in the cluster an index was cut anew when this name was given; 0 for
    /// an index as it was made, `None` if the name does not tell.
    ///
    /// ```
    /// use miroir_core::id::PhysicalIndex;
    /// let index = PhysicalIndex::from_stored("movies__7");
    /// assert_eq!(index.cut(), Some(0));
    /// assert_eq!(index.cut_anew(2).cut(), Some(2));
    /// assert_eq!(PhysicalIndex::from_stored("movies").cut(), None);
    /// ```
    #[must_use]
    pub fn cut(&self) -> Option<u64> {
        let (_, number) = self.0.rsplit_once("__")?;
        let number: u64 = number.parse().ok()?;
        Some(number / Self::CUT)
    }

    /// Wraps a stored physical name as it stands.
    pub fn from_stored(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhysicalIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
