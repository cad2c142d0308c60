//! A checked patch, carried out in one transaction.

use super::form::{Faceting, Patch, TypoTolerance};
use crate::error::EngineError;
use milli_core::Index;
use milli_core::update::{IndexerConfig, Setting, Settings};

/// Calls the setter or the resetter of one setting, or neither.
macro_rules! put {
    ($builder:ident, $value:expr, $set:ident, $reset:ident) => {
        match $value {
            Setting::Set(value) => $builder.$set(value),
            Setting::Reset => $builder.$reset(),
            Setting::NotSet => (),
        }
    };
}

pub(super) fn apply(
    index: &Index,
    config: &IndexerConfig,
    patch: Patch,
) -> Result<(), EngineError> {
    let mut wtxn = index.write_txn()?;
    let mut builder = Settings::new(&mut wtxn, index, config);
    let Patch {
        displayed_attributes,
        searchable_attributes,
        filterable_attributes,
        sortable_attributes,
        ranking_rules,
        stop_words,
        non_separator_tokens,
        separator_tokens,
        dictionary,
        synonyms,
        distinct_attribute,
        proximity_precision,
        typo_tolerance,
        faceting,
        max_total_hits,
        embedders,
        search_cutoff_ms,
        localized_attributes,
        facet_search,
        prefix_search,
    } = patch;

    let displayed = star_resets(displayed_attributes);
    put!(
        builder,
        displayed,
        set_displayed_fields,
        reset_displayed_fields
    );
    let searchable = star_resets(searchable_attributes);
    put!(
        builder,
        searchable,
        set_searchable_fields,
        reset_searchable_fields
    );
    put!(
        builder,
        filterable_attributes,
        set_filterable_fields,
        reset_filterable_fields
    );
    put!(
        builder,
        sortable_attributes,
        set_sortable_fields,
        reset_sortable_fields
    );
    put!(builder, ranking_rules, set_criteria, reset_criteria);
    put!(builder, stop_words, set_stop_words, reset_stop_words);
    put!(
        builder,
        non_separator_tokens,
        set_non_separator_tokens,
        reset_non_separator_tokens
    );
    put!(
        builder,
        separator_tokens,
        set_separator_tokens,
        reset_separator_tokens
    );
    put!(builder, dictionary, set_dictionary, reset_dictionary);
    put!(builder, synonyms, set_synonyms, reset_synonyms);
    put!(
        builder,
        distinct_attribute,
        set_distinct_field,
        reset_distinct_field
    );
    put!(
        builder,
        proximity_precision,
        set_proximity_precision,
        reset_proximity_precision
    );
    put!(
        builder,
        max_total_hits,
        set_pagination_max_total_hits,
        reset_pagination_max_total_hits
    );
    put!(
        builder,
        embedders,
        set_embedder_settings,
        reset_embedder_settings
    );
    put!(
        builder,
        search_cutoff_ms,
        set_search_cutoff,
        reset_search_cutoff
    );
    put!(
        builder,
        localized_attributes,
        set_localized_attributes_rules,
        reset_localized_attributes_rules
    );
    put!(builder, facet_search, set_facet_search, reset_facet_search);
    put!(
        builder,
        prefix_search,
        set_prefix_search,
        reset_prefix_search
    );

    let TypoTolerance {
        enabled,
        one_typo,
        two_typos,
        disable_on_words,
        disable_on_attributes,
        disable_on_numbers,
    } = match typo_tolerance {
        Setting::Set(typos) => typos,
        Setting::Reset => TypoTolerance {
            enabled: Setting::Reset,
            one_typo: Setting::Reset,
            two_typos: Setting::Reset,
            disable_on_words: Setting::Reset,
            disable_on_attributes: Setting::Reset,
            disable_on_numbers: Setting::Reset,
        },
        Setting::NotSet => TypoTolerance::default(),
    };
    put!(builder, enabled, set_autorize_typos, reset_authorize_typos);
    put!(
        builder,
        one_typo,
        set_min_word_len_one_typo,
        reset_min_word_len_one_typo
    );
    put!(
        builder,
        two_typos,
        set_min_word_len_two_typos,
        reset_min_word_len_two_typos
    );
    put!(
        builder,
        disable_on_words,
        set_exact_words,
        reset_exact_words
    );
    put!(
        builder,
        disable_on_attributes,
        set_exact_attributes,
        reset_exact_attributes
    );
    put!(
        builder,
        disable_on_numbers,
        set_disable_on_numbers,
        reset_disable_on_numbers
    );

    let Faceting {
        max_values_per_facet,
        sort_facet_values_by,
    } = match faceting {
        Setting::Set(facets) => facets,
        Setting::Reset => Faceting {
            max_values_per_facet: Setting::Reset,
            sort_facet_values_by: Setting::Reset,
        },
        Setting::NotSet => Faceting::default(),
    };
    put!(
        builder,
        max_values_per_facet,
        set_max_values_per_facet,
        reset_max_values_per_facet
    );
    put!(
        builder,
        sort_facet_values_by,
        set_sort_facet_values_by,
        reset_sort_facet_values_by
    );

    builder.execute(|_| (), || false)?;
    wtxn.commit()?;
    Ok(())
}

/// A list with a `*` in it is the default.
fn star_resets(names: Setting<Vec<String>>) -> Setting<Vec<String>> {
    match names {
        Setting::Set(names) if names.iter().any(|name| name == "*") => Setting::Reset,
        other => other,
    }
}
