//! One Meilisearch node as a process with a folder and a port of its own.

use crate::disk::SmallDisk;
use crate::process::{Process, save_logs, truncate};
use crate::{Client, NodeProgram, PATIENCE, free_port, poll};
use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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
    /// What it is stored on, if that is not the folder. Before the folder, which it is mounted in.
    disk: Option<SmallDisk>,
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
        Self::start_on(program, options, None)
    }

    /// Starts a node that stores on a disk of `disk_bytes`, if there may be one here: the reason why
    /// not is printed otherwise.
    ///
    /// # Errors
    /// When it does not become healthy; the end of its log is in the message.
    pub fn start_on(
        program: &NodeProgram,
        options: NodeOptions,
        disk_bytes: Option<u64>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("miroir-node-").tempdir()?;
        let disk = disk_bytes.and_then(|bytes| {
            let disk = SmallDisk::mount(&folder.path().join("disk"), bytes);
            disk.inspect_err(|error| println!("no small disk can be had here: {error}"))
                .ok()
        });
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let client = Client::new(address, options.master_key.as_deref());
        let mut node = Self {
            program: program.clone(),
            options,
            disk,
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
        let process = self.process.insert(Process::start(&self.command(), &log)?);
        let client = &self.client;
        poll("the start of a node", PATIENCE, || {
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
        fs::remove_dir_all(self.data())?;
        Ok(())
    }

    /// Kills it and keeps a copy of all it had stored.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn kill_and_back_up(&mut self) -> Result<()> {
        self.kill();
        let backup = self.backup();
        if backup.exists() {
            fs::remove_dir_all(&backup)?;
        }
        copy_folder(&self.data(), &backup)
    }

    /// Kills it and puts the copy in the place of what it has stored since.
    ///
    /// # Errors
    /// When there is no copy, or it cannot be put there.
    pub fn kill_and_restore(&mut self) -> Result<()> {
        self.kill_and_wipe()?;
        copy_folder(&self.backup(), &self.data())?;
        Ok(fs::remove_dir_all(self.backup())?)
    }

    /// Whether there is a copy that [`Self::kill_and_restore`] can use.
    #[must_use]
    pub fn has_backup(&self) -> bool {
        self.backup().exists()
    }

    /// Lets the process stand still: its port takes connections, and nothing comes back.
    ///
    /// # Errors
    /// When it does not run.
    pub fn suspend(&self) -> Result<()> {
        self.process().context("no process")?.signal("STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.process().context("no process")?.signal("CONT")
    }

    /// Whether it stores on a small disk.
    #[must_use]
    pub fn has_small_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Fills its small disk to the last byte.
    ///
    /// # Errors
    /// When it has none, or the disk cannot be written otherwise.
    pub fn fill_disk(&self) -> Result<()> {
        self.disk.as_ref().context("no small disk")?.fill()
    }

    /// Gives its small disk the space back.
    ///
    /// # Errors
    /// When it has none, or the disk cannot be written.
    pub fn free_disk(&self) -> Result<()> {
        self.disk.as_ref().context("no small disk")?.free()
    }

    /// Puts its logs, with those of its earlier runs, into a folder, under a name.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn save_logs(&self, to: &Path, name: &str) -> Result<()> {
        save_logs(&self.log(), to, name)
    }

    /// Where it really listens, whatever stands in between.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
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

    fn data(&self) -> PathBuf {
        let disk = self.disk.as_ref().map(SmallDisk::folder);
        disk.unwrap_or(self.folder.path()).join("db")
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
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
        command.arg("--db-path").arg(self.data());
        command.args(&self.options.arguments).current_dir(folder);
        command
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // Before its folder goes, and the disk in it.
        self.kill();
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
