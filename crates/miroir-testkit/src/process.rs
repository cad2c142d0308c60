//! One child process: started, watched, killed by its id.

use crate::bound::spawn_bound;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The unit of processor time in `/proc`, fixed by the kernel's interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;
/// As much of a log as a failing test should print.
const TAIL_LINES: usize = 30;

/// A running child process. Dropping it kills it and waits for its end; it ends with the test's own
/// process, too (see [`spawn_bound`]).
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Held open: the bundled node ends when this closes, also where a system knows no other way
    /// to end it with the test.
    _stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(command: &Command, log: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let errors = output.try_clone()?;
        let child = spawn_bound(command, |streams| {
            streams.stdin(Stdio::piped()).stdout(output).stderr(errors);
        });
        let program = command.get_program().display();
        let mut child = child.with_context(|| format!("start {program}"))?;
        let stdin = child.stdin.take();
        Ok(Self {
            child,
            _stdin: stdin,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the end of its log, when it has ended by itself.
    ///
    /// # Errors
    /// When it is not running any more.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "ended with {status}; its log ends with:\n{}",
                self.log_tail()
            ),
        }
    }

    /// Sends it a signal by name, such as `STOP` or `CONT`.
    ///
    /// # Errors
    /// When it does not run, or there are no signals here.
    pub fn signal(&self, name: &str) -> Result<()> {
        // The program of that name: the standard library sends no signal but the one that kills.
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status()?;
        anyhow::ensure!(status.success(), "kill -s {name} {id}: {status}");
        Ok(())
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// The last lines it wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// The processor seconds it has used so far, all threads together.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The name, in parentheses, may hold spaces; what follows it does not.
        let (_, rest) = text.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |index: usize| -> Result<f64> {
            Ok(fields.get(index).context("stat is short")?.parse()?)
        };
        // Fields 14 and 15 of stat(5); the list begins with field 3.
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }

    /// The most memory it ever held in RAM, in bytes.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn memory_peak_bytes(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes: u64 = line
            .and_then(|line| line.trim().strip_suffix("kB"))
            .context("no VmHWM in status")?
            .trim()
            .parse()?;
        Ok(kilobytes * 1024)
    }

    fn end(&mut self) {
        // Both fail only when it has ended and was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Empties a log, so that the tail of a new run is its own; what it held is kept beside it.
pub(crate) fn truncate(log: &Path) -> Result<()> {
    if let Ok(earlier) = fs::read(log) {
        let all = log.with_extension("earlier");
        let mut all = OpenOptions::new().create(true).append(true).open(all)?;
        all.write_all(&earlier)?;
    }
    File::create(log)?;
    Ok(())
}

/// Puts a log, with that of earlier runs, into a folder, under a name.
pub(crate) fn save_logs(log: &Path, to: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(to)?;
    for log in [log.with_extension("earlier"), log.to_owned()] {
        if let Some(file) = log.file_name().filter(|_| log.exists()) {
            fs::copy(&log, to.join(format!("{name}.{}", file.display())))?;
        }
    }
    Ok(())
}
