//! One answer of an LLM, piece by piece: what of it goes to the client, and what it calls.

use super::SEARCH;
use super::completion::{FunctionCall, ToolCall, ToolKind};
use super::event::{CallPart, Chunk, Finish};
use std::collections::BTreeMap;

/// So many calls may stand in one answer; more are left out.
const CALLS_MAX: usize = 64;
/// So long may the arguments of one call be; such a call is answered as one that cannot be read.
const ARGUMENTS_BYTES_MAX: usize = 256 * 1024;

/// What a piece means.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It goes to the client.
    Forward(Box<Chunk>),
    /// These searches are to be carried out, in order; what the client is told of them is told with
    /// this piece.
    Search(Vec<ToolCall>, Box<Chunk>),
    /// Nothing yet.
    Wait,
    /// Nothing more comes that matters.
    End,
}

/// An answer as far as it came.
#[derive(Debug, Default)]
pub struct Answer {
    /// By their place among the calls; `None` is the call of something that is not there.
    calls: BTreeMap<u32, Option<ToolCall>>,
    last: Option<Box<Chunk>>,
    finish: Option<Finish>,
}

impl Answer {
    /// Takes a piece in.
    pub fn take(&mut self, chunk: Chunk) -> Step {
        let Some(choice) = chunk.choices.first() else {
            // Of tokens used, which comes last; some LLMs begin with such a piece.
            return match self.finish {
                Some(_) => Step::End,
                None => Step::Wait,
            };
        };
        self.finish = choice.finish_reason;
        if let Some(parts) = &choice.delta.tool_calls {
            for part in parts {
                self.take_part(part);
            }
            self.last = Some(Box::new(chunk));
            return Step::Wait;
        }
        if self.calls.is_empty() {
            Step::Forward(Box::new(chunk))
        } else {
            Step::Search(self.take_calls(), Box::new(chunk))
        }
    }

    /// What is left when no more pieces come: some LLMs end with the last part of a call.
    pub fn end(&mut self) -> Step {
        match self.last.take() {
            Some(last) if self.calls_functions() && !self.calls.is_empty() => {
                Step::Search(self.take_calls(), last)
            }
            _ => Step::End,
        }
    }

    /// Whether the answer ends so that the LLM be told what its calls came to.
    #[must_use]
    pub fn calls_functions(&self) -> bool {
        self.finish == Some(Finish::ToolCalls)
    }

    fn take_part(&mut self, part: &CallPart) {
        let Some(function) = &part.function else {
            return;
        };
        let more = function.arguments.as_deref().unwrap_or_default();
        if let Some(known) = self.calls.get_mut(&part.index) {
            if let Some(call) = known {
                let arguments = &mut call.function.arguments;
                if arguments.len() + more.len() <= ARGUMENTS_BYTES_MAX {
                    arguments.push_str(more);
                }
            }
            return;
        }
        if self.calls.len() == CALLS_MAX || more.len() > ARGUMENTS_BYTES_MAX {
            return;
        }
        let is_search = function.name.as_deref() == Some(SEARCH);
        let call = is_search.then(|| ToolCall {
            id: part.id.clone().unwrap_or_default(),
            r#type: Some(ToolKind::Function),
            function: FunctionCall {
                name: SEARCH.to_owned(),
                arguments: more.to_owned(),
            },
        });
        self.calls.insert(part.index, call);
    }

    fn take_calls(&mut self) -> Vec<ToolCall> {
        let calls = std::mem::take(&mut self.calls);
        calls.into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn piece(delta: Value, finish: Value) -> Chunk {
        serde_json::from_value(json!({
            "id": "c", "object": "o", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }))
        .expect("a piece")
    }

    fn part(index: u32, name: Value, arguments: &str) -> Chunk {
        let function = json!({"name": name, "arguments": arguments});
        let call = json!({"index": index, "id": format!("call_{index}"), "function": function});
        piece(json!({"tool_calls": [call]}), Value::Null)
    }

    #[test]
    fn text_goes_to_the_client() {
        let mut answer = Answer::default();
        let text = piece(json!({"content": "a"}), Value::Null);
        assert_eq!(answer.take(text.clone()), Step::Forward(Box::new(text)));
        let end = piece(json!({}), json!("stop"));
        assert!(matches!(answer.take(end), Step::Forward(_)));
        assert!(!answer.calls_functions());
        assert_eq!(answer.end(), Step::End);
    }

    #[test]
    fn calls_are_put_together_from_their_parts() {
        let mut answer = Answer::default();
        assert_eq!(answer.take(part(1, json!(SEARCH), "{\"b")), Step::Wait);
        assert_eq!(answer.take(part(0, json!(SEARCH), "{\"a")), Step::Wait);
        assert_eq!(answer.take(part(1, Value::Null, "\":1}")), Step::Wait);
        assert_eq!(answer.take(part(2, json!("other"), "{}")), Step::Wait);
        let Step::Search(calls, _) = answer.take(piece(json!({}), json!("tool_calls"))) else {
            panic!("there are calls");
        };
        let arguments: Vec<&str> = calls.iter().map(|call| &*call.function.arguments).collect();
        assert_eq!(arguments, ["{\"a", "{\"b\":1}"]);
        assert!(answer.calls_functions());
        assert_eq!(answer.end(), Step::End);
    }

    #[test]
    fn an_answer_may_end_with_its_last_call() {
        let mut answer = Answer::default();
        let mut last = part(0, json!(SEARCH), "{}");
        last.choices[0].finish_reason = Some(Finish::ToolCalls);
        assert_eq!(answer.take(last), Step::Wait);
        assert!(matches!(answer.end(), Step::Search(calls, _) if calls.len() == 1));
        assert_eq!(answer.end(), Step::End);
    }

    #[test]
    fn what_an_llm_calls_is_bounded() {
        let mut answer = Answer::default();
        for index in 0..200 {
            answer.take(part(index, json!(SEARCH), "{"));
        }
        for _ in 0..200 {
            answer.take(part(0, Value::Null, &"a".repeat(10_000)));
        }
        let Step::Search(calls, _) = answer.take(piece(json!({}), json!("tool_calls"))) else {
            panic!("there are calls");
        };
        assert_eq!(calls.len(), CALLS_MAX);
        assert!(calls[0].function.arguments.len() <= ARGUMENTS_BYTES_MAX);
    }
}
