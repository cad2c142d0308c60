//! How a node process is started: the bundled node, or a Meilisearch binary under a guard.

use anyhow::{Context, bail};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, ChildStdin, Command};

/// The program of the nodes, and what every one of them is told.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// This executable.
    pub(crate) miroir: PathBuf,
    /// The Meilisearch binary; `None` for the bundled node.
    pub(crate) binary: Option<PathBuf>,
    /// The user's own arguments for each node.
    pub(crate) args: Vec<String>,
    /// The nodes' master key.
    pub(crate) master_key: Option<String>,
    /// How many threads one node may index with.
    pub(crate) indexing_threads: usize,
}

/// One node's process.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    /// The process: the node, or its guard.
    pub(crate) child: Child,
    /// Its standard input, which ends it when it closes. Kept apart from the child, because
    /// waiting for a child closes the input that it holds.
    pub(crate) pipe: Option<ChildStdin>,
}

impl Program {
    /// Returns the program that `--node-binary` and `--node-arg` name.
    ///
    /// # Errors
    /// If the binary is not a file, or this build bundles no node and none is named.
    pub(crate) fn new(
        binary: Option<PathBuf>,
        args: Vec<String>,
        master_key: Option<String>,
        node_count: u32,
    ) -> anyhow::Result<Self> {
        let binary = match binary {
            Some(path) => Some(find(&path)?),
            None if cfg!(feature = "devnode") => None,
            None => bail!(
                "this build of miroir bundles no development node: pass --node-binary with the \
                 path of a Meilisearch binary, or build miroir with its default features"
            ),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let indexing_threads = (cores / node_count.max(1) as usize).max(1);
        let miroir = std::env::current_exe().context("the path of this program is unknown")?;
        Ok(Self {
            miroir,
            binary,
            args,
            master_key,
            indexing_threads,
        })
    }

    /// Starts one node in `folder` on a loopback port. Its output goes to `node.log` there, its
    /// process id to `node.pid`.
    ///
    /// # Errors
    /// If the folder cannot be written or the process cannot be started.
    pub(crate) fn spawn(&self, folder: &Path, port: u16) -> anyhow::Result<NodeProcess> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        let log = open_log(folder)?;
        let errors = log.try_clone().context("the node's log cannot be shared")?;
        let mut command = Command::new(&self.miroir);
        command
            .args(self.command_line(folder, port))
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors);
        // A Ctrl-C at the terminal reaches the whole foreground group. In groups of their own the
        // nodes are stopped by us, after the proxy.
        #[cfg(unix)]
        command.process_group(0);
        match &self.master_key {
            Some(key) => command.env("MEILI_MASTER_KEY", key),
            None => command.env_remove("MEILI_MASTER_KEY"),
        };
        let mut child = command
            .spawn()
            .context("the node's process cannot be started")?;
        let pipe = child.stdin.take();
        Ok(NodeProcess { child, pipe })
    }

    /// The arguments of this executable that run one node.
    fn command_line(&self, folder: &Path, port: u16) -> Vec<String> {
        let path = |name: &str| folder.join(name).display().to_string();
        let common = vec![
            "--http-addr".to_owned(),
            format!("127.0.0.1:{port}"),
            "--db-path".to_owned(),
            path("data.ms"),
        ];
        let pid_file = ["--pid-file".to_owned(), path("node.pid")];
        let mut line = Vec::new();
        match &self.binary {
            None => {
                line.push("devnode".to_owned());
                line.extend(pid_file);
                line.push("--exit-on-stdin-eof".to_owned());
                line.extend(common);
            }
            Some(binary) => {
                line.push("guard".to_owned());
                line.extend(pid_file);
                line.push("--".to_owned());
                line.push(binary.display().to_string());
                line.extend(common);
                let threads = self.indexing_threads.to_string();
                let defaults = [
                    ("--no-analytics", None),
                    ("--env", Some("development".to_owned())),
                    ("--dump-dir", Some(path("dumps"))),
                    ("--snapshot-dir", Some(path("snapshots"))),
                    ("--max-indexing-threads", Some(threads)),
                    ("--max-indexing-memory", Some(INDEXING_MEMORY.to_owned())),
                ];
                for (flag, value) in defaults {
                    // Meilisearch refuses a flag that stands twice; the user's wins.
                    let is_given = |arg: &String| arg.split('=').next() == Some(flag);
                    if !self.args.iter().any(is_given) {
                        line.push(flag.to_owned());
                        line.extend(value);
                    }
                }
            }
        }
        line.extend(self.args.iter().cloned());
        line
    }
}

