//! One proxy as a process: `miroir serve` over a configuration file of its own.

use crate::process::{Process, save_logs, truncate};
use crate::{Client, PATIENCE, Programs, clean_command, free_port, poll};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tempfile::TempDir;

/// What a search may take where a test does not say: it is a test of deadlines that is to fail by
/// one, and no other, however busy the machine.
const SEARCH_DEADLINE: &str = "search_deadline = \"120 s\"";

/// How a proxy is configured.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// Names and base URLs of its nodes.
    pub nodes: Vec<(String, String)>,
    /// The copies of each shard.
    pub replication_factor: u32,
    /// The shards of a new index.
    pub shards: u32,
    /// Further lines at the top of the configuration file, each `key = value`.
    pub config: Vec<String>,
    /// The master key; none leaves the endpoint open.
    pub master_key: Option<String>,
    /// The key of its nodes.
    pub node_key: Option<String>,
}

impl ProxyOptions {
    /// Over these nodes, named `node-1`, `node-2`, …: two copies of eight shards, no keys, and a node's
    /// death is noticed quickly.
    #[must_use]
    pub fn over(urls: impl IntoIterator<Item = String>) -> Self {
        let names = (1..).map(|number| format!("node-{number}"));
        Self {
            nodes: names.zip(urls).collect(),
            replication_factor: 2,
            shards: 8,
            config: vec!["probe_interval = \"100 ms\"".to_owned()],
            master_key: None,
            node_key: None,
        }
    }

    /// With a further line of configuration.
    #[must_use]
    pub fn with(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }
}

/// A proxy. Dropping it stops the process and removes the folder.
#[derive(Debug)]
pub struct ProxyProcess {
    miroir: PathBuf,
    options: ProxyOptions,
    folder: TempDir,
    process: Option<Process>,
    client: Client,
}

impl ProxyProcess {
    /// Starts a proxy on an empty folder and a free port, and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer; the end of its log is in the message.
    pub fn start(programs: &Programs, options: ProxyOptions) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("miroir-proxy-").tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        fs::write(folder.path().join("miroir.toml"), config(address, &options))?;
        let client = Client::new(address, options.master_key.as_deref());
        let miroir = programs.miroir.clone();
        let mut proxy = Self {
            miroir,
            options,
            folder,
            process: None,
            client,
        };
        proxy.restart(&[])?;
        Ok(proxy)
    }

    /// Starts it again on the same folder and port, with further environment variables; kills it
    /// before if it runs.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn restart(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        self.spawn(environment)?;
        let client = &self.client;
        let process = self.process.as_mut().context("spawned above")?;
        poll("the start of a proxy", PATIENCE, || {
            process.check_running().context("a proxy")?;
            Ok(client
                .get("/health")
                .is_ok_and(|reply| reply.status == 200)
                .then_some(()))
        })
    }

    /// As [`Self::restart`], without waiting for anything.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        self.kill();
        let log = self.folder.path().join("log");
        truncate(&log)?;
        let mut command = clean_command(&self.miroir);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.folder.path().join("miroir.toml"));
        if let Some(key) = &self.options.master_key {
            command.env("MIROIR_MASTER_KEY", key);
        }
        if let Some(key) = &self.options.node_key {
            command.env("MIROIR_NODE_KEY", key);
        }
        command
            .envs(environment.iter().copied())
            .current_dir(self.folder.path());
        self.process = Some(Process::start(&command, &log)?);
        Ok(())
    }

    /// What a command of the program says when it is pointed to this proxy.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = clean_command(&self.miroir);
        command.args(arguments).args(["--url", &self.client.url()]);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    /// From the next start on this program is run in its place.
    pub fn run_as(&mut self, program: &Path) {
        program.clone_into(&mut self.miroir);
    }

    /// The id of its process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process_id(&self) -> Result<u32> {
        Ok(self.process().context("no process")?.id())
    }

    /// Kills it (SIGKILL); folder and port stay its own.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Lets the process stand still, or go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn set_suspended(&self, is_suspended: bool) -> Result<()> {
        let signal = if is_suspended { "STOP" } else { "CONT" };
        self.process().context("no process")?.signal(signal)
    }

    /// Puts its logs, with those of its earlier runs, into a folder, for who looks for the cause of a
    /// failure.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn save_logs(&self, to: &Path) -> Result<()> {
        save_logs(&self.folder.path().join("log"), to, "proxy")
    }

    /// Waits until it says that traffic may be sent to it.
    ///
    /// # Errors
    /// When it does not say so in time.
    pub fn wait_ready(&self) -> Result<()> {
        let client = &self.client;
        let tail = || {
            self.process
                .as_ref()
                .map(Process::log_tail)
                .unwrap_or_default()
        };
        poll("the readiness of a proxy", PATIENCE, || {
            Ok(client
                .get("/_miroir/ready")
                .is_ok_and(|reply| reply.status == 200)
                .then_some(()))
        })
        .with_context(|| format!("the log of the proxy ends with:\n{}", tail()))
    }

    /// A client that holds its master key.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its folder: the configuration, the log and the data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The running process, if it runs.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }
}

fn config(address: SocketAddr, options: &ProxyOptions) -> String {
    let mut text = format!(
        "http_addr = \"{address}\"\ndata_dir = \"data\"\nreplication_factor = {}\n\
         default_shards = {}\n",
        options.replication_factor, options.shards
    );
    let mut lines = options.config.iter();
    if !lines.any(|line| line.starts_with("search_deadline")) {
        let _ = writeln!(text, "{SEARCH_DEADLINE}");
    }
    for line in &options.config {
        let _ = writeln!(text, "{line}");
    }
    for (name, url) in &options.nodes {
        let _ = write!(text, "\n[[nodes]]\nname = \"{name}\"\nurl = \"{url}\"\n");
    }
    text
}
