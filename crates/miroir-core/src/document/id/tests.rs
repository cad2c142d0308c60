//! The expected answers were recorded from Meilisearch 1.50.

use super::*;
use proptest::prelude::*;

fn id_of<'d>(document: &'d str, primary_key: &str) -> Result<Cow<'d, str>, DocumentError> {
    document_id(document.as_bytes(), &PrimaryKey::new(primary_key))
}

#[track_caller]
fn check_id(document: &str, primary_key: &str, id: &str) {
    assert_eq!(
        id_of(document, primary_key).as_deref(),
        Ok(id),
        "{document}"
    );
}

#[track_caller]
fn check_refused(document: &str, primary_key: &str, code: &str, message_start: &str) {
    let error = id_of(document, primary_key).unwrap_err();
    assert_eq!(error.code(), code, "{document}");
    let message = error.to_string();
    assert!(message.starts_with(message_start), "{message}");
}

#[track_caller]
fn check_invalid(document: &str, shown: &str) {
    let start = format!("Document identifier `{shown}` is invalid. A document identifier can be");
    check_refused(document, "id", "invalid_document_id", &start);
}

#[test]
fn integers_and_plain_texts_are_ids() {
    check_id(r#"{"id":1}"#, "id", "1");
    check_id(r#"{"id":"1"}"#, "id", "1");
    check_id(r#"{"id":-7}"#, "id", "-7");
    check_id(
        r#"{"id":18446744073709551615}"#,
        "id",
        "18446744073709551615",
    );
    check_id(r#"{"title":"x", "id" : "a-B_9" }"#, "id", "a-B_9");
    check_id(r#"{"id":"\u0041"}"#, "id", "A");
    check_id(r#"{"\u0069d":5}"#, "id", "5");
    check_id(
        &format!(r#"{{"id":"{}"}}"#, "x".repeat(511)),
        "id",
        &"x".repeat(511),
    );
}

#[test]
fn other_values_are_no_ids() {
    check_invalid(r#"{"id":1.0}"#, "1.0");
    check_invalid(r#"{"id":1e2}"#, "100.0");
    check_invalid(r#"{"id":-0}"#, "-0.0");
    check_invalid(r#"{"id":null}"#, "null");
    check_invalid(r#"{"id":true}"#, "true");
    check_invalid(r#"{"id":""}"#, r#""""#);
    check_invalid(r#"{"id":"a b"}"#, r#""a b""#);
    check_invalid(r#"{"id":"é"}"#, r#""é""#);
    check_invalid(r#"{"id": {"b": 1}}"#, r#"{"b":1}"#);
    check_invalid(r#"{"id":[1]}"#, "[1]");
    check_invalid(
        r#"{"id":123456789012345678901234567890}"#,
        "1.2345678901234568e+29",
    );
    check_invalid(
        &format!(r#"{{"id":"{}"}}"#, "x".repeat(512)),
        &format!(r#""{}""#, "x".repeat(512)),
    );
}

#[test]
fn a_dotted_key_reaches_into_objects() {
    check_id(r#"{"a":{"b":1}}"#, "a.b", "1");
    check_id(r#"{"a.b":2}"#, "a.b", "2");
    check_id(r#"{"a":{"b.c":1}}"#, "a.b.c", "1");
    check_id(r#"{"a.b":{"c":1}}"#, "a.b.c", "1");
    check_id(r#"{"a":5,"a.b":1}"#, "a.b", "1");
    check_refused(
        r#"{"a":[{"b":1}]}"#,
        "a.b",
        "missing_document_id",
        r#"Document doesn't have a `a.b` attribute: `{"a":[{"b":1}]}`."#,
    );
    check_refused(
        r#"{"ab":1}"#,
        "a.b",
        "missing_document_id",
        "Document doesn't have",
    );
    check_refused(
        r#"{"a":{"b":[1]}}"#,
        "a.b",
        "invalid_document_id",
        "Document identifier `[1]`",
    );
}

#[test]
fn several_matches_are_too_many() {
    check_refused(
        r#"{"a":{"b":1},"a.b":3}"#,
        "a.b",
        "invalid_document_id",
        r#"Document have too many matching `a.b` attribute: `{"a":{"b":1},"a.b":3}`."#,
    );
    check_refused(
        r#"{"id":1,"id":3}"#,
        "id",
        "invalid_document_id",
        r#"Document have too many matching `id` attribute: `{"id":3}`."#,
    );
}

#[test]
fn a_missing_id_shows_the_document() {
    check_refused(
        r#"{"z":1.0, "a":1e5,"c":"\u0041"}"#,
        "id",
        "missing_document_id",
        r#"Document doesn't have a `id` attribute: `{"z":1.0,"a":100000.0,"c":"A"}`."#,
    );
}

#[test]
fn reserved_names_are_refused_whatever_the_id() {
    check_refused(
        r#"{"_miroir_shard":1}"#,
        "id",
        "bad_request",
        "Document has a field named `_miroir_shard`",
    );
    check_refused(
        r#"{"id":1,"\u005fmiroir_x":1}"#,
        "id",
        "bad_request",
        "Document has a field",
    );
    check_id(
        r#"{"id":1,"miroir_x":1,"a":{"_miroir_shard":1}}"#,
        "id",
        "1",
    );
}

#[test]
fn what_the_engine_cannot_read_is_refused() {
    let deep = format!(r#"{{"id":1,"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let long = format!(r#"{{"id":1,"a":{}}}"#, "9".repeat(400));
    for document in [
        r#"{"id":1,"a":1e999}"#,
        r#"{"id":1,"a":"\ud800"}"#,
        &deep,
        &long,
    ] {
        check_refused(document, "id", "internal", "internal: ");
    }
    let brackets = format!(r#"{{"id":1,"a":"{}"}}"#, "[".repeat(200));
    for document in [
        r#"{"id":1,"a":1e9}"#,
        r#"{"id":1,"a":"\ud83d\ude00"}"#,
        &brackets,
    ] {
        check_id(document, "id", "1");
    }
    check_refused("[1]", "id", "internal", "invalid type");
}

#[test]
fn special_fields_are_handed_on() {
    let document = br#"{"_geo":{"lat":1},"id":1,"_vectors":{"e":[1]},"_geojson":null}"#;
    let scanned = scan_document(document, &PrimaryKey::new("id")).unwrap();
    assert_eq!(scanned.geo.map(RawValue::get), Some(r#"{"lat":1}"#));
    assert_eq!(scanned.vectors.map(RawValue::get), Some(r#"{"e":[1]}"#));
    assert_eq!(scanned.geojson.map(RawValue::get), Some("null"));
}

#[test]
fn the_primary_key_is_the_only_field_that_ends_with_id() {
    let infer = |document: &str| infer_primary_key(document.as_bytes()).map(|key| key.0);
    let found = |name: &str| Ok(name.to_owned());
    let several = |count, first: &str, second: &str| {
        let (first, second) = (first.to_owned(), second.to_owned());
        Err(DocumentError::MultiplePrimaryKeyCandidates {
            count,
            first,
            second,
        })
    };
    assert_eq!(infer(r#"{"x":1,"movie_ID":2}"#), found("movie_ID"));
    assert_eq!(infer(r#"{"a.id":1}"#), found("a.id"));
    assert_eq!(infer(r#"{"id":1,"id":2}"#), found("id"));
    // The dotted capital I becomes two characters in lower case, the second no plain letter.
    assert_eq!(
        infer("{\"\u{130}D\":1,\"\u{212a}Id\":1}"),
        found("\u{212a}Id")
    );
    assert_eq!(
        infer(r#"{"x":{"id":1}}"#),
        Err(DocumentError::NoPrimaryKeyCandidate)
    );
    assert_eq!(infer("{}"), Err(DocumentError::NoPrimaryKeyCandidate));
    assert_eq!(
        infer(r#"{"Uid":1,"movie_ID":2,"x":1}"#),
        several(2, "Uid", "movie_ID")
    );
    assert_eq!(
        infer(r#"{"zid":1,"aid":2,"ID":3}"#),
        several(3, "ID", "aid")
    );
    assert_eq!(
        infer(r#"{"zid":1,"aid":2,"ID":3}"#)
            .unwrap_err()
            .to_string(),
        "The primary key inference failed as the engine found 3 fields ending with `id` in their \
         names: 'ID' and 'aid'. Please specify the primary key manually using the `primaryKey` \
         query parameter."
    );
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(document in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = document_id(&document, &PrimaryKey::new("a.b"));
        let _ = infer_primary_key(&document);
    }

    #[test]
    fn an_id_is_found_wherever_it_stands(
        before in 0..4_usize, after in 0..4_usize, id in "[a-zA-Z0-9_-]{1,20}",
    ) {
        let field = |n: usize| format!(r#""f{n}":{{"id":[1,"]}}"]}}"#);
        let mut members: Vec<String> = (0..before).map(field).collect();
        members.push(format!(r#""id":"{id}""#));
        members.extend((10..10 + after).map(field));
        let document = format!("{{{}}}", members.join(", "));
        prop_assert_eq!(id_of(&document, "id"), Ok(Cow::Borrowed(&*id)));
    }
}
