//! What comes over the stream of a conversation: pieces of the LLM's answer, what the client is told
//! of searches, and errors.

use super::completion::{FunctionCall, Message, ToolKind};
use super::{APPEND, PROGRESS, SOURCES};
use crate::error::ResponseError;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A part of the call of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionPart {
    /// The function's name, in the first part.
    pub name: Option<String>,
    /// More of its arguments.
    pub arguments: Option<String>,
}

/// A part of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallPart {
    /// Which of the calls.
    pub index: u32,
    /// Its name, in the first part.
    pub id: Option<String>,
    /// What is called.
    pub r#type: Option<ToolKind>,
    /// The function.
    pub function: Option<FunctionPart>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Who made the application.
    System,
    /// Who asks.
    User,
    /// The LLM.
    Assistant,
    /// A function.
    Tool,
    /// A function in the old form.
    Function,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It is complete.
    Stop,
    /// It is too long.
    Length,
    /// Functions are to be called.
    ToolCalls,
    /// It is not to be said.
    ContentFilter,
    /// A function is to be called, in the old form.
    FunctionCall,
}

/// What is new.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// More text.
    #[serde(default, deserialize_with = "text_or_parts")]
    pub content: Option<String>,
    /// More of a call in the old form.
    pub function_call: Option<FunctionPart>,
    /// More of calls.
    pub tool_calls: Option<Vec<CallPart>>,
    /// Who speaks.
    pub role: Option<Role>,
    /// More of why nothing is said.
    pub refusal: Option<String>,
}

/// Text, or the text of a list of parts, as Mistral sends it.
fn text_or_parts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::<Value>::deserialize(deserializer)? {
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter(|part| part["type"] == "text");
            let text: String = texts.filter_map(|part| part["text"].as_str()).collect();
            Some(text).filter(|text| !text.is_empty())
        }
        _ => None,
    })
}

/// One of the answers; there is only one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Which.
    pub index: u32,
    /// What is new.
    pub delta: Delta,
    /// Why it ends, if it does.
    pub finish_reason: Option<Finish>,
    /// How likely the words were.
    pub logprobs: Option<Value>,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The answer.
    pub id: String,
    /// What is new in it.
    pub choices: Vec<Choice>,
    /// When it was begun.
    pub created: u32,
    /// Who answers.
    pub model: String,
    /// Where it was worked on.
    pub service_tier: Option<String>,
    /// What it runs on.
    pub system_fingerprint: Option<String>,
    /// `chat.completion.chunk`.
    pub object: String,
    /// How many tokens were used, at the end.
    pub usage: Option<Value>,
}

impl Chunk {
    /// The same piece, telling the client by a call of a function that it declared.
    fn telling(&self, function: &str, arguments: &Value) -> Self {
        let call = CallPart {
            index: 0,
            id: Some(Uuid::new_v4().to_string()),
            r#type: Some(ToolKind::Function),
            function: Some(FunctionPart {
                name: Some(function.to_owned()),
                arguments: Some(arguments.to_string()),
            }),
        };
        let choice = Choice {
            index: 0,
            delta: Delta {
                tool_calls: Some(vec![call]),
                role: Some(Role::Assistant),
                ..Delta::default()
            },
            finish_reason: None,
            logprobs: None,
        };
        Self {
            choices: vec![choice],
            ..self.clone()
        }
    }

    /// A search begins.
    #[must_use]
    pub fn of_progress(&self, id: &str, call: &FunctionCall) -> Self {
        let arguments = json!({
            "call_id": id,
            "function_name": call.name,
            "function_arguments": call.arguments,
        });
        self.telling(PROGRESS, &arguments)
    }

    /// A search found these documents.
    #[must_use]
    pub fn of_sources(&self, id: &str, documents: &[Map<String, Value>]) -> Self {
        self.telling(SOURCES, &json!({"call_id": id, "sources": documents}))
    }

