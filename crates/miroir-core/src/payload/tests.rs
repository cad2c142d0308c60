//! The expected answers were recorded from Meilisearch 1.50.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const LIMIT: usize = 1 << 20;

fn split_chunks(
    format: PayloadFormat,
    payload: &[u8],
    cuts: &[usize],
    limit: usize,
) -> Result<Vec<String>, PayloadError> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
    cuts.extend([0, payload.len()]);
    cuts.sort_unstable();
    let mut documents = Vec::new();
    let mut sink = |document: &[u8]| -> Result<(), PayloadError> {
        documents.push(String::from_utf8(document.to_vec()).expect("documents are UTF-8"));
        Ok(())
    };
    let mut splitter = Splitter::new(format, limit);
    for pair in cuts.windows(2) {
        splitter.push(&payload[pair[0]..pair[1]], &mut sink)?;
    }
    let count = splitter.finish(&mut sink)?;
    assert_eq!(count, documents.len() as u64);
    assert!(documents.iter().all(|document| !document.contains('\n')));
    Ok(documents)
}

/// Splits in one chunk and in single bytes, which must agree.
fn split(format: PayloadFormat, payload: &[u8]) -> Result<Vec<String>, PayloadError> {
    let whole = split_chunks(format, payload, &[], LIMIT);
    let every_byte: Vec<usize> = (0..payload.len()).collect();
    assert_eq!(split_chunks(format, payload, &every_byte, LIMIT), whole);
    whole
}

const JSON: PayloadFormat = PayloadFormat::Json;
const NDJSON: PayloadFormat = PayloadFormat::Ndjson;
const CSV: PayloadFormat = PayloadFormat::Csv { delimiter: b',' };

