//! Chats: what a workspace must be, what a conversation is asked with, and what of the answers of a
//! large language model (an LLM) goes to the client, what into a search.
//!
//! Pure: the wire of OpenAI and its kin, and a machine that is fed with what comes over it.

pub mod completion;
pub mod conversation;
pub mod event;
mod prompts;
pub mod sse;
pub mod workspace;

use crate::error::{Code, ResponseError};

/// The name under which the switch of chats is known.
pub const FEATURE: &str = "chatCompletions";

/// The function that an LLM calls to search.
pub const SEARCH: &str = "_meiliSearchInIndex";
/// A client that declares this function is told of searches as they begin.
pub const PROGRESS: &str = "_meiliSearchProgress";
/// A client that declares this function is told which documents were found.
pub const SOURCES: &str = "_meiliSearchSources";
/// A client that declares this function is told what to append to the conversation.
pub const APPEND: &str = "_meiliAppendConversationMessage";

/// Something of chats was asked while they are off.
#[must_use]
pub fn not_enabled(asked: &str) -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!(
            "{asked} requires enabling the `chat completions` experimental feature. See \
             https://github.com/orgs/meilisearch/discussions/835"
        ),
    )
}

/// There is no such workspace, as the routes of its settings and of conversations say it.
#[must_use]
pub fn settings_not_found(uid: &str) -> ResponseError {
    ResponseError::new(Code::ChatNotFound, format!("Chat `{uid}` not found"))
}

/// There is no such workspace, as the route of the workspace itself says it.
#[must_use]
pub fn chat_not_found(uid: &str) -> ResponseError {
    ResponseError::new(Code::ChatNotFound, format!("chat {uid} not found"))
}
