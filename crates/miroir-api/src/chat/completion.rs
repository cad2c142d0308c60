//! What a conversation is asked with: the request that clients send, and that goes on to the LLM with
//! the search function and all that was found.
//!
//! Members that are not known are left out, as Meilisearch does.

use super::workspace::Prompts;
use super::{APPEND, PROGRESS, SEARCH, SOURCES};
use crate::error::{Code, ResponseError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($variant:ident = $word:literal),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $(#[doc = $word] #[serde(rename = $word)] $variant),+
        }
    };
}

words!(
    /// What may be called: functions only.
    ToolKind: Function = "function"
);
words!(
    /// How much thought is put into an answer.
    ReasoningEffort: Low = "low", Medium = "medium", High = "high"
);
words!(
    /// Where the request is worked on.
    ServiceTier: Auto = "auto", Default = "default"
);
words!(
    /// What an answer may be made of.
    Modality: Text = "text", Audio = "audio"
);
words!(
    /// Whether functions are called.
    ToolChoiceWord: None = "none", Auto = "auto", Required = "required"
);

/// Text, or a list of parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Text.
    Text(String),
    /// Parts, each with its `type`.
    Parts(Vec<Map<String, Value>>),
}

/// A function and what it is called with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// JSON, as the LLM wrote it.
    pub arguments: String,
}

/// A call that the LLM made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its name, for the answer.
    pub id: String,
    /// What is called.
    #[serde(default)]
    pub r#type: Option<ToolKind>,
    /// The function.
    pub function: FunctionCall,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Message {
    /// Of who made the application.
    Developer {
        /// What was said.
        content: Content,
        /// By whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The same for older models.
    System {
        /// What was said.
        content: Content,
        /// By whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Of who asks.
    User {
        /// What was said.
        content: Content,
        /// By whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Of the LLM.
    Assistant {
        /// What was said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Content>,
        /// Why it was not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<String>,
        /// By whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// An earlier answer that was spoken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audio: Option<Value>,
        /// What it called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool_calls: Option<Vec<ToolCall>>,
        /// What it called, in the old form.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        function_call: Option<FunctionCall>,
    },
    /// What a call came to.
    Tool {
        /// The answer.
        content: Content,
        /// Of which call.
        tool_call_id: String,
    },
    /// What a call in the old form came to.
    Function {
        /// The answer.
        #[serde(default)]
        content: Option<String>,
        /// Of which function.
        name: String,
    },
}

impl Message {
    /// What the LLM called.
    #[must_use]
    pub fn calls(calls: Vec<ToolCall>) -> Self {
        Self::Assistant {
            content: None,
            refusal: None,
            name: None,
            audio: None,
            tool_calls: Some(calls),
            function_call: None,
        }
    }
}

/// A function as it is declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its parameters as a JSON schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Whether calls must follow the schema to the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// Something that may be called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// What it is.
    pub r#type: ToolKind,
    /// The function.
    pub function: Function,
}

/// Whether functions are called, or which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "data did not match any variant of untagged enum ChatCompletionToolChoiceOption"
)]
pub enum ToolChoice {
    /// Whether.
    Word(ToolChoiceWord),
    /// Which.
    Named {
        /// What it is.
        r#type: ToolKind,
        /// Its name.
        function: FunctionName,
    },
}

/// The name of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionName {
    /// It.
    pub name: String,
}

/// What a stream is to hold besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// How many tokens were used, at the end.
    pub include_usage: bool,
}

/// Text, or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stop {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