/// What a node may use to index. Left alone, each takes two thirds of the machine's memory, and pays
/// for clearing a part of it with every write however small: a write of one document took
/// Meilisearch 1.50 0.06 s of processor time with up to 1 GiB, 0.2 s with 4, and 0.8 s left alone on
/// a machine of 24 GiB (docs/guide/configuration.md).
const INDEXING_MEMORY: &str = "512MiB";

/// Returns the absolute path of a program named by path, or found through `PATH`.
fn find(binary: &Path) -> anyhow::Result<PathBuf> {
    let is_name = binary.components().count() == 1;
    let on_path = std::env::var_os("PATH")
        .filter(|_| is_name)
        .unwrap_or_default();
    let candidates = std::iter::once(binary.to_owned())
        .chain(std::env::split_paths(&on_path).map(|folder| folder.join(binary)));
    for candidate in candidates {
        if candidate.is_file() {
            return std::path::absolute(&candidate)
                .with_context(|| format!("{} has no absolute path", candidate.display()));
        }
    }
    bail!(
        "--node-binary: there is no file {}: give the path of a Meilisearch binary, or leave the \
         flag out to use the bundled development node",
        binary.display()
    )
}

/// The log file of the node in `folder`.
pub(crate) fn log_path(folder: &Path) -> PathBuf {
    folder.join("node.log")
}

fn open_log(folder: &Path) -> anyhow::Result<File> {
    let path = log_path(folder);
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("the log {} cannot be opened", path.display()))
}

/// The last lines that the node in `folder` logged after the first `start` bytes.
pub(crate) fn log_tail(folder: &Path, start: u64, lines: usize) -> String {
    use std::io::{Read, Seek, SeekFrom};
    /// More than any number of lines that helps.
    const BYTES_MAX: u64 = 16 << 10;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log_path(folder))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(
            start.max(length.saturating_sub(BYTES_MAX)).min(length),
        ))?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    all[all.len().saturating_sub(lines)..].join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(binary: Option<&str>, args: &[&str]) -> Program {
        Program {
            miroir: PathBuf::from("/bin/miroir"),
            binary: binary.map(PathBuf::from),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            master_key: Some("secret".to_owned()),
            indexing_threads: 2,
        }
    }

    #[test]
    fn the_bundled_node_watches_its_own_standard_input() {
        let line = program(None, &["--log-level=debug"]).command_line(Path::new("d/node-1"), 7);
        assert_eq!(
            line.join(" "),
            "devnode --pid-file d/node-1/node.pid --exit-on-stdin-eof --http-addr 127.0.0.1:7 \
             --db-path d/node-1/data.ms --log-level=debug"
        );
    }

    #[test]
    fn a_meilisearch_runs_under_the_guard_and_the_users_arguments_win() {
        let args = ["--env=production", "--max-indexing-threads", "9"];
        let line = program(Some("/opt/meili"), &args).command_line(Path::new("d/node-1"), 7);
        assert_eq!(
            line.join(" "),
            "guard --pid-file d/node-1/node.pid -- /opt/meili --http-addr 127.0.0.1:7 --db-path \
             d/node-1/data.ms --no-analytics --dump-dir d/node-1/dumps --snapshot-dir \
             d/node-1/snapshots --max-indexing-memory 512MiB --env=production \
             --max-indexing-threads 9"
        );
    }

    #[test]
    fn a_key_never_stands_on_a_command_line() {
        for binary in [None, Some("/opt/meili")] {
            let line = program(binary, &[]).command_line(Path::new("d"), 7);
            assert!(line.iter().all(|arg| !arg.contains("secret")));
        }
    }

    #[test]
    fn a_missing_binary_is_named_with_its_fix() {
        let told = find(Path::new("/no/such/meilisearch"))
            .unwrap_err()
            .to_string();
        assert!(told.contains("/no/such/meilisearch") && told.contains("leave the flag out"));
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_full_lines_of_this_run() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(log_path(dir.path()), "old\nold\none\ntwo\n\nthree\n").unwrap();
        assert_eq!(log_tail(dir.path(), 8, 2), "two\n    three");
        assert_eq!(log_tail(dir.path(), 8, 9), "one\n    two\n    three");
        assert_eq!(log_tail(&dir.path().join("none"), 0, 2), "");
    }
}
