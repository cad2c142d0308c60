//! The nodes of `miroir dev`: started together, restarted when they die, stopped with us.
//!
//! Each node has one owner, a task that starts it, waits for it and stops it. The owner holds the
//! node's standard input; when the owner goes, however it goes, the pipe closes and the node ends.

use super::launch::{self, NodeProcess, Program};
use super::port::{self, Port};
use crate::client::HttpClient;
use crate::screen;
use anyhow::{Context, anyhow, bail};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A node that answers nothing for this long will not, on a machine that does much else too. (One that
/// ends is told of at once.)
const START_MAX: Duration = Duration::from_secs(120);
/// The step of waiting for a node's first answer.
const POLL: Duration = Duration::from_millis(5);
/// Ports tried for one node, each lost to another program in the instant before the node bound it.
const PORTS_MAX: usize = 5;
/// After this many restarts within [`RESTART_WINDOW`] a node stays down: its fault is its own.
const RESTARTS_MAX: u32 = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// The pause before restart n is n times this.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// Long enough for a node to finish the write it is in.
const STOP_MAX: Duration = Duration::from_secs(10);
/// The lines of a node's log that are shown when it cannot start.
const TAIL_LINES: usize = 12;

/// The running nodes. Dropping it stops them without waiting.
#[derive(Debug)]
pub(crate) struct Fleet {
    urls: Vec<(String, String)>,
    stop: CancellationToken,
    owners: JoinSet<()>,
}

impl Fleet {
    /// Starts `count` nodes in `folder/node-1`, `folder/node-2`, … and returns when all answer.
    /// With `restart`, a node that dies later is started again on its port.
    ///
    /// # Errors
    /// If one does not start, with the end of its log.
    pub(crate) async fn start(
        program: &Program,
        folder: &Path,
        count: u32,
        restart: bool,
    ) -> anyhow::Result<Self> {
        let mut starting = JoinSet::new();
        for number in 1..=count {
            let name = format!("node-{number}");
            let node = Node {
                folder: folder.join(&name),
                name,
                program: program.clone(),
            };
            starting.spawn(async move { (number, node.start().await) });
        }
        let mut nodes = Vec::new();
        while let Some(joined) = starting.join_next().await {
            let (number, started) = joined.context("the start of a node was lost")?;
            nodes.push((number, started?));
        }
        nodes.sort_by_key(|(number, _)| *number);
        let mut fleet = Self {
            urls: Vec::new(),
            stop: CancellationToken::new(),
            owners: JoinSet::new(),
        };
        for (_, started) in nodes {
            fleet.urls.push((started.node.name.clone(), started.url()));
            fleet.owners.spawn(started.own(fleet.stop.clone(), restart));
        }
        Ok(fleet)
    }

    /// The name and URL of each node, in order.
    pub(crate) fn urls(&self) -> &[(String, String)] {
        &self.urls
    }

    /// Stops every node and returns when all have ended.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.owners.join_next().await.is_some() {}
    }
}

/// What a node is made of.
#[derive(Debug)]
struct Node {
    name: String,
    folder: PathBuf,
    program: Program,
}

/// A node that answers.
#[derive(Debug)]
struct Started {
    node: Node,
    port: Port,
    process: NodeProcess,
}

impl Node {
    /// Starts the node on any free port and returns when it answers.
    async fn start(self) -> anyhow::Result<Started> {
        for _ in 0..PORTS_MAX {
            let port = Port::reserve()?;
            let log_start = std::fs::metadata(launch::log_path(&self.folder))
                .map_or(0, |metadata| metadata.len());
            let mut process = self.program.spawn(&self.folder, port.number)?;
            match self
                .wait_until_healthy(&mut process.child, port.number)
                .await?
            {
                Health::Answers => {
                    return Ok(Started {
                        node: self,
                        port,
                        process,
                    });
                }
                // Another program was faster: only then is the port taken although the node ended.
                Health::Ended(_) if !port::is_free(port.number) => {}
                Health::Ended(status) => {
                    return Err(self.explain(&format!("it ended with {status}"), log_start));
                }
                Health::Silent => {
                    let text = format!("it did not answer within {START_MAX:?}");
                    return Err(self.explain(&text, log_start));
                }
            }
        }
        bail!(
            "{}: {PORTS_MAX} ports in a row were taken by other programs",
            self.name
        )
    }