macro_rules! request {
    ($($(#[$attribute:meta])* $member:ident: $type:ty),+ $(,)?) => {
        /// A conversation to be continued; the members are those of OpenAI.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct Completion {
            /// What was said so far.
            pub messages: Vec<Message>,
            /// Who is to answer.
            pub model: String,
            $(
                $(#[$attribute])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $member: Option<$type>,
            )+
        }
    };
}

request! {
    /// Whether the answer is kept there.
    store: bool,
    /// How much thought is put into it.
    reasoning_effort: ReasoningEffort,
    /// Noted beside what is kept.
    metadata: Value,
    /// Punishes repetition.
    frequency_penalty: f32,
    /// Makes tokens more or less likely.
    logit_bias: Map<String, Value>,
    /// Whether likelihoods are told.
    logprobs: bool,
    /// Of how many tokens.
    top_logprobs: u8,
    /// The longest answer, in the old form.
    max_tokens: u32,
    /// The longest answer.
    max_completion_tokens: u32,
    /// How many answers.
    n: u8,
    /// What an answer may be made of.
    modalities: Vec<Modality>,
    /// What the answer is expected to be.
    prediction: Value,
    /// How it is spoken.
    audio: Value,
    /// Punishes staying with a subject.
    presence_penalty: f32,
    /// The form of the answer.
    response_format: Value,
    /// For answers that can be had again.
    seed: i64,
    /// Where it is worked on.
    service_tier: ServiceTier,
    /// What ends the answer.
    stop: Stop,
    /// Whether it comes piece by piece.
    stream: bool,
    /// What comes besides.
    stream_options: StreamOptions,
    /// How random it is.
    temperature: f32,
    /// From how likely words it is made.
    top_p: f32,
    /// What may be called.
    tools: Vec<Tool>,
    /// Whether something is called, or what.
    tool_choice: ToolChoice,
    /// Whether several calls may be made at once.
    parallel_tool_calls: bool,
    /// Who asks.
    user: String,
    /// What is called, in the old form.
    function_call: Value,
    /// What may be called, in the old form.
    functions: Vec<Value>,
}

/// What the client wants to be told of, as it says by declaring functions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Searches as they begin.
    pub progress: bool,
    /// The documents found.
    pub sources: bool,
    /// What belongs to the conversation from now on.
    pub append: bool,
}

/// An index as the LLM is told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownIndex {
    /// Its name.
    pub uid: String,
    /// What is in it, in the words of its owner.
    pub description: String,
    /// The fields that can be filtered, with some values of each, the most frequent first.
    pub facets: Vec<(String, Vec<String>)>,
}

impl Completion {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// It is no JSON, or not of this form.
    pub fn read(body: &[u8]) -> Result<Self, ResponseError> {
        serde_json::from_slice(body).map_err(|error| {
            if error.is_data() {
                ResponseError::new(Code::BadRequest, format!("Json deserialize error: {error}"))
            } else {
                ResponseError::new(
                    Code::MalformedPayload,
                    format!("The json payload provided is malformed. `{error}`."),
                )
            }
        })
    }

    /// Refuses what no LLM is asked for through here.
    ///
    /// # Errors
    /// Several answers are wanted, or one in one piece.
    pub fn check(&self) -> Result<(), ResponseError> {
        if let Some(n) = self.n.filter(|n| *n != 1) {
            return Err(ResponseError::new(
                Code::UnimplementedMultiChoiceChatCompletions,
                format!(
                    "You tried to specify n = {n} but only single choices are supported (n = 1)."
                ),
            ));
        }
        if self.stream != Some(true) {
            return Err(ResponseError::new(
                Code::UnimplementedNonStreamingChatCompletions,
                "Non-streamed chat completions is not implemented",
            ));
        }
        Ok(())
    }

    /// Takes out the functions by which a client says what it wants to be told.
    ///
    /// # Errors
    /// The client declares a function of its own, or the search.
    pub fn take_wishes(&mut self) -> Result<Wishes, ResponseError> {
        let mut wishes = Wishes::default();
        for tool in self.tools.take().unwrap_or_default() {
            match tool.function.name.as_str() {
                PROGRESS => wishes.progress = true,
                SOURCES => wishes.sources = true,
                APPEND => wishes.append = true,
                SEARCH => {
                    return Err(ResponseError::new(
                        Code::BadRequest,
                        format!("{SEARCH} function is already defined."),
                    ));
                }
                other => {
                    return Err(ResponseError::new(
                        Code::UnimplementedExternalFunctionCalling,
                        format!("{other}: External functions are not supported yet."),
                    ));
                }
            }
        }
        Ok(wishes)
    }

    /// Declares the search over these indexes, and puts the first prompt before all messages.
    pub fn declare_search(&mut self, indexes: &[KnownIndex], prompts: &Prompts, role: &str) {
        let mut description = prompts.search_description.clone();
        let mut filter = prompts.search_filter_param.clone();
        for index in indexes {
            let (uid, about) = (&index.uid, &index.description);
            description.push_str(&format!("\n\n - {uid}: {about}\n\n"));
            filter.push_str(&format!("\n## Facet distributions of the {uid} index\n"));
            for (field, values) in &index.facets {
                let end = if values.is_empty() { "" } else { "." };
                filter.push_str(&format!("{field}: {}{end}\n", values.join(", ")));
            }
            filter.push('\n');
        }
        let uids: Vec<&str> = indexes.iter().map(|index| index.uid.as_str()).collect();
        let parameters = json!({
            "type": "object",
            "properties": {
                "index_uid": {
                    "type": "string",
                    "enum": uids,
                    "description": prompts.search_index_uid_param,
                },
                "q": {"type": "string", "description": prompts.search_q_param},
                "filter": {"type": "string", "description": filter},
            },
            "required": ["index_uid", "q", "filter"],
            "additionalProperties": false,
        });
        self.tools = Some(vec![Tool {
            r#type: ToolKind::Function,
            function: Function {
                name: SEARCH.to_owned(),
                description: Some(description),
                parameters: Some(parameters),
                strict: Some(true),
            },
        }]);
        let content = Content::Text(prompts.system.clone());
        let first = match role {
            "developer" => Message::Developer {
                content,
                name: None,
            },
            _ => Message::System {
                content,
                name: None,
            },
        };
        self.messages.insert(0, first);
    }
}

