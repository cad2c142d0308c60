//! The shapes of `_geo` and `_vectors`, which the engine checks while it indexes: a fault there
//! fails the whole batch, so it has to be found before a batch is cut over several nodes.

use super::DocumentError;
use super::id::visit_members;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Checks a `_geo` value. Call it only if `_geo` is filterable or sortable; otherwise it is a field
/// like any other.
///
/// # Errors
/// [`DocumentError::Geo`], unless it is null or an object of exactly `lat` and `lng`, each a finite
/// number or the text of one.
pub fn check_geo(geo: &RawValue, id: &str) -> Result<(), DocumentError> {
    let id = Value::from(id);
    let fault = |message: String| Err(DocumentError::Geo(message));
    let mut geo: Map<String, Value> = match serde_json::from_str(geo.get()) {
        Ok(Value::Null) => return Ok(()),
        Ok(Value::Object(geo)) => geo,
        Ok(value) => {
            return fault(format!(
                "The `_geo` field in the document with the id: `{id}` is not an object. Was \
                 expecting an object with the `_geo.lat` and `_geo.lng` fields but instead got \
                 `{value}`."
            ));
        }
        Err(error) => return Err(DocumentError::Unreadable(error.to_string())),
    };
    let (lat, lng) = match (geo.shift_remove("lat"), geo.shift_remove("lng")) {
        (Some(lat), Some(lng)) if geo.is_empty() => (lat, lng),
        (Some(_), Some(_)) => {
            let value = Value::from(geo);
            return fault(format!(
                "The `_geo` field in the document with the id: `{id}` contains the following \
                 unexpected fields: `{value}`."
            ));
        }
        (Some(_), None) => {
            return fault(format!(
                "Could not find longitude in the document with the id: `{id}`. Was expecting a \
                 `_geo.lng` field."
            ));
        }
        (None, Some(_)) => {
            return fault(format!(
                "Could not find latitude in the document with the id: `{id}`. Was expecting a \
                 `_geo.lat` field."
            ));
        }
        (None, None) => {
            return fault(format!(
                "Could not find latitude nor longitude in the document with the id: `{id}`. Was \
                 expecting `_geo.lat` and `_geo.lng` fields."
            ));
        }
    };
    match (is_coordinate(&lat), is_coordinate(&lng)) {
        (true, true) => Ok(()),
        (true, false) => fault(format!(
            "Could not parse longitude in the document with the id: `{id}`. Was expecting a finite \
             number but instead got `{lng}`."
        )),
        (false, true) => fault(format!(
            "Could not parse latitude in the document with the id: `{id}`. Was expecting a finite \
             number but instead got `{lat}`."
        )),
        (false, false) => fault(format!(
            "Could not parse latitude nor longitude in the document with the id: `{id}`. Was \
             expecting finite numbers but instead got `{lat}` and `{lng}`."
        )),
    }
}

fn is_coordinate(value: &Value) -> bool {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.is_some_and(f64::is_finite)
}

/// Checks the shape of a `_vectors` value, not the lengths of the vectors.
///
/// # Errors
/// [`DocumentError::Unreadable`] if it is no object; [`DocumentError::Vectors`] if a value is not
/// null, an array of numbers, an array of such arrays, or an object with `regenerate`.
pub fn check_vectors(vectors: &RawValue, id: &str) -> Result<(), DocumentError> {
    let mut fault = None;
    visit_members(vectors.get().as_bytes(), |embedder, value| {
        if fault.is_none() {
            fault = check_embedder(&embedder, value).err();
        }
    })
    .map_err(|e| DocumentError::Unreadable(e.to_string()))?;
    match fault {
        None => Ok(()),
        Some(cause) => Err(DocumentError::Vectors {
            id: id.to_owned(),
            cause,
        }),
    }
}

fn check_embedder(embedder: &str, value: &RawValue) -> Result<(), String> {
    let text = value.get();
    let wrong = |kind: &str, shown: &str| {
        Err(format!(
            "Expected `._vectors.{embedder}` to be an array of floats, an array of arrays of \
             floats, or an object with at least the field `regenerate`, but got the {kind} \
             `{shown}`"
        ))
    };
    match text.as_bytes().first() {
        Some(b'n') => Ok(()),
        Some(b'[') => check_embeddings(text, &format!("._vectors.{embedder}")),
        Some(b'{') => check_explicit(embedder, value),
        Some(b't' | b'f') => wrong("boolean", text),
        Some(b'"') => wrong(
            "string",
            &serde_json::from_str::<String>(text).unwrap_or_default(),
        ),
        _ if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() => wrong("integer", text),
        _ => match serde_json::from_str::<f64>(text) {
            Ok(number) => wrong("number", &number.to_string()),
            Err(error) => Err(format!("Could not parse `._vectors.{embedder}`: {error}")),
        },
    }
}

