use super::*;
use serde_json::json;

const NONE: OpenFeatures = OpenFeatures {
    composite_embedders: false,
    multimodal: false,
};

fn check_all(body: &Value) -> Result<Map<String, Value>, ResponseError> {
    let checked = check_settings(body, NONE)?;
    checked.get(EMBEDDERS).map_or(Ok(()), check_embedders)?;
    Ok(checked)
}

/// Checks a value on the whole route and on its own; both must refuse it with these words.
fn refuse(name: &str, wrong: Value, expected: &str, found: &str) {
    let setting = SETTINGS
        .iter()
        .find(|setting| setting.name == name)
        .expect("it exists");
    let error = setting.check(&wrong, NONE).expect_err("the value is wrong");
    assert_eq!(
        error.message,
        format!("Invalid value type: expected {expected}, but found {found}")
    );
    assert_eq!(&*error.code, setting.code.name());
    let error = check_all(&json!({ name: wrong })).expect_err("the value is wrong");
    assert_eq!(
        error.message,
        format!("Invalid value type at `.{name}`: expected {expected}, but found {found}")
    );
    assert_eq!(&*error.code, setting.code.name());
}

#[test]
fn wrong_types_are_refused_with_the_code_of_their_setting() {
    let doggo = "a string: `\"doggo\"`";
    for name in [
        "displayedAttributes",
        "searchableAttributes",
        "filterableAttributes",
        "sortableAttributes",
        "rankingRules",
        "stopWords",
        "nonSeparatorTokens",
        "separatorTokens",
        "dictionary",
        "localizedAttributes",
    ] {
        refuse(name, json!("doggo"), "an array", doggo);
    }
    for name in [
        "synonyms",
        "typoTolerance",
        "faceting",
        "pagination",
        "embedders",
    ] {
        refuse(name, json!("doggo"), "an object", doggo);
    }
    refuse(
        "distinctAttribute",
        json!(["doggo"]),
        "a string",
        "an array: `[\"doggo\"]`",
    );
    refuse(
        "searchCutoffMs",
        json!("doggo"),
        "a positive integer",
        doggo,
    );
    refuse("facetSearch", json!("doggo"), "a boolean", doggo);
    refuse(
        "prefixSearch",
        json!(1),
        "a string",
        "a positive integer: `1`",
    );
    refuse(
        "proximityPrecision",
        json!(1),
        "a string",
        "a positive integer: `1`",
    );
}

fn message(body: Value) -> String {
    check_all(&body)
        .expect_err("the settings are wrong")
        .message
}

#[test]
fn wrong_values_are_refused_in_meilisearch_words() {
    assert_eq!(
        message(json!({"pagination": {"maxTotalHits": 0}})),
        "Invalid value at `.pagination.maxTotalHits`: a non-zero integer value lower than \
         `18446744073709551615` was expected, but found a zero"
    );
    assert_eq!(
        message(json!({"typoTolerance": {"minWordSizeForTypos": "doggo"}})),
        "Invalid value type at `.typoTolerance.minWordSizeForTypos`: expected an object, but \
         found a string: `\"doggo\"`"
    );
    assert_eq!(
        message(json!({"typoTolerance": {"minWordSizeForTypos": {"oneTypo": 9, "twoTypos": 5}}})),
        "Invalid value at `.typoTolerance.minWordSizeForTypos`: `minWordSizeForTypos` setting \
         is invalid. `oneTypo` and `twoTypos` fields should be between `0` and `255`, and \
         `twoTypos` should be greater or equals to `oneTypo` but found `oneTypo: 9` and \
         twoTypos: 5`."
    );
    assert_eq!(
        message(json!({"rankingRules": ["manyTheFish"]})),
        "Invalid value at `.rankingRules[0]`: `manyTheFish` ranking rule is invalid. Valid \
         ranking rules are words, typo, sort, proximity, attribute, exactness and custom \
         ranking rules."
    );
    assert_eq!(
        message(json!({"rankingRules": ["attribute", "wordPosition"]})),
        "Mixed usage of the attribute, attributeRank, and wordPosition ranking rules. You must \
         either use the attribute ranking rule alone or the attributeRank and wordPosition \
         ranking rules."
    );
    assert_eq!(
        message(json!({"rankingRules": ["_geoPoint(1,2):asc"]})),
        "Invalid value at `.rankingRules[0]`: `_geoPoint` is a reserved keyword and thus can't \
         be used as a ranking rule. `_geoPoint` can only be used for sorting at search time"
    );
    assert_eq!(
        message(json!({"faceting": {"sortFacetValuesBy": {"genre": "size"}}})),
        "Unknown value `size` at `.faceting.sortFacetValuesBy.genre`: expected one of `alpha`, \
         `count`"
    );
    assert_eq!(
        message(json!({"localizedAttributes": [{"locales": ["jpn"]}]})),
        "Missing field `attributePatterns` inside `.localizedAttributes[0]`"
    );
    assert!(
        message(json!({"rankingRule": []}))
            .starts_with("Unknown field `rankingRule`: did you mean `rankingRules`? expected")
    );
}