/// What the LLM calls the search with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SearchCall {
    /// Where.
    pub index_uid: String,
    /// The words.
    pub q: Option<String>,
    /// The conditions.
    pub filter: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Completion {
        Completion::read(body.to_string().as_bytes()).expect("a right request")
    }

    fn refused(body: &str) -> (String, String) {
        let error = Completion::read(body.as_bytes()).expect_err("a wrong request");
        (error.code.into_owned(), error.message)
    }

    #[test]
    fn wrong_requests_are_told_by_what_is_wrong() {
        let (code, message) = refused("{}");
        assert_eq!(code, "bad_request");
        assert_eq!(
            message,
            "Json deserialize error: missing field `messages` at line 1 column 2"
        );
        let (code, message) = refused(r#"{"model":"m","messages":[{"role":"x"}]}"#);
        assert_eq!(code, "bad_request");
        assert!(message.contains("unknown variant `x`, expected one of `developer`, `system`, `user`, `assistant`, `tool`, `function`"), "{message}");
        assert_eq!(refused("no").0, "malformed_payload");
    }

    #[test]
    fn one_streamed_answer_is_all_there_is() {
        let refusal = |body: Value| read(body).check().expect_err("refused").code.into_owned();
        let streamed = json!({"model": "m", "messages": [], "stream": true});
        assert!(read(streamed.clone()).check().is_ok());
        let whole = json!({"model": "m", "messages": []});
        assert_eq!(
            refusal(whole),
            "unimplemented_non_streaming_chat_completions"
        );
        let mut two = streamed;
        two["n"] = json!(2);
        assert_eq!(refusal(two), "unimplemented_multi_choice_chat_completions");
    }

    #[test]
    fn functions_of_the_client_say_what_it_wants_to_be_told() {
        let tools = |names: &[&str]| -> Vec<Value> {
            let tool = |name: &&str| json!({"type": "function", "function": {"name": name}});
            names.iter().map(tool).collect()
        };
        let ask = |names: &[&str]| {
            let body = json!({"model": "m", "messages": [], "tools": tools(names)});
            let mut request = read(body);
            let wishes = request
                .take_wishes()
                .map_err(|error| error.code.into_owned());
            (wishes, request.tools)
        };
        let wishes = Wishes {
            progress: true,
            sources: false,
            append: true,
        };
        assert_eq!(ask(&[PROGRESS, APPEND]), (Ok(wishes), None));
        assert_eq!(ask(&[SEARCH]).0, Err("bad_request".to_owned()));
        let external = Err("unimplemented_external_function_calling".to_owned());
        assert_eq!(ask(&["other"]).0, external);
    }

    #[test]
    fn the_search_is_declared_with_what_is_known_of_the_indexes() {
        let mut request = read(json!({
            "model": "m", "temperature": 0.5, "unknown": 1,
            "messages": [{"role": "user", "content": "hi"}],
        }));
        let prompts = Prompts {
            system: "S".into(),
            search_description: "D".into(),
            search_q_param: "Q".into(),
            search_filter_param: "F".into(),
            search_index_uid_param: "I".into(),
        };
        let movies = KnownIndex {
            uid: "movies".into(),
            description: "Films".into(),
            facets: vec![
                ("genre".into(), vec!["scifi".into(), "horror".into()]),
                ("year".into(), vec![]),
            ],
        };
        let empty = KnownIndex {
            uid: "empty".into(),
            ..KnownIndex::default()
        };
        request.declare_search(&[empty, movies], &prompts, "developer");
        let sent = serde_json::to_value(&request).expect("JSON");
        assert_eq!(
            sent["messages"][0],
            json!({"role": "developer", "content": "S"})
        );
        assert_eq!(
            (sent.get("unknown"), &sent["temperature"]),
            (None, &json!(0.5))
        );
        let function = &sent["tools"][0]["function"];
        assert_eq!(
            function["description"],
            "D\n\n - empty: \n\n\n\n - movies: Films\n\n"
        );
        let properties = &function["parameters"]["properties"];
        assert_eq!(properties["index_uid"]["enum"], json!(["empty", "movies"]));
        assert_eq!(
            properties["filter"]["description"],
            "F\n## Facet distributions of the empty index\n\n\
             \n## Facet distributions of the movies index\n\
             genre: scifi, horror.\nyear: \n\n"
        );
    }
}
