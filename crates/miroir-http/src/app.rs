//! What every handler can reach.

use crate::auth::ring::KeyRing;
use crate::feature::Features;
use crate::gate::{Gate, GateLimits};
use crate::logs::LogControl;
use miroir_engine::Engine;
use miroir_engine::chat::port::LlmClient;
use std::fmt;
use std::sync::Arc;

/// How the face behaves.
#[derive(Clone)]
pub struct Options {
    /// The key that opens every route; without one, every route is open.
    pub master_key: Option<String>,
    /// The largest body accepted, in bytes after decompression.
    pub http_payload_size_limit: u64,
    /// Experimental features that are on.
    pub features: Features,
    /// The logs of this process, if they can be changed and followed.
    pub logs: Option<Arc<dyn LogControl>>,
    /// Who asks LLMs; without it chats can be set up and not held.
    pub llm: Option<Arc<dyn LlmClient>>,
    /// How many searches run and wait at once.
    pub searches: GateLimits,
    /// How many payloads are taken in and wait at once.
    pub uploads: GateLimits,
}

impl Options {
    /// The payload size limit Meilisearch has by default.
    pub const HTTP_PAYLOAD_SIZE_LIMIT_DEFAULT: u64 = 100_000_000;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            master_key: None,
            http_payload_size_limit: Self::HTTP_PAYLOAD_SIZE_LIMIT_DEFAULT,
            features: Features::default(),
            logs: None,
            llm: None,
            searches: GateLimits::for_searches(1, 1),
            uploads: GateLimits::UPLOADS,
        }
    }
}

// By hand, so that a key never reaches a log.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("master_key", &self.master_key.as_ref().map(|_| "<hidden>"))
            .field("http_payload_size_limit", &self.http_payload_size_limit)
            .field("features", &self.features)
            .field("searches", &self.searches)
            .field("uploads", &self.uploads)
            .finish_non_exhaustive()
    }
}

/// The state of the router.
pub(crate) type AppState = Arc<App>;

/// The engine, the options, the keys and the gates.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) options: Options,
    pub(crate) keys: KeyRing,
    /// Passed by what a node's search queue counts: searches and listings of documents.
    pub(crate) searches: Gate,
    /// Passed by payloads while they are taken in.
    pub(crate) uploads: Gate,
    /// Passed by JSON bodies too large to have many of in memory.
    pub(crate) large_bodies: Gate,
}

impl App {
    pub(crate) fn shared(engine: Engine, options: Options) -> AppState {
        let keys = KeyRing::new(options.master_key.clone());
        Arc::new(Self {
            searches: Gate::new(options.searches, "search requests"),
            uploads: Gate::new(options.uploads, "payloads"),
            large_bodies: Gate::new(GateLimits::LARGE_BODIES, "large payloads"),
            engine,
            options,
            keys,
        })
    }
}