    async fn wait_until_healthy(&self, child: &mut Child, port: u16) -> anyhow::Result<Health> {
        let url = format!("http://127.0.0.1:{port}");
        let client = HttpClient::new(&url, None, Duration::from_secs(1))?;
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                return Ok(Health::Ended(status));
            }
            // The child is looked at again after the answer: a stranger on the port may have
            // given it while our node failed to bind.
            if client.get("/health").await.is_ok() {
                return Ok(match child.try_wait()? {
                    Some(status) => Health::Ended(status),
                    None => Health::Answers,
                });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Health::Silent)
    }

    fn explain(&self, what: &str, log_start: u64) -> anyhow::Error {
        let tail = launch::log_tail(&self.folder, log_start, TAIL_LINES);
        let log = launch::log_path(&self.folder);
        let said = match tail.as_str() {
            "" => "It logged nothing.".to_owned(),
            tail => format!("The end of its log ({}):\n    {tail}", log.display()),
        };
        let fix = match &self.program.binary {
            Some(binary) => format!(
                "Check that {} is a Meilisearch, that it fits the data in {}, and your --node-arg \
                 values; or pass --data with another folder.",
                binary.display(),
                self.folder.display()
            ),
            None => format!(
                "If the data in {} was written by another version, pass --data with another \
                 folder.",
                self.folder.display()
            ),
        };
        anyhow!("{} did not start: {what}.\n{said}\n{fix}", self.name)
    }
}

/// What came of waiting for a node.
#[derive(Debug)]
enum Health {
    Answers,
    Ended(ExitStatus),
    Silent,
}

impl Started {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }

    /// Owns the node until it is told to stop, or the node is past help.
    async fn own(mut self, stop: CancellationToken, restart: bool) {
        let mut restarts = 0;
        let mut window_start = Instant::now();
        loop {
            let died = tokio::select! {
                status = self.process.child.wait() => status,
                () = stop.cancelled() => break self.end().await,
            };
            let how = died.map_or_else(|error| error.to_string(), |status| status.to_string());
            if !restart {
                break screen::note(format_args!("{} ended ({how})", self.node.name));
            }
            if window_start.elapsed() > RESTART_WINDOW {
                (restarts, window_start) = (0, Instant::now());
            }
            restarts += 1;
            if restarts > RESTARTS_MAX {
                break self.give_up(&how);
            }
            screen::note(format_args!(
                "{} ended ({how}); starting it again ({restarts} of {RESTARTS_MAX})",
                self.node.name
            ));
            tokio::select! {
                () = tokio::time::sleep(RESTART_PAUSE * restarts) => {}
                () = stop.cancelled() => break,
            }
            match self.node.program.spawn(&self.node.folder, self.port.number) {
                Ok(process) => self.process = process,
                Err(error) => break screen::problem(&error),
            }
        }
    }

    fn give_up(&self, how: &str) {
        let tail = launch::log_tail(&self.node.folder, 0, TAIL_LINES);
        screen::note(format_args!(
            "{} ended {} times within {RESTART_WINDOW:?} (last: {how}) and stays down; the others \
             go on. The end of its log:\n    {tail}",
            self.node.name,
            RESTARTS_MAX + 1,
        ));
    }

    /// Closes the node's standard input, which ends it.
    async fn end(&mut self) {
        drop(self.process.pipe.take());
        if tokio::time::timeout(STOP_MAX, self.process.child.wait())
            .await
            .is_ok()
        {
            return;
        }
        // A guard ends its program at once, so only the bundled node can be this late; it keeps
        // what it acknowledged through a kill.
        screen::note(format_args!(
            "{} did not stop in time and is killed",
            self.node.name
        ));
        let _ = self.process.child.kill().await;
    }
}