#[test]
fn an_unknown_member_of_a_setting_has_the_code_of_the_setting() {
    let setting = Setting::from_route("typo-tolerance").expect("it exists");
    let error = setting
        .check(&json!({"typoTolerance": {}}), NONE)
        .expect_err("unknown member");
    assert_eq!(
        error.message,
        "Unknown field `typoTolerance`: expected one of `enabled`, `minWordSizeForTypos`, \
         `disableOnWords`, `disableOnAttributes`, `disableOnNumbers`"
    );
    assert_eq!(&*error.code, "invalid_settings_typo_tolerance");
}

#[test]
fn checked_settings_are_in_the_form_they_are_kept_in() {
    let checked = check_all(&json!({
        "stopWords": ["the", "a", "the"],
        "searchableAttributes": ["b", "a"],
        "filterableAttributes": ["x", {"attributePatterns": ["y*"]}],
        "distinctAttribute": null,
        "typoTolerance": {"enabled": null, "disableOnWords": ["b", "a"]},
    }))
    .expect("the settings are right");
    assert_eq!(
        Value::Object(checked),
        json!({
            "stopWords": ["a", "the"],
            "searchableAttributes": ["b", "a"],
            "filterableAttributes": ["x", {
                "attributePatterns": ["y*"],
                "features": {
                    "facetSearch": false,
                    "filter": {"equality": true, "comparison": false},
                },
            }],
            "distinctAttribute": null,
            "typoTolerance": {"enabled": null, "disableOnWords": ["a", "b"]},
        })
    );
}

#[test]
fn embedders_accept_only_the_fields_of_their_source() {
    assert_eq!(
        message(json!({"embedders": {"manual": {
            "source": "userProvided", "dimensions": 3, "documentTemplate": "x",
        }}})),
        "`.embedders.manual`: Field `documentTemplate` unavailable for source \
         `userProvided`.\n  - note: `documentTemplate` is available for sources: `openAi`, \
         `huggingFace`, `ollama`, `rest`\n  - note: available fields for source \
         `userProvided`: `source`, `dimensions`, `distribution`, `binaryQuantized`"
    );
    assert_eq!(
        message(json!({"embedders": {"manual": {"source": "userProvided"}}})),
        "`.embedders.manual`: Missing field `dimensions` (note: this field is mandatory for \
         source `userProvided`)"
    );
    let embedder = |fields: Value| message(json!({"embedders": {"e": fields}}));
    assert_eq!(
        embedder(json!({"source": "userProvided", "dimensions": 0, "model": "x"})),
        "`.embedders.e.dimensions`: `dimensions` cannot be zero"
    );
    assert_eq!(
        embedder(json!({"source": "rest", "url": "nope", "request": {}, "response": {}})),
        "`.embedders.e.url`: could not parse `nope`: relative URL without a base"
    );
    assert_eq!(
        embedder(json!({"source": "openAi", "model": "doggo"})),
        "`.embedders.e.model`: Invalid model `doggo` for OpenAI. Supported models: \
         [\"text-embedding-ada-002\", \"text-embedding-3-small\", \"text-embedding-3-large\"]"
    );
    assert_eq!(
        embedder(json!({"source": "openAi", "model": "text-embedding-ada-002", "dimensions": 3})),
        "`.embedders.e.dimensions`: Model `text-embedding-ada-002` does not support overriding \
         its native dimensions of 1536. Found 3"
    );
    let error = check_all(&json!({"embedders": {"a": {"source": "composite"}}}))
        .expect_err("the feature is off");
    assert_eq!(&*error.code, "feature_not_enabled");
    assert_eq!(
        message(json!({"embedders": {"a": {"source": "doggo"}}})),
        "Unknown value `doggo` at `.embedders.a.source`: expected one of `openAi`, \
         `huggingFace`, `ollama`, `userProvided`, `rest`, `composite`"
    );
    let right = json!({"embedders": {
        "a": {"source": "userProvided", "dimensions": 3, "distribution": {"mean": 0.5, "sigma": 1}},
        "b": {"source": "rest", "url": "http://x", "request": {}, "response": {}},
        "c": null,
        "d": {"documentTemplate": "only this changes"},
    }});
    assert_eq!(check_all(&right).map(Value::Object), Ok(right));
}

