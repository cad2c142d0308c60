//! One Meilisearch node as a process with a folder and a port of its own.

use crate::process::{Process, START_LIMIT, truncate};
use crate::{Client, NodeProgram, free_port, poll};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// How a node is started.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// Its master key; none leaves it open.
    pub master_key: Option<String>,
    /// Further arguments, understood by the program that runs.
    pub arguments: Vec<String>,
}

/// A node. Dropping it stops the process and removes the folder.
#[derive(Debug)]
pub struct NodeProcess {
    program: NodeProgram,
    options: NodeOptions,
    folder: TempDir,
    address: SocketAddr,
    process: Option<Process>,
    client: Client,
}

impl NodeProcess {
    /// Starts a node on an empty folder and a free port, and waits until it is healthy.
    ///
    /// # Errors
    /// When it does not become healthy; the end of its log is in the message.
    pub fn start(program: &NodeProgram, options: NodeOptions) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("miroir-node-").tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let client = Client::new(address, options.master_key.as_deref());
        let mut node = Self {
            program: program.clone(),
            options,
            folder,
            address,
            process: None,
            client,
        };
        node.restart()?;
        Ok(node)
    }

    /// Starts it again on the same folder and port; kills it before if it runs.
    ///
    /// # Errors
    /// When it does not become healthy.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let log = self.log();
        truncate(&log)?;
        let process = self.process.insert(Process::start(self.command(), &log)?);
        let client = &self.client;
        poll("the start of a node", START_LIMIT, || {
            process.check_running().context("a node")?;
            Ok(client
                .get("/health")
                .is_ok_and(|reply| reply.status == 200)
                .then_some(()))
        })
    }

    /// Kills it (SIGKILL); folder and port stay its own.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Kills it and removes all it had stored.
    ///
    /// # Errors
    /// When the folder cannot be removed.
    pub fn kill_and_wipe(&mut self) -> Result<()> {
        self.kill();
        std::fs::remove_dir_all(self.folder.path().join("db"))?;
        Ok(())
    }

    /// A client that holds its master key.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.client.url()
    }

    /// The folder that a Meilisearch server writes its dumps into.
    #[must_use]
    pub fn dumps(&self) -> PathBuf {
        self.folder.path().join("dumps")
    }

    /// The running process, if it runs.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn command(&self) -> Command {
        let folder = self.folder.path();
        let mut command = match &self.program {
            NodeProgram::Bundled(miroir) => {
                let mut command = Command::new(miroir);
                command.args(["devnode", "--exit-on-stdin-eof"]);
                if let Some(key) = &self.options.master_key {
                    command.args(["--master-key", key]);
                }
                command
            }
            NodeProgram::Server(path) => {
                let mut command = Command::new(path);
                command.args(["--no-analytics", "--env", "development"]);
                command.args(["--max-indexing-threads", "1"]);
                // More costs processor time with every write, however small.
                command.args(["--max-indexing-memory", "512MiB"]);
                command.arg("--dump-dir").arg(folder.join("dumps"));
                command.arg("--snapshot-dir").arg(folder.join("snapshots"));
                if let Some(key) = &self.options.master_key {
                    command.env("MEILI_MASTER_KEY", key);
                }
                command
            }
        };
        command.arg("--http-addr").arg(self.address.to_string());
        command.arg("--db-path").arg(folder.join("db"));
        command.args(&self.options.arguments).current_dir(folder);
        command
    }
}