/// The form `{"regenerate": bool, "embeddings": …}`.
fn check_explicit(embedder: &str, value: &RawValue) -> Result<(), String> {
    let mut has_regenerate = false;
    let mut fault: Option<String> = None;
    let visited = visit_members(value.get().as_bytes(), |field, value| {
        let checked = match &*field {
            "regenerate" => {
                has_regenerate = true;
                serde_json::from_str::<bool>(value.get())
                    .map(|_| ())
                    .map_err(|error| {
                        format!("Could not parse `._vectors.{embedder}.regenerate`: {error}")
                    })
            }
            "embeddings" => {
                check_embeddings(value.get(), &format!("._vectors.{embedder}.embeddings"))
            }
            other => Err(format!(
                "Unexpected field `._vectors.{embedder}.{other}`\n  \
                 - note: the allowed fields are `regenerate` and `embeddings`"
            )),
        };
        if let (None, Err(message)) = (&fault, checked) {
            fault = Some(message);
        }
    });
    if let Err(error) = visited {
        return Err(format!("Could not parse `._vectors.{embedder}`: {error}"));
    }
    match fault {
        Some(message) => Err(message),
        None if has_regenerate => Ok(()),
        None => Err(format!(
            "Missing field `._vectors.{embedder}.regenerate`\n  \
             - note: `._vectors.{embedder}` must be an array of floats, an array of arrays of \
             floats, or an object with field `regenerate`"
        )),
    }
}

