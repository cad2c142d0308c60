//! Conversations: what an LLM is told, the searches it calls for, and the stream to the client.

mod search;
mod talk;

pub(crate) use talk::{Talk, known_indexes};
