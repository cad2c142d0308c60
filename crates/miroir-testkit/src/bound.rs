//! Children that do not outlive the test that started them, however it ends.
//!
//! A test that is killed drops nothing, and what it had started would go on: holding ports, memory
//! and, on a machine that runs the tests again and again, more of both each time. Linux ends a child
//! with its parent if the child asks for it; `setpriv` asks in its stead and then becomes the
//! program, under the same process id. Where there is no `setpriv` that can, children are started as
//! they are.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;

/// Becomes the program that follows, which is killed when its parent ends.
const BINDER: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];

/// A command, and where its child is awaited.
type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Whether children can be bound to this process.
static CAN_BIND: LazyLock<bool> = LazyLock::new(|| {
    let [binder, arguments @ ..] = BINDER;
    let tried = Command::new(binder)
        .args(arguments)
        .arg("true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    cfg!(target_os = "linux") && tried.is_ok_and(|status| status.success())
});

/// The thread that starts the children: a child is bound to the thread that started it, and those of
/// tests come and go.
static STARTER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
    let (orders, waiting) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for (mut command, answer) in waiting {
            // Nobody waits any more: the child is killed, as whoever asked for it would have done.
            if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn()) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    });
    orders
});

/// Starts a command as a child that ends with this process, where the system can do that.
///
/// Of the command its program, arguments, environment and folder are taken, and its standard streams
/// as `streams` sets them.
///
/// # Errors
/// When it cannot be started.
pub fn spawn_bound(command: &Command, streams: impl FnOnce(&mut Command)) -> io::Result<Child> {
    let mut bound = bound(command);
    streams(&mut bound);
    let (answer, started) = mpsc::channel();
    STARTER
        .send((bound, answer))
        .map_err(|_| io::Error::other("the thread that starts children has ended"))?;
    started
        .recv()
        .map_err(|_| io::Error::other("the thread that starts children has ended"))?
}

/// The same command, to be started so that it ends with this process.
fn bound(command: &Command) -> Command {
    let [binder, arguments @ ..] = BINDER;
    let mut bound = if *CAN_BIND {
        let mut bound = Command::new(binder);
        bound.args(arguments).arg(command.get_program());
        bound
    } else {
        Command::new(command.get_program())
    };
    bound.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PATIENCE, poll};
    use std::path::{Path, PathBuf};

    /// Where this test, started again as a process of its own, notes the child that it leaves.
    const NOTE: &str = "MIROIR_BOUND_TEST_NOTE";

    #[test]
    fn a_child_keeps_its_id_its_environment_and_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ $SEEN $UNSEEN; pwd -P"])
            .env("SEEN", "yes")
            .env("UNSEEN", "no")
            .env_remove("UNSEEN")
            .current_dir(folder.path());
        let child = spawn_bound(&command, |streams| {
            streams.stdout(Stdio::piped());
        });
        let child = child.unwrap();
        let id = child.id();
        let said = child.wait_with_output().unwrap().stdout;
        let folder = folder.path().canonicalize().unwrap();
        let expected = format!("{id} yes\n{}\n", folder.display());
        assert_eq!(String::from_utf8(said).unwrap(), expected);
    }

    /// Whether the process is the program that was to be started; what has ended and was not waited
    /// for is there still, without a command line.
    fn runs(id: &str) -> bool {
        let line = std::fs::read(PathBuf::from("/proc").join(id).join("cmdline"));
        line.is_ok_and(|line| line.starts_with(b"sleep"))
    }

    #[test]
    fn a_child_does_not_outlive_a_test_that_is_killed() {
        if let Some(note) = std::env::var_os(NOTE) {
            let mut command = Command::new("sleep");
            let mut child = spawn_bound(command.arg("100000"), |_| {}).unwrap();
            std::fs::write(note, format!("{}\n", child.id())).unwrap();
            // Killed long before that.
            child.wait().unwrap();
            return;
        }
        if !*CAN_BIND || !Path::new("/proc/self/cmdline").exists() {
            println!("SKIPPED: children cannot be bound here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        let mut test = Command::new(std::env::current_exe().unwrap());
        let name = "bound::tests::a_child_does_not_outlive_a_test_that_is_killed";
        test.args(["--exact", name]).env(NOTE, &note);
        let quiet = |streams: &mut Command| {
            streams.stdin(Stdio::null()).stdout(Stdio::null());
        };
        let mut test = spawn_bound(&test, quiet).unwrap();
        let child = poll("the child of a test", PATIENCE, || {
            let noted = std::fs::read_to_string(&note).unwrap_or_default();
            Ok(noted.strip_suffix('\n').map(str::to_owned))
        });
        let child = child.unwrap();
        // Before it is the program it may not have asked yet to be ended.
        poll("the start of the child", PATIENCE, || {
            Ok(runs(&child).then_some(()))
        })
        .unwrap();
        test.kill().unwrap();
        test.wait().unwrap();
        poll("the end of the child", PATIENCE, || {
            Ok((!runs(&child)).then_some(()))
        })
        .unwrap();
    }
}