/// Null, an array of numbers, or an array of arrays of numbers. The first item decides which.
fn check_embeddings(text: &str, path: &str) -> Result<(), String> {
    // The usual case first, without a tree of values.
    if serde_json::from_str::<Vec<f32>>(text).is_ok() {
        return Ok(());
    }
    let wrong = |path: &str, expected: &str, value: &Value| {
        let (kind, json) = (kind_of(value), value);
        Err(format!(
            "Invalid value type at `{path}`: expected {expected}, but found {kind}: `{json}`"
        ))
    };
    let items = match serde_json::from_str::<Value>(text) {
        Ok(Value::Null) => return Ok(()),
        Ok(Value::Array(items)) => items,
        Ok(other) => return wrong(path, "null or an array", &other),
        Err(error) => return Err(format!("Could not parse `{path}`: {error}")),
    };
    let is_nested = matches!(items.first(), Some(Value::Array(_)));
    for (item_idx, item) in items.iter().enumerate() {
        let path = format!("{path}[{item_idx}]");
        match item {
            Value::Array(numbers) if is_nested => {
                let is_number = |number: &&Value| number.is_number();
                if let Some(at) = numbers.iter().position(|number| !is_number(&number)) {
                    return wrong(&format!("{path}[{at}]"), "a number", &numbers[at]);
                }
            }
            other if is_nested => return wrong(&path, "an array", other),
            Value::Number(_) => {}
            other if item_idx == 0 => return wrong(&path, "a number or an array", other),
            other => return wrong(&path, "a number", other),
        }
    }
    Ok(())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_u64() => "a positive integer",
        Value::Number(number) if number.is_i64() => "a negative integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    //! The expected answers were recorded from Meilisearch 1.50.

    use super::*;
    use crate::id::IndexUid;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[track_caller]
    fn check_geo_refused(geo: &str, message: &str) {
        let error = check_geo(&raw(geo), "1").unwrap_err();
        assert_eq!(error.code(), "invalid_document_geo_field");
        assert_eq!(error.to_string(), message);
        let index = IndexUid::new("g").unwrap();
        assert_eq!(error.task_message(&index), format!("Index `g`: {message}"));
    }

    #[track_caller]
    fn check_vectors_refused(vectors: &str, cause: &str) {
        let error = check_vectors(&raw(vectors), "1").unwrap_err();
        assert_eq!(error.code(), "invalid_vectors_type", "{vectors}");
        let start = "Bad embedder configuration in the document with id: `1`. ";
        assert_eq!(error.to_string(), format!("{start}{cause}"));
    }

    #[test]
    fn null_and_two_finite_coordinates_are_a_place() {
        for geo in [
            "null",
            r#"{"lat":1,"lng":-200.5}"#,
            r#"{"lng":"2","lat":"1.5"}"#,
        ] {
            assert_eq!(check_geo(&raw(geo), "1"), Ok(()), "{geo}");
        }
    }

    #[test]
    fn other_geo_values_are_refused_in_the_engines_words() {
        let not_found = "in the document with the id: `\"1\"`. Was expecting";
        let not_object = "The `_geo` field in the document with the id: `\"1\"` is not an object. \
                          Was expecting an object with the `_geo.lat` and `_geo.lng` fields but \
                          instead got";
        check_geo_refused("1", &format!("{not_object} `1`."));
        check_geo_refused(r#""x""#, &format!("{not_object} `\"x\"`."));
        check_geo_refused(
            "{}",
            &format!(
                "Could not find latitude nor longitude {not_found} `_geo.lat` and `_geo.lng` fields."
            ),
        );
        check_geo_refused(
            r#"{"lat":1}"#,
            &format!("Could not find longitude {not_found} a `_geo.lng` field."),
        );
        check_geo_refused(
            r#"{"lng":1}"#,
            &format!("Could not find latitude {not_found} a `_geo.lat` field."),
        );
        check_geo_refused(
            r#"{"lat":1,"lng":2,"z":3}"#,
            "The `_geo` field in the document with the id: `\"1\"` contains the following \
             unexpected fields: `{\"z\":3}`.",
        );
        check_geo_refused(
            r#"{"lat":"inf","lng":2}"#,
            &format!(
                "Could not parse latitude {not_found} a finite number but instead got `\"inf\"`."
            ),
        );
        check_geo_refused(
            r#"{"lat":"1.5","lng":" 2"}"#,
            &format!(
                "Could not parse longitude {not_found} a finite number but instead got `\" 2\"`."
            ),
        );
        check_geo_refused(
            r#"{"lat":true,"lng":null}"#,
            &format!(
                "Could not parse latitude nor longitude {not_found} finite numbers but instead got \
                 `true` and `null`."
            ),
        );
    }

    #[test]
    fn every_documented_shape_of_vectors_is_taken() {
        for value in [
            "null",
            "[]",
            "[1,2.5]",
            "[[1,2],[3,4]]",
            r#"{"regenerate":true}"#,
            r#"{"embeddings":[1,2],"regenerate":false}"#,
            r#"{"embeddings":null,"regenerate":false}"#,
        ] {
            let vectors = raw(&format!(r#"{{"e":{value},"other":null}}"#));
            assert_eq!(check_vectors(&vectors, "1"), Ok(()), "{value}");
        }
    }

    #[test]
    fn other_shapes_of_vectors_are_refused_in_the_engines_words() {
        let expected = "Expected `._vectors.e` to be an array of floats, an array of arrays of \
                        floats, or an object with at least the field `regenerate`, but got the";
        check_vectors_refused(r#"{"e":1}"#, &format!("{expected} integer `1`"));
        check_vectors_refused(r#"{"e":"x"}"#, &format!("{expected} string `x`"));
        check_vectors_refused(r#"{"e":1.5}"#, &format!("{expected} number `1.5`"));
        check_vectors_refused(r#"{"e":true}"#, &format!("{expected} boolean `true`"));
        check_vectors_refused(
            r#"{"e":["a"]}"#,
            "Invalid value type at `._vectors.e[0]`: expected a number or an array, but found a \
             string: `\"a\"`",
        );
        check_vectors_refused(
            r#"{"e":{"embeddings":"x","regenerate":false}}"#,
            "Invalid value type at `._vectors.e.embeddings`: expected null or an array, but found \
             a string: `\"x\"`",
        );
        check_vectors_refused(
            r#"{"e":{"embeddings":[[1,2],3],"regenerate":false}}"#,
            "Invalid value type at `._vectors.e.embeddings[1]`: expected an array, but found a \
             positive integer: `3`",
        );
        check_vectors_refused(
            r#"{"e":{}}"#,
            "Missing field `._vectors.e.regenerate`\n  - note: `._vectors.e` must be an array of \
             floats, an array of arrays of floats, or an object with field `regenerate`",
        );
        let error = check_vectors(&raw("1"), "1").unwrap_err();
        assert_eq!(error.code(), "internal");
        assert_eq!(
            error.to_string(),
            "invalid type: integer `1`, expected a map at line 1 column 1"
        );
    }
}
