//! The table of error codes of Meilisearch 1.50: name, HTTP status, type.
//!
//! The table is long because the contract is; it is one idea, so it is one file. A code that a
//! newer node invents is not here and still reaches the client: see
//! [`crate::error::ResponseError::from_node`].

use std::fmt;

/// Whose fault an error is: the `type` of an error object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The client's request.
    InvalidRequest,
    /// The client's credentials.
    Auth,
    /// The server itself.
    Internal,
    /// What the server stands on: disk, files, remotes.
    System,
}

impl ErrorKind {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Auth => "auth",
            Self::Internal => "internal",
            Self::System => "system",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $status:literal, $kind:ident;)*) => {
        /// An error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = concat!("`", $name, "`")] $variant),* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The HTTP status an answer with this code has.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// Whose fault it is.
            #[must_use]
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind),* }
            }

            /// The code of that name; `None` for one this table does not know.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    // 401, Auth
    MissingAuthorizationHeader = "missing_authorization_header", 401, Auth;
    MissingMasterKey = "missing_master_key", 401, Auth;
    // 403, Auth
    InvalidApiKey = "invalid_api_key", 403, Auth;
    RemoteInvalidApiKey = "remote_invalid_api_key", 403, Auth;
    // 404, InvalidRequest
    ApiKeyNotFound = "api_key_not_found", 404, InvalidRequest;
    BatchNotFound = "batch_not_found", 404, InvalidRequest;
    ChatNotFound = "chat_not_found", 404, InvalidRequest;
    DocumentNotFound = "document_not_found", 404, InvalidRequest;
    DumpNotFound = "dump_not_found", 404, InvalidRequest;
    DynamicSearchRuleNotFound = "dynamic_search_rule_not_found", 404, InvalidRequest;
    IndexNotFound = "index_not_found", 404, InvalidRequest;
    RenderDocumentNotFound = "render_document_not_found", 404, InvalidRequest;
    TaskFileNotFound = "task_file_not_found", 404, InvalidRequest;
    TaskNotFound = "task_not_found", 404, InvalidRequest;
    WebhookNotFound = "webhook_not_found", 404, InvalidRequest;
    // 409, InvalidRequest
    ApiKeyAlreadyExists = "api_key_already_exists", 409, InvalidRequest;
    DumpAlreadyProcessing = "dump_already_processing", 409, InvalidRequest;
    IndexAlreadyExists = "index_already_exists", 409, InvalidRequest;
    // 412, InvalidRequest
    ImportTaskAlreadyReceived = "import_task_already_received", 412, InvalidRequest;
    ImportTaskUnknownRemote = "import_task_unknown_remote", 412, InvalidRequest;
    NetworkVersionMismatch = "network_version_mismatch", 412, InvalidRequest;
    ReceiveImportFinishedUnknownRemote = "receive_import_finished_unknown_remote", 412, InvalidRequest;
    // 413, InvalidRequest
    PayloadTooLarge = "payload_too_large", 413, InvalidRequest;
    // 415, InvalidRequest
    InvalidContentType = "invalid_content_type", 415, InvalidRequest;
    MissingContentType = "missing_content_type", 415, InvalidRequest;
    UnsupportedMediaType = "unsupported_media_type", 415, InvalidRequest;
    // 422, System
    IoError = "io_error", 422, System;
    NoSpaceLeftOnDevice = "no_space_left_on_device", 422, System;
    TooManyOpenFiles = "too_many_open_files", 422, System;
    // 451, InvalidRequest
    RequiresEnterpriseEdition = "requires_enterprise_edition", 451, InvalidRequest;
    // 500, Internal
    DatabaseSizeLimitReached = "database_size_limit_reached", 500, Internal;
    DumpProcessFailed = "dump_process_failed", 500, Internal;
    IndexCreationFailed = "index_creation_failed", 500, Internal;
    Internal = "internal", 500, Internal;
    InvalidState = "invalid_state", 500, Internal;
    InvalidStoreFile = "invalid_store_file", 500, Internal;
    // 501, InvalidRequest
    UnimplementedExternalFunctionCalling = "unimplemented_external_function_calling", 501, InvalidRequest;
    UnimplementedMultiChoiceChatCompletions = "unimplemented_multi_choice_chat_completions", 501, InvalidRequest;
    UnimplementedNonStreamingChatCompletions = "unimplemented_non_streaming_chat_completions", 501, InvalidRequest;
    // 502, System
    RemoteBadResponse = "remote_bad_response", 502, System;
    RemoteCouldNotSendRequest = "remote_could_not_send_request", 502, System;
    RemoteRemoteError = "remote_remote_error", 502, System;
    RemoteTimeout = "remote_timeout", 502, System;
    // 502, Internal
    S3SnapshotServerError = "s_3_snapshot_server_error", 502, Internal;
    // 503, System
    TooManySearchRequests = "too_many_search_requests", 503, System;
    // 503, InvalidRequest
    ImportTaskWithoutNetworkTask = "import_task_without_network_task", 503, InvalidRequest;
    // 400, Internal
    UnretrievableDocument = "unretrievable_document", 400, Internal;
    InvalidS3SnapshotRequest = "invalid_s_3_snapshot_request", 400, Internal;
    InvalidS3SnapshotParameters = "invalid_s_3_snapshot_parameters", 400, Internal;
    // 400: general
    BadParameter = "bad_parameter", 400, InvalidRequest;
    BadRequest = "bad_request", 400, InvalidRequest;
    MalformedPayload = "malformed_payload", 400, InvalidRequest;
    MissingPayload = "missing_payload", 400, InvalidRequest;
    FeatureNotEnabled = "feature_not_enabled", 400, InvalidRequest;
    InvalidHeaderValue = "invalid_header_value", 400, InvalidRequest;
    InconsistentDocumentChangeHeaders = "inconsistent_document_change_headers", 400, InvalidRequest;
    UnretrievableErrorCode = "unretrievable_error_code", 400, InvalidRequest;
    // 400: keys
    InvalidApiKeyActions = "invalid_api_key_actions", 400, InvalidRequest;
    InvalidApiKeyDescription = "invalid_api_key_description", 400, InvalidRequest;
    InvalidApiKeyExpiresAt = "invalid_api_key_expires_at", 400, InvalidRequest;
    InvalidApiKeyIndexes = "invalid_api_key_indexes", 400, InvalidRequest;
    InvalidApiKeyLimit = "invalid_api_key_limit", 400, InvalidRequest;
    InvalidApiKeyName = "invalid_api_key_name", 400, InvalidRequest;
    InvalidApiKeyOffset = "invalid_api_key_offset", 400, InvalidRequest;
    InvalidApiKeyUid = "invalid_api_key_uid", 400, InvalidRequest;
    MissingApiKeyActions = "missing_api_key_actions", 400, InvalidRequest;
    MissingApiKeyExpiresAt = "missing_api_key_expires_at", 400, InvalidRequest;
    MissingApiKeyIndexes = "missing_api_key_indexes", 400, InvalidRequest;
    ImmutableApiKeyActions = "immutable_api_key_actions", 400, InvalidRequest;
    ImmutableApiKeyCreatedAt = "immutable_api_key_created_at", 400, InvalidRequest;
    ImmutableApiKeyExpiresAt = "immutable_api_key_expires_at", 400, InvalidRequest;
    ImmutableApiKeyIndexes = "immutable_api_key_indexes", 400, InvalidRequest;
    ImmutableApiKeyKey = "immutable_api_key_key", 400, InvalidRequest;
    ImmutableApiKeyUid = "immutable_api_key_uid", 400, InvalidRequest;
    ImmutableApiKeyUpdatedAt = "immutable_api_key_updated_at", 400, InvalidRequest;
    IndexScopedApiKeyWithGlobalAction = "index_scoped_api_key_with_global_action", 400, InvalidRequest;
    // 400: indexes
    InvalidIndexUid = "invalid_index_uid", 400, InvalidRequest;
    InvalidIndexLimit = "invalid_index_limit", 400, InvalidRequest;
    InvalidIndexOffset = "invalid_index_offset", 400, InvalidRequest;
    InvalidIndexPrimaryKey = "invalid_index_primary_key", 400, InvalidRequest;
    InvalidIndexCustomMetadata = "invalid_index_custom_metadata", 400, InvalidRequest;
    MissingIndexUid = "missing_index_uid", 400, InvalidRequest;
    ImmutableIndexCreatedAt = "immutable_index_created_at", 400, InvalidRequest;
    ImmutableIndexUpdatedAt = "immutable_index_updated_at", 400, InvalidRequest;
    IndexPrimaryKeyAlreadyExists = "index_primary_key_already_exists", 400, InvalidRequest;
    IndexPrimaryKeyMultipleCandidatesFound = "index_primary_key_multiple_candidates_found", 400, InvalidRequest;
    IndexPrimaryKeyNoCandidateFound = "index_primary_key_no_candidate_found", 400, InvalidRequest;
    DuplicateIndexFound = "duplicate_index_found", 400, InvalidRequest;
    InvalidSwapIndexes = "invalid_swap_indexes", 400, InvalidRequest;
    InvalidSwapRename = "invalid_swap_rename", 400, InvalidRequest;
    InvalidSwapDuplicateIndexFound = "invalid_swap_duplicate_index_found", 400, InvalidRequest;
    MissingSwapIndexes = "missing_swap_indexes", 400, InvalidRequest;
    InvalidIndexFieldsFilter = "invalid_index_fields_filter", 400, InvalidRequest;
    InvalidIndexFieldsFilterAttributePatterns = "invalid_index_fields_filter_attribute_patterns", 400, InvalidRequest;
    InvalidIndexFieldsFilterDisplayed = "invalid_index_fields_filter_displayed", 400, InvalidRequest;
    InvalidIndexFieldsFilterSearchable = "invalid_index_fields_filter_searchable", 400, InvalidRequest;
    InvalidIndexFieldsFilterSortable = "invalid_index_fields_filter_sortable", 400, InvalidRequest;
    InvalidIndexFieldsFilterDistinct = "invalid_index_fields_filter_distinct", 400, InvalidRequest;
    InvalidIndexFieldsFilterRankingRule = "invalid_index_fields_filter_ranking_rule", 400, InvalidRequest;
    InvalidIndexFieldsFilterFilterable = "invalid_index_fields_filter_filterable", 400, InvalidRequest;
    InvalidStatsShowInternalDatabaseSizes = "invalid_stats_show_internal_database_sizes", 400, InvalidRequest;
    InvalidStatsSizeFormat = "invalid_stats_size_format", 400, InvalidRequest;
    // 400: documents
    InvalidDocumentId = "invalid_document_id", 400, InvalidRequest;
    InvalidDocumentIds = "invalid_document_ids", 400, InvalidRequest;
    InvalidDocumentFields = "invalid_document_fields", 400, InvalidRequest;
    InvalidDocumentLimit = "invalid_document_limit", 400, InvalidRequest;
    InvalidDocumentOffset = "invalid_document_offset", 400, InvalidRequest;
    InvalidDocumentFilter = "invalid_document_filter", 400, InvalidRequest;
    InvalidDocumentSort = "invalid_document_sort", 400, InvalidRequest;
    InvalidDocumentRetrieveVectors = "invalid_document_retrieve_vectors", 400, InvalidRequest;
    InvalidDocumentUseNetwork = "invalid_document_use_network", 400, InvalidRequest;
    InvalidDocumentCsvDelimiter = "invalid_document_csv_delimiter", 400, InvalidRequest;
    InvalidDocumentGeoField = "invalid_document_geo_field", 400, InvalidRequest;
    InvalidDocumentGeojsonField = "invalid_document_geojson_field", 400, InvalidRequest;
    InvalidDocumentEditionContext = "invalid_document_edition_context", 400, InvalidRequest;
    InvalidDocumentEditionFunctionFilter = "invalid_document_edition_function_filter", 400, InvalidRequest;
    MissingDocumentId = "missing_document_id", 400, InvalidRequest;
    MissingDocumentFilter = "missing_document_filter", 400, InvalidRequest;
    MissingDocumentEditionFunction = "missing_document_edition_function", 400, InvalidRequest;
    InvalidSkipCreation = "invalid_skip_creation", 400, InvalidRequest;
    MaxFieldsLimitExceeded = "max_fields_limit_exceeded", 400, InvalidRequest;
    EditDocumentsByFunctionError = "edit_documents_by_function_error", 400, InvalidRequest;
    InvalidVectorsType = "invalid_vectors_type", 400, InvalidRequest;
    InvalidVectorDimensions = "invalid_vector_dimensions", 400, InvalidRequest;
    TooManyVectors = "too_many_vectors", 400, InvalidRequest;
    VectorEmbeddingError = "vector_embedding_error", 400, InvalidRequest;
    // 400: search
    InvalidSearchQ = "invalid_search_q", 400, InvalidRequest;
    InvalidSearchOffset = "invalid_search_offset", 400, InvalidRequest;
    InvalidSearchLimit = "invalid_search_limit", 400, InvalidRequest;
    InvalidSearchPage = "invalid_search_page", 400, InvalidRequest;
    InvalidSearchHitsPerPage = "invalid_search_hits_per_page", 400, InvalidRequest;
    InvalidSearchFilter = "invalid_search_filter", 400, InvalidRequest;
    InvalidSearchSort = "invalid_search_sort", 400, InvalidRequest;
    InvalidSearchDistinct = "invalid_search_distinct", 400, InvalidRequest;
    InvalidSearchFacets = "invalid_search_facets", 400, InvalidRequest;
    InvalidSearchMatchingStrategy = "invalid_search_matching_strategy", 400, InvalidRequest;
    InvalidSearchAttributesToRetrieve = "invalid_search_attributes_to_retrieve", 400, InvalidRequest;
    InvalidSearchAttributesToCrop = "invalid_search_attributes_to_crop", 400, InvalidRequest;
    InvalidSearchAttributesToHighlight = "invalid_search_attributes_to_highlight", 400, InvalidRequest;
    InvalidSearchAttributesToSearchOn = "invalid_search_attributes_to_search_on", 400, InvalidRequest;
    InvalidSearchCropLength = "invalid_search_crop_length", 400, InvalidRequest;
    InvalidSearchCropMarker = "invalid_search_crop_marker", 400, InvalidRequest;
    InvalidSearchHighlightPreTag = "invalid_search_highlight_pre_tag", 400, InvalidRequest;
    InvalidSearchHighlightPostTag = "invalid_search_highlight_post_tag", 400, InvalidRequest;
    InvalidSearchShowMatchesPosition = "invalid_search_show_matches_position", 400, InvalidRequest;
    InvalidSearchShowRankingScore = "invalid_search_show_ranking_score", 400, InvalidRequest;
    InvalidSearchShowRankingScoreDetails = "invalid_search_show_ranking_score_details", 400, InvalidRequest;
    InvalidSearchShowPerformanceDetails = "invalid_search_show_performance_details", 400, InvalidRequest;
    InvalidSearchRankingScoreThreshold = "invalid_search_ranking_score_threshold", 400, InvalidRequest;
    InvalidSearchRetrieveVectors = "invalid_search_retrieve_vectors", 400, InvalidRequest;
    InvalidSearchVector = "invalid_search_vector", 400, InvalidRequest;
    InvalidSearchMedia = "invalid_search_media", 400, InvalidRequest;
    InvalidSearchMediaAndVector = "invalid_search_media_and_vector", 400, InvalidRequest;
    InvalidSearchHybridQuery = "invalid_search_hybrid_query", 400, InvalidRequest;
    InvalidSearchSemanticRatio = "invalid_search_semantic_ratio", 400, InvalidRequest;
    InvalidSearchEmbedder = "invalid_search_embedder", 400, InvalidRequest;
    InvalidSearchLocales = "invalid_search_locales", 400, InvalidRequest;
    InvalidSearchPersonalize = "invalid_search_personalize", 400, InvalidRequest;
    InvalidSearchPersonalizeUserContext = "invalid_search_personalize_user_context", 400, InvalidRequest;
    InvalidSearchUseNetwork = "invalid_search_use_network", 400, InvalidRequest;
    MissingSearchHybrid = "missing_search_hybrid", 400, InvalidRequest;
    // 400: facet search
    InvalidFacetSearchFacetName = "invalid_facet_search_facet_name", 400, InvalidRequest;
    InvalidFacetSearchQuery = "invalid_facet_search_query", 400, InvalidRequest;
    InvalidFacetSearchName = "invalid_facet_search_name", 400, InvalidRequest;
    InvalidFacetSearchExhaustiveFacetCount = "invalid_facet_search_exhaustive_facet_count", 400, InvalidRequest;
    MissingFacetSearchFacetName = "missing_facet_search_facet_name", 400, InvalidRequest;
    FacetSearchDisabled = "facet_search_disabled", 400, InvalidRequest;
    // 400: similar
    InvalidSimilarId = "invalid_similar_id", 400, InvalidRequest;
    InvalidSimilarEmbedder = "invalid_similar_embedder", 400, InvalidRequest;
    InvalidSimilarLimit = "invalid_similar_limit", 400, InvalidRequest;
    InvalidSimilarOffset = "invalid_similar_offset", 400, InvalidRequest;
    InvalidSimilarFilter = "invalid_similar_filter", 400, InvalidRequest;
    InvalidSimilarAttributesToRetrieve = "invalid_similar_attributes_to_retrieve", 400, InvalidRequest;
    InvalidSimilarRetrieveVectors = "invalid_similar_retrieve_vectors", 400, InvalidRequest;
    InvalidSimilarRankingScoreThreshold = "invalid_similar_ranking_score_threshold", 400, InvalidRequest;
    InvalidSimilarShowRankingScore = "invalid_similar_show_ranking_score", 400, InvalidRequest;
    InvalidSimilarShowRankingScoreDetails = "invalid_similar_show_ranking_score_details", 400, InvalidRequest;
    InvalidSimilarShowPerformanceDetails = "invalid_similar_show_performance_details", 400, InvalidRequest;
    NotFoundSimilarId = "not_found_similar_id", 400, InvalidRequest;
    // 400: multi-search
    InvalidMultiSearchFederated = "invalid_multi_search_federated", 400, InvalidRequest;
    InvalidMultiSearchFederationOptions = "invalid_multi_search_federation_options", 400, InvalidRequest;
    InvalidMultiSearchWeight = "invalid_multi_search_weight", 400, InvalidRequest;
    InvalidMultiSearchRemote = "invalid_multi_search_remote", 400, InvalidRequest;
    InvalidMultiSearchQueryPosition = "invalid_multi_search_query_position", 400, InvalidRequest;
    InvalidMultiSearchFacets = "invalid_multi_search_facets", 400, InvalidRequest;
    InvalidMultiSearchFacetsByIndex = "invalid_multi_search_facets_by_index", 400, InvalidRequest;
    InvalidMultiSearchFacetOrder = "invalid_multi_search_facet_order", 400, InvalidRequest;
    InvalidMultiSearchMergeFacets = "invalid_multi_search_merge_facets", 400, InvalidRequest;
    InvalidMultiSearchMaxValuesPerFacet = "invalid_multi_search_max_values_per_facet", 400, InvalidRequest;
    InvalidMultiSearchDistinct = "invalid_multi_search_distinct", 400, InvalidRequest;
    InvalidMultiSearchQueryFacets = "invalid_multi_search_query_facets", 400, InvalidRequest;
    InvalidMultiSearchQueryPagination = "invalid_multi_search_query_pagination", 400, InvalidRequest;
    InvalidMultiSearchQueryPersonalization = "invalid_multi_search_query_personalization", 400, InvalidRequest;
    InvalidMultiSearchQueryRankingRules = "invalid_multi_search_query_ranking_rules", 400, InvalidRequest;
    InvalidMultiSearchQueryShowPerformanceDetails = "invalid_multi_search_query_show_performance_details", 400, InvalidRequest;
    // 400: settings
    InvalidSettingsDisplayedAttributes = "invalid_settings_displayed_attributes", 400, InvalidRequest;
    InvalidSettingsSearchableAttributes = "invalid_settings_searchable_attributes", 400, InvalidRequest;
    InvalidSettingsFilterableAttributes = "invalid_settings_filterable_attributes", 400, InvalidRequest;
    InvalidSettingsSortableAttributes = "invalid_settings_sortable_attributes", 400, InvalidRequest;
    InvalidSettingsRankingRules = "invalid_settings_ranking_rules", 400, InvalidRequest;
    InvalidSettingsDistinctAttribute = "invalid_settings_distinct_attribute", 400, InvalidRequest;
    InvalidSettingsStopWords = "invalid_settings_stop_words", 400, InvalidRequest;
    InvalidSettingsNonSeparatorTokens = "invalid_settings_non_separator_tokens", 400, InvalidRequest;
    InvalidSettingsSeparatorTokens = "invalid_settings_separator_tokens", 400, InvalidRequest;
    InvalidSettingsDictionary = "invalid_settings_dictionary", 400, InvalidRequest;
    InvalidSettingsSynonyms = "invalid_settings_synonyms", 400, InvalidRequest;
    InvalidSettingsTypoTolerance = "invalid_settings_typo_tolerance", 400, InvalidRequest;
    InvalidSettingsProximityPrecision = "invalid_settings_proximity_precision", 400, InvalidRequest;
    InvalidSettingsFaceting = "invalid_settings_faceting", 400, InvalidRequest;
    InvalidSettingsPagination = "invalid_settings_pagination", 400, InvalidRequest;
    InvalidSettingsSearchCutoffMs = "invalid_settings_search_cutoff_ms", 400, InvalidRequest;
    InvalidSettingsEmbedders = "invalid_settings_embedders", 400, InvalidRequest;
    InvalidSettingsLocalizedAttributes = "invalid_settings_localized_attributes", 400, InvalidRequest;
    InvalidSettingsFacetSearch = "invalid_settings_facet_search", 400, InvalidRequest;
    InvalidSettingsPrefixSearch = "invalid_settings_prefix_search", 400, InvalidRequest;
    InvalidSettingsForeignKeys = "invalid_settings_foreign_keys", 400, InvalidRequest;
    InvalidSettingsIndexChat = "invalid_settings_index_chat", 400, InvalidRequest;
    // 400: tasks
    InvalidTaskUids = "invalid_task_uids", 400, InvalidRequest;
    InvalidTaskTypes = "invalid_task_types", 400, InvalidRequest;
    InvalidTaskStatuses = "invalid_task_statuses", 400, InvalidRequest;
    InvalidTaskCanceledBy = "invalid_task_canceled_by", 400, InvalidRequest;
    InvalidTaskLimit = "invalid_task_limit", 400, InvalidRequest;
    InvalidTaskFrom = "invalid_task_from", 400, InvalidRequest;
    InvalidTaskReverse = "invalid_task_reverse", 400, InvalidRequest;
    InvalidTaskBeforeEnqueuedAt = "invalid_task_before_enqueued_at", 400, InvalidRequest;
    InvalidTaskAfterEnqueuedAt = "invalid_task_after_enqueued_at", 400, InvalidRequest;
    InvalidTaskBeforeStartedAt = "invalid_task_before_started_at", 400, InvalidRequest;
    InvalidTaskAfterStartedAt = "invalid_task_after_started_at", 400, InvalidRequest;
    InvalidTaskBeforeFinishedAt = "invalid_task_before_finished_at", 400, InvalidRequest;
    InvalidTaskAfterFinishedAt = "invalid_task_after_finished_at", 400, InvalidRequest;
    InvalidBatchUids = "invalid_batch_uids", 400, InvalidRequest;
    MissingTaskFilters = "missing_task_filters", 400, InvalidRequest;
    // 400: webhooks
    InvalidWebhooks = "invalid_webhooks", 400, InvalidRequest;
    InvalidWebhookUrl = "invalid_webhook_url", 400, InvalidRequest;
    InvalidWebhookHeaders = "invalid_webhook_headers", 400, InvalidRequest;
    InvalidWebhookUuid = "invalid_webhook_uuid", 400, InvalidRequest;
    ImmutableWebhook = "immutable_webhook", 400, InvalidRequest;
    ImmutableWebhookUuid = "immutable_webhook_uuid", 400, InvalidRequest;
    ImmutableWebhookIsEditable = "immutable_webhook_is_editable", 400, InvalidRequest;
    // 400: network
    InvalidNetworkLeader = "invalid_network_leader", 400, InvalidRequest;
    InvalidNetworkRemotes = "invalid_network_remotes", 400, InvalidRequest;
    InvalidNetworkShards = "invalid_network_shards", 400, InvalidRequest;
    InvalidNetworkSelf = "invalid_network_self", 400, InvalidRequest;
    InvalidNetworkUrl = "invalid_network_url", 400, InvalidRequest;
    InvalidNetworkSearchApiKey = "invalid_network_search_api_key", 400, InvalidRequest;
    InvalidNetworkWriteApiKey = "invalid_network_write_api_key", 400, InvalidRequest;
    MissingNetworkUrl = "missing_network_url", 400, InvalidRequest;
    NotLeader = "not_leader", 400, InvalidRequest;
    UnknownRemote = "unknown_remote", 400, InvalidRequest;
    RemoteBadRequest = "remote_bad_request", 400, InvalidRequest;
    UnexpectedNetworkPreviousRemotes = "unexpected_network_previous_remotes", 400, InvalidRequest;
    NetworkVersionTooOld = "network_version_too_old", 400, InvalidRequest;
    UnprocessedNetworkTask = "unprocessed_network_task", 400, InvalidRequest;
    // 400: export
    InvalidExportUrl = "invalid_export_url", 400, InvalidRequest;
    InvalidExportApiKey = "invalid_export_api_key", 400, InvalidRequest;
    InvalidExportPayloadSize = "invalid_export_payload_size", 400, InvalidRequest;
    InvalidExportIndexesPatterns = "invalid_export_indexes_patterns", 400, InvalidRequest;
    InvalidExportIndexFilter = "invalid_export_index_filter", 400, InvalidRequest;
    InvalidExportIndexOverrideSettings = "invalid_export_index_override_settings", 400, InvalidRequest;
    // 400: chat
    InvalidChatCompletionOrgId = "invalid_chat_completion_org_id", 400, InvalidRequest;
    InvalidChatCompletionProjectId = "invalid_chat_completion_project_id", 400, InvalidRequest;
    InvalidChatCompletionApiVersion = "invalid_chat_completion_api_version", 400, InvalidRequest;
    InvalidChatCompletionDeploymentId = "invalid_chat_completion_deployment_id", 400, InvalidRequest;
    InvalidChatCompletionSource = "invalid_chat_completion_source", 400, InvalidRequest;
    InvalidChatCompletionBaseApi = "invalid_chat_completion_base_api", 400, InvalidRequest;
    InvalidChatCompletionApiKey = "invalid_chat_completion_api_key", 400, InvalidRequest;
    InvalidChatCompletionPrompts = "invalid_chat_completion_prompts", 400, InvalidRequest;
    InvalidChatCompletionSystemPrompt = "invalid_chat_completion_system_prompt", 400, InvalidRequest;
    InvalidChatCompletionSearchDescriptionPrompt = "invalid_chat_completion_search_description_prompt", 400, InvalidRequest;
    InvalidChatCompletionSearchQueryParamPrompt = "invalid_chat_completion_search_query_param_prompt", 400, InvalidRequest;
    InvalidChatCompletionSearchFilterParamPrompt = "invalid_chat_completion_search_filter_param_prompt", 400, InvalidRequest;
    InvalidChatCompletionSearchIndexUidParamPrompt = "invalid_chat_completion_search_index_uid_param_prompt", 400, InvalidRequest;
    InvalidChatCompletionPreQueryPrompt = "invalid_chat_completion_pre_query_prompt", 400, InvalidRequest;
    InvalidChatSettingDocumentTemplate = "invalid_chat_setting_document_template", 400, InvalidRequest;
    // 400: rules and templates
    InvalidDynamicSearchRuleOffset = "invalid_dynamic_search_rule_offset", 400, InvalidRequest;
    InvalidDynamicSearchRuleLimit = "invalid_dynamic_search_rule_limit", 400, InvalidRequest;
    InvalidDynamicSearchRuleFilter = "invalid_dynamic_search_rule_filter", 400, InvalidRequest;
    InvalidDynamicSearchRuleFilterQuery = "invalid_dynamic_search_rule_filter_query", 400, InvalidRequest;
    InvalidDynamicSearchRuleFilterActive = "invalid_dynamic_search_rule_filter_active", 400, InvalidRequest;
    InvalidDynamicSearchRuleDescription = "invalid_dynamic_search_rule_description", 400, InvalidRequest;
    InvalidDynamicSearchRulePriority = "invalid_dynamic_search_rule_priority", 400, InvalidRequest;
    InvalidDynamicSearchRuleActive = "invalid_dynamic_search_rule_active", 400, InvalidRequest;
    InvalidDynamicSearchRuleConditions = "invalid_dynamic_search_rule_conditions", 400, InvalidRequest;
    InvalidDynamicSearchRuleActions = "invalid_dynamic_search_rule_actions", 400, InvalidRequest;
    InvalidRenderTemplate = "invalid_render_template", 400, InvalidRequest;
    InvalidRenderInput = "invalid_render_input", 400, InvalidRequest;
    TemplateParsingError = "template_parsing_error", 400, InvalidRequest;
    TemplateRenderingError = "template_rendering_error", 400, InvalidRequest;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_found_by_its_name_and_names_are_unique() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(*code));
        }
        assert_eq!(Code::from_name("of_a_newer_version"), None);
    }

    #[test]
    fn statuses_and_types_are_those_of_the_contract() {
        let check = |code: Code, status: u16, kind: &str| {
            assert_eq!(
                (code.status(), code.kind().as_str()),
                (status, kind),
                "{code}"
            );
        };
        check(Code::MissingAuthorizationHeader, 401, "auth");
        check(Code::InvalidApiKey, 403, "auth");
        check(Code::IndexNotFound, 404, "invalid_request");
        check(Code::IndexAlreadyExists, 409, "invalid_request");
        check(Code::PayloadTooLarge, 413, "invalid_request");
        check(Code::NoSpaceLeftOnDevice, 422, "system");
        check(Code::Internal, 500, "internal");
        check(Code::RemoteTimeout, 502, "system");
        check(Code::TooManySearchRequests, 503, "system");
        check(Code::InvalidSearchFilter, 400, "invalid_request");
    }
}