#[test]
fn embedders_need_the_features_they_use() {
    let refusal = |embedders: Value, open: OpenFeatures| {
        let checked = check_settings(&json!({ "embedders": embedders }), open);
        checked.err().map(|error| error.message)
    };
    let parts = OpenFeatures {
        composite_embedders: true,
        multimodal: false,
    };
    let pieces = OpenFeatures {
        composite_embedders: false,
        multimodal: true,
    };
    // By their names, whatever the order in the request.
    let both = json!({
        "z": {"source": "composite"}, "a": {"searchFragments": {}}, "b": {"source": "rest"},
    });
    let start = |message: Option<String>| {
        message.and_then(|text| text.split(" requires").next().map(str::to_owned))
    };
    let media = Some("setting `searchFragments`".to_owned());
    assert_eq!(start(refusal(both.clone(), NONE)), media);
    assert_eq!(start(refusal(both.clone(), parts)), media);
    let composite = Some("using `\"composite\"` as source".to_owned());
    assert_eq!(start(refusal(both.clone(), pieces)), composite);
    let all = OpenFeatures {
        multimodal: true,
        ..parts
    };
    assert_eq!(refusal(both, all), None);
    assert_eq!(
        refusal(json!({"a": {"indexingFragments": null}}), NONE),
        None
    );
}

#[test]
fn the_form_of_parts_and_fragments_is_checked_to_the_bottom() {
    for (fields, expected) in [
        (
            json!({"indexingFragments": {"a": {}}}),
            "Missing field `value` inside `.embedders.e.indexingFragments.a`",
        ),
        (
            json!({"searchFragments": {"a": 1}}),
            "Invalid value type at `.embedders.e.searchFragments.a`: expected an object, but \
             found a positive integer: `1`",
        ),
        (
            json!({"searchEmbedder": {"dimensions": "x"}}),
            "Invalid value type at `.embedders.e.searchEmbedder.dimensions`: expected a \
             positive integer, but found a string: `\"x\"`",
        ),
    ] {
        assert_eq!(message(json!({"embedders": {"e": fields}})), expected);
    }
}

#[test]
fn foreign_keys_have_two_members() {
    for (wrong, said) in [
        (
            json!([{"fieldName": "a"}]),
            "Missing field `foreignIndexUid` inside `.foreignKeys[0]`",
        ),
        (
            json!([{"foreignIndexUid": "a"}]),
            "Missing field `fieldName` inside `.foreignKeys[0]`",
        ),
        (
            json!([{"foreignIndexUid": "a", "fieldName": "x", "z": 1}]),
            "Unknown field `z` inside `.foreignKeys[0]`: expected one of `foreignIndexUid`, \
             `fieldName`",
        ),
        (
            json!([{"foreignIndexUid": "a", "fieldName": null}]),
            "Invalid value type at `.foreignKeys[0].fieldName`: expected a string, but found \
             null",
        ),
    ] {
        assert_eq!(message(json!({ "foreignKeys": wrong })), said);
    }
    let right = json!({"foreignKeys": [{"foreignIndexUid": "no name", "fieldName": ""}]});
    assert_eq!(check_settings(&right, NONE).map(Value::Object), Ok(right));
}

#[test]
fn every_route_and_name_is_unique() {
    for (index, setting) in SETTINGS.iter().enumerate() {
        for other in &SETTINGS[index + 1..] {
            assert_ne!(setting.route, other.route);
            assert_ne!(setting.name, other.name);
        }
    }
    assert_eq!(reset_all().len(), SETTINGS.len());
}
