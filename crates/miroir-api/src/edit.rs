//! The body of `POST /indexes/{uid}/documents/edit`.

use crate::error::{Code, ResponseError};
use crate::validate::{At, optional};
use serde_json::{Map, Value};

/// What is to be done to which documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Edition {
    /// The function, unread.
    pub function: String,
    /// Which documents, unread; `None` is all of them.
    pub filter: Option<Value>,
    /// What the function sees beside the document, whatever it is; see [`read_context`].
    pub context: Option<Value>,
}

/// Checks the form of the body.
///
/// # Errors
/// The first mistake.
pub fn read_edition(body: &Value) -> Result<Edition, ResponseError> {
    const ACCEPTED: [&str; 3] = ["filter", "context", "function"];
    let root = At::root(Code::BadRequest);
    let mut function = None;
    let mut filter = None;
    let mut context = None;
    for (name, value) in root.object(body)? {
        match name.as_str() {
            "function" => {
                let at = root.field("function", Code::InvalidDocumentEditionFunctionFilter);
                function = Some(at.string(value)?.to_owned());
            }
            "filter" => filter = optional(value, |value| Ok(value.clone()))?,
            "context" => context = optional(value, |value| Ok(value.clone()))?,
            _ => return Err(root.unknown_field(name, &ACCEPTED)),
        }
    }
    let Some(function) = function else {
        return Err(root.missing_field("function", Code::MissingDocumentEditionFunction));
    };
    Ok(Edition {
        function,
        filter,
        context,
    })
}

/// Checks the context, which is looked at after function and filter.
///
/// # Errors
/// It is no object.
pub fn read_context(context: Option<Value>) -> Result<Option<Map<String, Value>>, ResponseError> {
    match context {
        None => Ok(None),
        Some(Value::Object(context)) => Ok(Some(context)),
        Some(_) => Err(ResponseError::new(
            Code::InvalidDocumentEditionContext,
            "The context must be an object",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_edition_needs_a_function() {
        let error = read_edition(&json!({"filter": "a = 1"})).expect_err("none is given");
        assert_eq!(&*error.code, "missing_document_edition_function");
        let error = read_edition(&json!({"function": 1})).expect_err("it is no text");
        assert_eq!(&*error.code, "invalid_document_edition_function_filter");
        let body = json!({"function": "doc = ()", "filter": null, "context": {"a": 1}});
        let edition = read_edition(&body).expect("it is right");
        assert_eq!(edition.filter, None);
        assert!(read_context(edition.context).expect("an object").is_some());
        assert!(read_context(Some(json!([]))).is_err());
    }
}
