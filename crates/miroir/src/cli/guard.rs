//! `miroir guard`: runs a foreign program and ends it when standard input closes.
//!
//! `miroir dev` holds the other end of that pipe. However it dies, SIGKILL included, the kernel
//! closes the pipe, and the program it started is stopped: no orphan is left. The bundled node
//! watches its own standard input and needs no guard.

use super::stop::StopSignals;
use crate::dev::pidfile::PidFile;
use anyhow::Context;
use std::io::Read;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use tokio::process::Command;
use tokio::sync::oneshot;

/// Run a program and end it when standard input closes (used by `miroir dev`)
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// Where to write the program's process id; locked as long as the program lives
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    command: Vec<String>,
}

/// Runs until the program ends, the pipe closes, or a signal comes.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut stop = StopSignals::new()?;
    let pid_file = match &args.pid_file {
        Some(path) => Some(PidFile::lock(path).await?),
        None => None,
    };
    // The program inherits the locked file as its standard input: the lock then lives exactly as
    // long as the program, even if this guard is killed alone.
    let stdin = match &pid_file {
        Some(file) => file.share()?,
        None => Stdio::null(),
    };
    let (program, rest) = args.command.split_first().context("no program was given")?;
    let mut child = Command::new(program)
        .args(rest)
        .stdin(stdin)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("`{program}` cannot be started"))?;
    if let (Some(mut file), Some(pid)) = (pid_file, child.id()) {
        file.write(pid)?;
    }
    let status = tokio::select! {
        status = child.wait() => status?,
        () = closed(std::io::stdin()) => end(&mut child).await?,
        () = stop.asked() => end(&mut child).await?,
    };
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// Ends the program at once. A Meilisearch keeps what it acknowledged through this, and a
/// development cluster is the right place to rely on it.
async fn end(child: &mut tokio::process::Child) -> anyhow::Result<std::process::ExitStatus> {
    child
        .start_kill()
        .context("the program cannot be stopped")?;
    Ok(child.wait().await?)
}

/// Returns when `input` ends. The read blocks a thread of its own, which dies with the process.
async fn closed(mut input: impl Read + Send + 'static) {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 256];
        while matches!(input.read(&mut buffer), Ok(count) if count > 0) {}
        let _ = sender.send(());
    });
    let _ = receiver.await;
}