    /// The conversation has one message more.
    #[must_use]
    pub fn of_message(&self, message: &Message) -> Self {
        let message = serde_json::to_value(message).unwrap_or_default();
        self.telling(APPEND, &message)
    }
}

/// What went wrong, as the client is told over the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its name.
    pub event_id: String,
    /// `error`.
    pub r#type: &'static str,
    /// What.
    pub error: FailureDetails,
}

/// The details of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDetails {
    /// Its kind.
    pub r#type: String,
    /// Its code.
    pub code: Option<String>,
    /// In words.
    pub message: String,
    /// The member of the request at fault.
    pub param: Option<String>,
    /// The event of the client that caused it: none.
    #[serde(default)]
    pub event_id: Option<String>,
}

impl Failure {
    /// One found here.
    #[must_use]
    pub fn new(kind: &str, code: Option<&str>, message: impl Into<String>) -> Self {
        Self::of(FailureDetails {
            r#type: kind.to_owned(),
            code: code.map(str::to_owned),
            message: message.into(),
            param: None,
            event_id: None,
        })
    }

    fn of(error: FailureDetails) -> Self {
        Self {
            event_id: Uuid::new_v4().to_string(),
            r#type: "error",
            error: FailureDetails {
                event_id: None,
                ..error
            },
        }
    }

    /// A search that was refused. The code is that of HTTP.
    #[must_use]
    pub fn of_search(error: &ResponseError) -> Self {
        let status = error.status().to_string();
        Self::new("response_error", Some(&status), error.message.clone())
    }

    /// What an LLM sent that cannot be read.
    #[must_use]
    pub fn unreadable(error: &serde_json::Error) -> Self {
        Self::new(
            "json_deserialize_error",
            Some("internal"),
            error.to_string(),
        )
    }

    /// What an LLM answered instead of a stream.
    #[must_use]
    pub fn of_answer(body: &[u8], is_flat: bool) -> Self {
        #[derive(Deserialize)]
        struct Wrapped {
            error: FailureDetails,
        }
        // Mistral tells its errors without a wrapping.
        let details = if is_flat {
            serde_json::from_slice(body)
        } else {
            serde_json::from_slice(body).map(|Wrapped { error }| error)
        };
        match details {
            Ok(details) => Self::of(details),
            Err(_) => Self::new("reqwest_error", None, "error decoding response body"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_passed_on_with_all_its_members() {
        let piece = json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"content": "a", "more": 1}}],
        });
        let chunk: Chunk = serde_json::from_value(piece).expect("a piece");
        assert_eq!(
            serde_json::to_string(&chunk).expect("JSON"),
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"a","function_call":null,"tool_calls":null,"role":null,"refusal":null},"finish_reason":null,"logprobs":null}],"created":1,"model":"m","service_tier":null,"system_fingerprint":null,"object":"chat.completion.chunk","usage":null}"#
        );
    }

    #[test]
    fn text_may_come_in_parts() {
        let content = |content: Value| {
            let delta: Delta = serde_json::from_value(json!({"content": content})).expect("text");
            delta.content
        };
        let parts = json!([{"type": "reference"}, {"type": "text", "text": "a"}]);
        assert_eq!(content(parts), Some("a".to_owned()));
        assert_eq!(content(json!([{"type": "reference"}])), None);
        assert_eq!(content(Value::Null), None);
    }

    #[test]
    fn errors_of_an_llm_are_told_in_its_words() {
        let told = br#"{"error":{"message":"nope","type":"t","param":null,"code":"bad"}}"#;
        let failure = Failure::of_answer(told, false).error;
        assert_eq!(
            (failure.code.as_deref(), &*failure.message),
            (Some("bad"), "nope")
        );
        let flat = br#"{"object":"error","message":"nope","type":"t","param":null,"code":null}"#;
        assert_eq!(Failure::of_answer(flat, true).error.message, "nope");
        assert_eq!(
            Failure::of_answer(b"<html>", false).error.r#type,
            "reqwest_error"
        );
    }
}
