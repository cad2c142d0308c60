//! Why a document, or the first of a payload, cannot be taken.

use crate::id::IndexUid;

/// One refused document. The `Display` text is Meilisearch's message; [`Self::code`] its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// No top-level field of the first document ends with `id`, or there is no document.
    #[error(
        "The primary key inference failed as the engine did not find any field ending with `id` \
         in its name. Please specify the primary key manually using the `primaryKey` query \
         parameter."
    )]
    NoPrimaryKeyCandidate,
    /// Several fields end with `id`.
    #[error(
        "The primary key inference failed as the engine found {count} fields ending with `id` in \
         their names: '{first}' and '{second}'. Please specify the primary key manually using the \
         `primaryKey` query parameter."
    )]
    MultiplePrimaryKeyCandidates {
        /// How many.
        count: usize,
        /// The first in byte order.
        first: String,
        /// The second in byte order.
        second: String,
    },
    /// The index has another primary key than the one given; holds the index's.
    #[error("Index already has a primary key: `{0}`.")]
    PrimaryKeyCannotChange(String),
    /// The document has no id.
    #[error("Document doesn't have a `{primary_key}` attribute: `{document}`.")]
    MissingId {
        /// The name of the primary key.
        primary_key: String,
        /// The document as compact JSON.
        document: String,
    },
    /// The primary key matches several values of the document.
    #[error("Document have too many matching `{primary_key}` attribute: `{document}`.")]
    TooManyIds {
        /// The name of the primary key.
        primary_key: String,
        /// The document as compact JSON.
        document: String,
    },
    /// The id is neither an integer nor a text that may be an id; holds its JSON.
    #[error(
        "Document identifier `{0}` is invalid. A document identifier can be of type integer or \
         string, only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and \
         underscores (_), and can not be more than 511 bytes."
    )]
    InvalidId(String),
    /// The document has a field whose name is Miroir's; holds the name.
    #[error(
        "Document has a field named `{0}`: names that begin with `_miroir_` are reserved by Miroir."
    )]
    ReservedField(String),
    /// The `_geo` field is wrong; holds the message.
    #[error("{0}")]
    Geo(String),
    /// The value of an embedder in `_vectors` is wrong.
    #[error("Bad embedder configuration in the document with id: `{id}`. {cause}")]
    Vectors {
        /// The document's id.
        id: String,
        /// What is wrong.
        cause: String,
    },
    /// A value that the engine cannot read, though it passed for JSON; holds the parser's words.
    #[error("{0}")]
    Unreadable(String),
}

impl DocumentError {
    /// The error code of Meilisearch.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPrimaryKeyCandidate => "index_primary_key_no_candidate_found",
            Self::MultiplePrimaryKeyCandidates { .. } => {
                "index_primary_key_multiple_candidates_found"
            }
            Self::PrimaryKeyCannotChange(_) => "index_primary_key_already_exists",
            Self::MissingId { .. } => "missing_document_id",
            Self::TooManyIds { .. } | Self::InvalidId(_) => "invalid_document_id",
            // Meilisearch has no such refusal; its code for a field that may not be there.
            Self::ReservedField(_) => "bad_request",
            Self::Geo(_) => "invalid_document_geo_field",
            Self::Vectors { .. } => "invalid_vectors_type",
            Self::Unreadable(_) => "internal",
        }
    }

    /// The message as a failed task shows it: what one node finds while indexing, after it has
    /// read the ids, it reports with the index's name in front.
    #[must_use]
    pub fn task_message(&self, index: &IndexUid) -> String {
        match self {
            Self::Geo(_) | Self::Vectors { .. } | Self::Unreadable(_) => {
                format!("Index `{index}`: {self}")
            }
            Self::NoPrimaryKeyCandidate
            | Self::MultiplePrimaryKeyCandidates { .. }
            | Self::PrimaryKeyCannotChange(_)
            | Self::MissingId { .. }
            | Self::TooManyIds { .. }
            | Self::InvalidId(_)
            | Self::ReservedField(_) => self.to_string(),
        }
    }
}
