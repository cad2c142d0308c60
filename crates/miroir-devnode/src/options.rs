//! How a node is started.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Address space kept for one index. The file is sparse and grows as needed; the number only bounds
/// it, and a container that limits virtual memory may need a smaller one.
const MAX_INDEX_SIZE_BYTES: u64 = 64 << 30;

/// The limit of a real node, 100 MB in decimal units.
const HTTP_PAYLOAD_SIZE_LIMIT_BYTES: u64 = 100_000_000;

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 takes any free one.
    pub http_addr: SocketAddr,
    /// Its own folder, made when missing. Two servers must never share one.
    pub db_path: PathBuf,
    /// With a key every route but `/health` asks for it, or for a key made from it.
    pub master_key: Option<String>,
    /// Largest decompressed body, in bytes.
    pub http_payload_size_limit: u64,
    /// Fault switch for tests: how long the worker waits before each batch.
    pub task_delay: Option<Duration>,
    /// Largest size of one index, in bytes.
    pub max_index_size: u64,
    /// Threads that index; one is the right number when several nodes share a small machine.
    pub indexing_threads: usize,
    /// Whether the node ends when its standard input closes, so that it never outlives the process
    /// that started it, however that one dies.
    pub exit_on_stdin_eof: bool,
}

impl Options {
    /// Default options for a node at an address with a folder.
    #[must_use]
    pub fn new(http_addr: SocketAddr, db_path: impl Into<PathBuf>) -> Self {
        Self {
            http_addr,
            db_path: db_path.into(),
            master_key: None,
            http_payload_size_limit: HTTP_PAYLOAD_SIZE_LIMIT_BYTES,
            task_delay: None,
            max_index_size: MAX_INDEX_SIZE_BYTES,
            indexing_threads: 1,
            exit_on_stdin_eof: false,
        }
    }
}
