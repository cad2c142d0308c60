//! The one error of this crate, and the table from engine errors to Meilisearch codes.

use milli_core::heed::{Error as HeedError, MdbError};
use milli_core::{CriterionError, InternalError, SortError, UserError};
use std::fmt;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request or its data are wrong; the code is one of the Meilisearch API.
    User(&'static str),
    /// The engine, the disk or the machine failed.
    Internal,
    /// There is no such index.
    Missing,
}

/// What went wrong, with a text for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// The engine's text, without the name of the index.
    pub message: String,
}

impl EngineError {
    pub(crate) fn user(code: &'static str, message: impl Into<String>) -> Self {
        EngineError {
            kind: ErrorKind::User(code),
            message: message.into(),
        }
    }

    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        EngineError {
            kind: ErrorKind::Internal,
            message: error.to_string(),
        }
    }

    /// The index has reached the size it may have.
    pub(crate) fn full_map() -> Self {
        Self::user(
            "database_size_limit_reached",
            "Maximum database size has been reached.",
        )
    }

    pub(crate) fn missing(key: &str) -> Self {
        EngineError {
            kind: ErrorKind::Missing,
            message: format!("Index `{key}` not found."),
        }
    }

    /// The code of the Meilisearch API.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::User(code) => code,
            ErrorKind::Internal => "internal",
            ErrorKind::Missing => "index_not_found",
        }
    }

    /// The same text under another code, when the engine's own code names the wrong parameter.
    pub(crate) fn recoded(self, from: &str, to: &'static str) -> Self {
        match self.kind {
            ErrorKind::User(code) if code == from => Self {
                kind: ErrorKind::User(to),
                ..self
            },
            _ => self,
        }
    }
}

impl From<milli_core::Error> for EngineError {
    fn from(error: milli_core::Error) -> Self {
        match error {
            milli_core::Error::UserError(error) => {
                let message = error.to_string();
                match user_code(&error) {
                    Some(code) => EngineError::user(code, message),
                    None => EngineError::internal(message),
                }
            }
            milli_core::Error::InternalError(error) => {
                let message = error.to_string();
                // A full map surfaces in several wrappings; its text always has the LMDB name.
                if message.contains("MDB_MAP_FULL")
                    || matches!(error, InternalError::Store(MdbError::MapFull))
                {
                    return EngineError::full_map();
                }
                EngineError::internal(message)
            }
            milli_core::Error::IoError(error) => error.into(),
        }
    }
}

impl From<HeedError> for EngineError {
    fn from(error: HeedError) -> Self {
        milli_core::Error::from(error).into()
    }
}

impl From<std::io::Error> for EngineError {
    fn from(error: std::io::Error) -> Self {
        // Both numbers are the same on every Linux and BSD.
        match error.raw_os_error() {
            Some(28) => EngineError::user(
                "no_space_left_on_device",
                "There is no more space left on the device. \
                 Consider increasing the size of the disk/partition.",
            ),
            Some(24) => EngineError::user("too_many_open_files", error.to_string()),
            _ => EngineError::internal(error),
        }
    }
}

impl From<serde_json::Error> for EngineError {
    fn from(error: serde_json::Error) -> Self {
        EngineError::internal(error)
    }
}

impl From<UserError> for EngineError {
    fn from(error: UserError) -> Self {
        milli_core::Error::UserError(error).into()
    }
}

/// The code for an error of the user; `None` where the client can do nothing about it.
fn user_code(error: &UserError) -> Option<&'static str> {
    let code = match error {
        UserError::AttributeLimitReached => "max_fields_limit_exceeded",
        UserError::CriterionError(
            CriterionError::InvalidName { .. }
            | CriterionError::ReservedName { .. }
            | CriterionError::ReservedNameForSort { .. }
            | CriterionError::ReservedNameForFilter { .. },
        ) => "invalid_settings_ranking_rules",
        UserError::InvalidDocumentId { .. } | UserError::TooManyDocumentIds { .. } => {
            "invalid_document_id"
        }
        UserError::MissingDocumentId { .. } => "missing_document_id",
        UserError::InvalidFacetsDistribution { .. } => "invalid_search_facets",
        UserError::InvalidGeoField(_) => "invalid_document_geo_field",
        UserError::InvalidVectorDimensions { .. }
        | UserError::InvalidIndexingVectorDimensions { .. } => "invalid_vector_dimensions",
        UserError::InvalidVectorsMapType { .. } | UserError::InvalidVectorsEmbedderConf { .. } => {
            "invalid_vectors_type"
        }
        UserError::TooManyVectors(..) => "too_many_vectors",
        UserError::InvalidFilter(_)
        | UserError::InvalidFilterExpression(..)
        | UserError::FilterOperatorNotAllowed { .. } => "invalid_search_filter",
        UserError::InvalidSortableAttribute { .. }
        | UserError::SortRankingRuleMissing
        | UserError::SortError(SortError::InvalidName { .. })
        | UserError::SortError(_) => "invalid_search_sort",
        UserError::InvalidDistinctAttribute { .. } => "invalid_search_distinct",
        UserError::InvalidFacetSearchFacetName { .. } => "invalid_facet_search_facet_name",
        UserError::InvalidSearchableAttribute { .. } => "invalid_search_attributes_to_search_on",
        UserError::MaxDatabaseSizeReached => "database_size_limit_reached",
        UserError::NoPrimaryKeyCandidateFound => "index_primary_key_no_candidate_found",
        UserError::MultiplePrimaryKeyCandidatesFound { .. } => {
            "index_primary_key_multiple_candidates_found"
        }
        UserError::PrimaryKeyCannotBeChanged(_) => "index_primary_key_already_exists",
        UserError::NoSpaceLeftOnDevice => "no_space_left_on_device",
        UserError::InvalidMinTypoWordLenSetting(..) => "invalid_settings_typo_tolerance",
        UserError::VectorEmbeddingError(_) | UserError::DocumentEmbeddingError(_) => {
            "vector_embedding_error"
        }
        UserError::InvalidSearchEmbedder(_) => "invalid_search_embedder",
        UserError::InvalidSimilarEmbedder(_) => "invalid_similar_embedder",
        UserError::MissingDocumentField(_)
        | UserError::InvalidPrompt(_)
        | UserError::InvalidPromptForEmbeddings(..)
        | UserError::TooManyEmbedders(_)
        | UserError::InvalidFieldForSource { .. }
        | UserError::InvalidOpenAiModel { .. }
        | UserError::MissingFieldForSource { .. }
        | UserError::InvalidOpenAiModelDimensions { .. }
        | UserError::InvalidOpenAiModelDimensionsMax { .. }
        | UserError::InvalidSourceForNested { .. }
        | UserError::MissingSourceForNested { .. }
        | UserError::InvalidSettingsEmbedder { .. }
        | UserError::InvalidSettingsDimensions { .. }
        | UserError::InvalidDisableBinaryQuantization { .. }
        | UserError::InvalidSettingsDocumentTemplateMaxBytes { .. }
        | UserError::InvalidUrl { .. } => "invalid_settings_embedders",
        UserError::DocumentEditionCannotModifyPrimaryKey
        | UserError::DocumentEditionDocumentMustBeObject
        | UserError::DocumentEditionRuntimeError(_)
        | UserError::DocumentEditionCompilationError(_) => "edit_documents_by_function_error",
        UserError::InvalidStoreFile => "invalid_store_file",
        UserError::SerdeJson(_)
        | UserError::EnvAlreadyOpened
        | UserError::DocumentLimitReached
        | UserError::UnknownInternalDocumentId { .. } => return None,
    };
    Some(code)
}
