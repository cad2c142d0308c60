//! Chats: the workspaces, the searches of an LLM, and what it is shown of the documents found.
//!
//! Miroir holds the conversations itself (`miroir-http`): nodes never hear of them, they only search.

pub mod port;
mod search;
mod template;
mod workspaces;

pub use search::ChatFound;
pub(crate) use template::check as check_template;
pub use template::{RenderError, render};
pub use workspaces::Workspaces;
pub(crate) use workspaces::{ChatKeeper, load};