#[track_caller]
fn check(format: PayloadFormat, payload: impl AsRef<[u8]>, documents: &[&str]) {
    let split = split(format, payload.as_ref());
    let split = split
        .as_ref()
        .map(|d| d.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(split, Ok(documents.to_vec()));
}

#[track_caller]
fn check_malformed(format: PayloadFormat, payload: impl AsRef<[u8]>, cause: &str) {
    let payload = payload.as_ref();
    let message = match format {
        PayloadFormat::Csv { .. } => {
            format!("The `csv` payload provided is malformed: `{cause}`.")
        }
        _ => format!(
            "The `{}` payload provided is malformed. `Couldn't serialize document value: {cause}`.",
            format.name()
        ),
    };
    let error = split(format, payload).expect_err("the payload is malformed");
    assert_eq!(
        (error.code, &*error.message),
        ("malformed_payload", &*message)
    );
}

#[track_caller]
fn check_no_object(format: PayloadFormat, payload: &str, message: &str) {
    let error = split(format, payload.as_bytes()).expect_err("there is no object");
    assert_eq!(
        (error.code, &*error.message),
        ("internal", message),
        "{payload}"
    );
}

#[test]
fn an_empty_payload_is_missing() {
    for format in [JSON, NDJSON, CSV] {
        let error = split(format, b"").unwrap_err();
        assert_eq!(error.code, "missing_payload");
        assert_eq!(
            error.message,
            format!("A {} payload is missing.", format.name())
        );
    }
}

#[test]
fn json_is_an_array_of_objects_or_one_object() {
    check(JSON, "[]", &[]);
    check(JSON, "{}", &["{}"]);
    check(
        JSON,
        r#" [ {"id": 1} ,{"b":"]}"}] "#,
        &[r#"{"id": 1}"#, r#"{"b":"]}"}"#],
    );
    check(JSON, r#" {"id": 1e2, "id": "a"} "#, &[r#"{"id":"a"}"#]);
    check(JSON, r#"[{"id":1}] x"#, &[r#"{"id":1}"#]);
    check(JSON, r#"[{"id":1}]]"#, &[r#"{"id":1}"#]);
}

#[test]
fn a_document_keeps_its_text_but_for_line_breaks() {
    let pretty = "[\n  {\n    \"a b\": \"x \\\" y\\n\",\r\n\t\"n\": 1.50\n  }\n]";
    check(JSON, pretty, &[r#"{"a b":"x \" y\n","n":1.50}"#]);
    check(NDJSON, "{\n\"id\":1\n}\n", &[r#"{"id":1}"#]);
    check(
        JSON,
        r#"[{"id":1, "n":1e999}]"#,
        &[r#"{"id":1, "n":1e999}"#],
    );
}

#[test]
fn of_a_repeated_field_the_last_value_counts_in_json_only() {
    check(
        JSON,
        r#"[{"id":1,"a":0, "\u0069d": [2]}]"#,
        &[r#"{"id":[2],"a":0}"#],
    );
    check(NDJSON, r#"{"id":1,"id":2}"#, &[r#"{"id":1,"id":2}"#]);
    let many: Vec<String> = (0..60).map(|n| format!(r#""f{}":{n}"#, n % 30)).collect();
    let split = split(JSON, format!("[{{{}}}]", many.join(",")).as_bytes()).unwrap();
    let object: serde_json::Map<String, Value> = serde_json::from_str(&split[0]).unwrap();
    assert_eq!((object.len(), &object["f7"]), (30, &json!(37)));
}

#[test]
fn malformed_json_is_refused_in_meilisearchs_words() {
    for (payload, cause) in [
        ("  ", "EOF while parsing a value at line 1 column 2"),
        ("[", "EOF while parsing a list at line 1 column 1"),
        ("{", "EOF while parsing an object at line 1 column 1"),
        ("null", "data are neither an object nor a list of objects"),
        ("1", "data are neither an object nor a list of objects"),
        (r#""a""#, "data are neither an object nor a list of objects"),
        (r#"{"id":1} x"#, "trailing characters at line 1 column 10"),
        (
            "{\"id\":1}\n{\"id\":2}",
            "trailing characters at line 2 column 1",
        ),
        (r#"[{"id":1},]"#, "trailing comma at line 1 column 11"),
        (
            r#"[{"id":1} {"id":2}]"#,
            "expected `,` or `]` at line 1 column 11",
        ),
        (r#"[{"id":1,}]"#, "key must be a string at line 1 column 10"),
        (r#"[{"id":01}]"#, "invalid number at line 1 column 9"),
        (
            "[{\"id\":1},\n  {\"id\": tru}]",
            "expected ident at line 2 column 13",
        ),
        (r#"{"id":tru}"#, "expected ident at line 1 column 10"),
        (
            r#"{"id":1"#,
            "EOF while parsing an object at line 1 column 7",
        ),
        (
            r#"[{"id":1}"#,
            "EOF while parsing a list at line 1 column 9",
        ),
        (
            r#"[{"id":1},"#,
            "EOF while parsing a value at line 1 column 10",
        ),
        (
            "[{\"id\":\"\u{1}\"}]",
            "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 8",
        ),
        (
            r#"[{"id":1,"a":"\x"}]"#,
            "invalid escape at line 1 column 16",
        ),
        (
            r#"{"id":1,"a":1e999}"#,
            "number out of range at line 1 column 17",
        ),
        (
            r#"[{"id":1,"\ud800":1}]"#,
            "unexpected end of hex escape at line 1 column 16",
        ),
        ("tru", "EOF while parsing a value at line 1 column 3"),
        ("]", "expected value at line 1 column 1"),
        ("x", "expected value at line 1 column 1"),
        ("[x]", "expected value at line 1 column 2"),
        (
            r#"[{"id":1,"a":{"b":01}}]"#,
            "invalid number at line 1 column 20",
        ),
        ("\u{feff}[{\"id\":1}]", "expected value at line 1 column 1"),
    ] {
        check_malformed(JSON, payload, cause);
    }
    check_malformed(
        JSON,
        b"[{\"id\":1,\"a\":\"\xff\"}]",
        "invalid unicode code point at line 1 column 17",
    );
    let long = format!(r#"[{{"id":1,"a":"é{}" 1}}]"#, "x".repeat(200));
    check_malformed(JSON, long, "expected `,` or `}` at line 1 column 219");
    let deep = format!(r#"{{"id":1,"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    check_malformed(JSON, deep, "recursion limit exceeded at line 1 column 139");
}

#[test]
fn values_that_are_no_objects_are_refused_as_meilisearch_does() {
    check_no_object(
        JSON,
        "[1]",
        "invalid type: integer `1`, expected a map at line 1 column 1",
    );
    check_no_object(
        JSON,
        "[{},1]",
        "invalid type: integer `1`, expected a map at line 1 column 1",
    );
    check_no_object(
        JSON,
        "[[{}]]",
        "invalid type: sequence, expected a map at line 1 column 0",
    );
    check_no_object(
        NDJSON,
        "[{}]",
        "invalid type: sequence, expected a map at line 1 column 0",
    );
    let integer = "invalid type: integer `1`, expected a map at line 1 column 1";
    check_no_object(NDJSON, "{\"id\":1}\n1\n", integer);
    let text = "invalid type: string \"a\", expected a map at line 1 column 3";
    check_no_object(NDJSON, "{\"id\":1}\n\"a\"", text);
    let integer = "invalid type: integer `123`, expected a map at line 1 column 3";
    check_no_object(NDJSON, r#"{"id":1}123 "#, integer);
}

#[test]
fn ndjson_is_objects_one_after_the_other() {
    check(NDJSON, " \n", &[]);
    check(
        NDJSON,
        "{\"id\":1}\n{\"id\":2}",
        &[r#"{"id":1}"#, r#"{"id":2}"#],
    );
    check(
        NDJSON,
        r#"{"id":1}{"id":2}"#,
        &[r#"{"id":1}"#, r#"{"id":2}"#],
    );
    for (payload, cause) in [
        (r#"{"id":1} x"#, "expected value at line 1 column 10"),
        (
            "{\"id\":1}\n{\"id\":tru}\n",
            "expected ident at line 2 column 10",
        ),
        (
            "{\"id\":1}\n{\"id\":2",
            "EOF while parsing an object at line 2 column 7",
        ),
        (r#"{"id":1},{"id":2}"#, "expected value at line 1 column 9"),
        (
            "{\n\"id\":1\n}\n{\"id\":\n2x}",
            "expected `,` or `}` at line 5 column 2",
        ),
        (
            r#"{"id":1}nul"#,
            "EOF while parsing a value at line 1 column 11",
        ),
    ] {
        check_malformed(NDJSON, payload, cause);
    }
}

#[test]
fn csv_rows_become_objects() {
    check(CSV, "id", &[]);
    check(CSV, "id,a\n1,2", &[r#"{"id":"1","a":"2"}"#]);
    check(CSV, "\n\nid,a\n\n1,2\n\n", &[r#"{"id":"1","a":"2"}"#]);
    check(
        CSV,
        "id,a\r1,2\r\n3,4",
        &[r#"{"id":"1","a":"2"}"#, r#"{"id":"3","a":"4"}"#],
    );
    check(CSV, "id,a\n1,\"x", &[r#"{"id":"1","a":"x"}"#]);
    check(
        CSV,
        "id,a\n1,\"x\ny,\"\"z\"",
        &[r#"{"id":"1","a":"x\ny,\"z"}"#],
    );
    check(CSV, "\u{feff}id,a\n1, x ", &[r#"{"id":"1","a":" x "}"#]);
    check(CSV, "id,a,id\n1,2,3", &[r#"{"id":"3","a":"2"}"#]);
    check(CSV, "id,a:foo\n1,", &[r#"{"id":"1","a:foo":null}"#]);
    check(
        PayloadFormat::Csv { delimiter: b';' },
        "id;a\n1;2,3",
        &[r#"{"id":"1","a":"2,3"}"#],
    );
}

#[test]
fn typed_csv_cells_are_parsed() {
    check(
        CSV,
        "a:b:number,c:boolean,d:string\n 3.5 , true,x\n-7,,\n1e3,false,5\nNaN, ,\n",
        &[
            r#"{"a:b":3.5,"c":true,"d":"x"}"#,
            r#"{"a:b":-7,"c":null,"d":null}"#,
            r#"{"a:b":1000.0,"c":false,"d":"5"}"#,
            r#"{"a:b":null,"c":null,"d":null}"#,
        ],
    );
}

#[test]
fn malformed_csv_is_refused_in_meilisearchs_words() {
    let fields = |place: &str, found: u32| {
        format!(
            "CSV error: {place}: found record with {found} fields, but the previous record has 2 fields"
        )
    };
    check_malformed(CSV, "id,a\n1", &fields("record 1 (line: 2, byte: 5)", 1));
    check_malformed(
        CSV,
        "id,a\n1,2,3",
        &fields("record 1 (line: 2, byte: 5)", 3),
    );
    check_malformed(
        CSV,
        "id,a\n1,\"x\ny\"\n2",
        &fields("record 2 (line: 4, byte: 13)", 1),
    );
    check_malformed(
        CSV,
        "id:number,a:number\n1,x",
        "Error parsing number \"x\" at line 1: invalid float literal",
    );
    check_malformed(
        CSV,
        "id,a:boolean\n1,\n2,true\n3,TRUE",
        "Error parsing boolean \"TRUE\" at line 3: provided string was not `true` or `false`",
    );
    check_malformed(
        CSV,
        b"id,a\n1,\xff",
        "CSV parse error: record 1 (line 2, field: 1, byte: 5): invalid utf-8: invalid UTF-8 in \
         field 1 near byte index 0",
    );
}

#[test]
fn a_document_beyond_the_limit_is_refused_whatever_the_format() {
    let text = "x".repeat(3000);
    for (format, payload) in [
        (JSON, format!(r#"[{{"a":"{text}"}}]"#)),
        (JSON, format!(r#"{{"a":"{text}"}}"#)),
        (JSON, format!(r#""{text}"#)),
        (NDJSON, format!(r#"{{"a":"{text}"}}"#)),
        (CSV, format!("a\n{}\n", text.repeat(2))),
    ] {
        for cuts in [vec![], (0..payload.len()).step_by(100).collect()] {
            let error = split_chunks(format, payload.as_bytes(), &cuts, 2000).unwrap_err();
            assert_eq!(error.code, "payload_too_large");
        }
    }
}

#[test]
fn the_sinks_error_comes_back() {
    #[derive(Debug, PartialEq)]
    struct Full;
    impl From<PayloadError> for Full {
        fn from(_: PayloadError) -> Self {
            unreachable!("the payload is fine")
        }
    }
    let mut sink = |_: &[u8]| Err(Full);
    assert_eq!(
        Splitter::json(LIMIT).push(br#"[{"id":1}]"#, &mut sink),
        Err(Full)
    );
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~é\\\\\"\\]}\n]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_documents() -> impl Strategy<Value = Vec<Value>> {
    let fields = prop::collection::btree_map("[a-e{\"]{0,3}", any_value(), 0..5);
    prop::collection::vec(
        fields.prop_map(|m| Value::Object(m.into_iter().collect())),
        0..6,
    )
}

proptest! {
    #[test]
    fn any_chunking_of_json_gives_the_documents(
        documents in any_documents(), is_pretty: bool, cuts: Vec<prop::sample::Index>,
    ) {
        let array = Value::from(documents.clone());
        let payload =
            if is_pretty { serde_json::to_vec_pretty(&array) } else { serde_json::to_vec(&array) };
        let payload = payload.unwrap();
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        let split = split_chunks(JSON, &payload, &cuts, LIMIT).unwrap();
        let parsed: Vec<Value> =
            split.iter().map(|document| serde_json::from_str(document).unwrap()).collect();
        // Compared as read from the whole text: a float need not survive being written.
        prop_assert_eq!(Value::from(parsed), serde_json::from_slice::<Value>(&payload).unwrap());
    }

    #[test]
    fn any_chunking_of_ndjson_gives_the_documents(
        documents in any_documents(), cuts: Vec<prop::sample::Index>,
    ) {
        let lines: Vec<String> = documents.iter().map(Value::to_string).collect();
        let payload = lines.join("\n").into_bytes();
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        if payload.is_empty() {
            return Ok(());
        }
        prop_assert_eq!(split_chunks(NDJSON, &payload, &cuts, LIMIT).unwrap(), lines);
    }

    #[test]
    fn any_bytes_give_one_answer_however_chunked(
        payload in "[\\[\\]{}\",:a1 \n\\\\truenl.e-]{1,40}", cuts: Vec<prop::sample::Index>,
    ) {
        for format in [JSON, NDJSON, CSV] {
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
            let whole = split_chunks(format, payload.as_bytes(), &[], LIMIT);
            prop_assert_eq!(split_chunks(format, payload.as_bytes(), &cuts, LIMIT), whole);
        }
    }

    #[test]
    fn a_malformed_array_is_refused_where_a_parse_of_the_whole_refuses_it(
        documents in any_documents(), at in any::<prop::sample::Index>(), noise in "[\\[\\]{}\",:x0 \n]",
    ) {
        let mut payload = serde_json::to_string_pretty(&documents).unwrap();
        let mut at = at.index(payload.len());
        while !payload.is_char_boundary(at) {
            at -= 1;
        }
        payload.insert_str(at, &noise);
        let whole = serde_json::from_str::<Vec<Box<serde_json::value::RawValue>>>(&payload);
        let split = split_chunks(JSON, payload.as_bytes(), &[], LIMIT);
        // What follows the array is not read, a value that is no object is refused in its own way,
        // and a single object is another form.
        if let (Err(expected), Err(found)) = (whole, split)
            && found.code == "malformed_payload"
            && !expected.is_data()
        {
            prop_assert!(
                found.message.contains(&format!(": {expected}`")),
                "{} where the whole says {expected}", found.message,
            );
        }
    }

    #[test]
    fn csv_agrees_with_the_reader_of_whole_tables(
        rows in prop::collection::vec(prop::collection::vec("[a,\"\r\n é]{0,4}", 3), 1..5),
        cuts: Vec<prop::sample::Index>,
    ) {
        let quote = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
        let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",");
        let table: Vec<String> = rows.iter().map(line).collect();
        let payload = format!("x,y,z\n{}\n", table.join("\r\n")).into_bytes();
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        let expected: Vec<String> = rows
            .iter()
            .map(|row| {
                let cell = |i: usize| if row[i].is_empty() { Value::Null } else { json!(row[i]) };
                json!({"x": cell(0), "y": cell(1), "z": cell(2)}).to_string()
            })
            .collect();
        prop_assert_eq!(split_chunks(CSV, &payload, &cuts, LIMIT).unwrap(), expected);
    }
}
