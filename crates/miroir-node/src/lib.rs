//! The client of Meilisearch nodes, over plain HTTP/1.1.
//!
//! [`HttpNodeClient`] carries the engine's reads and writes out: `request` puts them in words,
//! `http` sends them over kept connections, `error` tells whose fault a failure is and whether
//! the node may have done what was asked.
//!
//! [`HttpHookClient`] calls webhooks, [`HttpRemoteClient`] other instances, the targets of exports,
//! [`HttpLlmClient`] the LLMs of chats; [`IpPolicy`] says at which addresses those may be, [`Roots`]
//! who may vouch for them.
//!
//! **Law:** a write is sent at most once for each call. What cannot be known to have stayed here is
//! [`NodeError::UnknownOutcome`](miroir_engine::port::NodeError::UnknownOutcome); only reads are
//! sent again, and only once.

mod body;
mod client;
mod error;
mod hook;
mod http;
mod kept;
mod llm;
mod nodes;
mod outward;
mod policy;
mod remote;
mod request;
mod roots;
mod tasks;

pub use client::HttpNodeClient;
pub use hook::HttpHookClient;
pub use llm::HttpLlmClient;
pub use nodes::NodeAddress;
pub use policy::IpPolicy;
pub use remote::HttpRemoteClient;
pub use roots::Roots;
