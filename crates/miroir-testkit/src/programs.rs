//! Which executables a test runs, from its environment.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// A server binary to use as node instead of the bundled one.
const NODE_VARIABLE: &str = "MIROIR_TEST_NODE";
/// How many times larger than usual the generated data is.
const SCALE_VARIABLE: &str = "MIROIR_TEST_SCALE";

/// The executables of a test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The `miroir` binary under test.
    pub miroir: PathBuf,
    /// What runs as a node.
    pub node: NodeProgram,
}

/// What runs as a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeProgram {
    /// The development node inside the `miroir` binary at this path.
    Bundled(PathBuf),
    /// A Meilisearch server binary.
    Server(PathBuf),
}

impl Programs {
    /// The binary under test, with the nodes that `MIROIR_TEST_NODE` asks for.
    ///
    /// An integration test passes `env!("CARGO_BIN_EXE_miroir")`.
    #[must_use]
    pub fn new(miroir: impl Into<PathBuf>) -> Self {
        let miroir = miroir.into();
        let node = match env::var_os(NODE_VARIABLE) {
            Some(path) if !path.is_empty() => NodeProgram::Server(path.into()),
            _ => NodeProgram::Bundled(miroir.clone()),
        };
        Self { miroir, node }
    }

    /// Whether the nodes are real Meilisearch servers.
    #[must_use]
    pub fn has_real_nodes(&self) -> bool {
        matches!(self.node, NodeProgram::Server(_))
    }
}

/// A command without the variables that whoever runs the tests has set for a Miroir of his own.
pub fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("MIROIR_") {
            command.env_remove(name);
        }
    }
    command
}

/// How many times larger than usual generated data shall be: `MIROIR_TEST_SCALE`, at least 1.
#[must_use]
pub fn scale() -> usize {
    env::var(SCALE_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
        .max(1)
}
