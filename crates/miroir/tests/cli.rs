//! The program from outside: its help, its mistakes, and its guard.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use miroir_testkit::{PATIENCE, clean_command, poll};
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn miroir() -> Command {
    clean_command(env!("CARGO_BIN_EXE_miroir"))
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    (output, told)
}

#[test]
fn the_help_is_the_reviewed_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    for (name, args) in [
        ("miroir", &["--help"][..]),
        ("dev", &["dev", "--help"]),
        ("serve", &["serve", "--help"]),
        ("status", &["status", "--help"]),
        ("verify", &["verify", "--help"]),
        ("import-dump", &["import-dump", "--help"]),
        ("orphans", &["orphans", "--help"]),
        ("backup", &["backup", "--help"]),
        ("rewind", &["rewind", "--help"]),
        ("restore", &["restore", "--help"]),
        ("node", &["node", "--help"]),
        ("node-add", &["node", "add", "--help"]),
        ("node-replace", &["node", "replace", "--help"]),
        ("topology", &["topology", "--help"]),
        ("topology-plan", &["topology", "plan", "--help"]),
        ("topology-apply", &["topology", "apply", "--help"]),
        ("topology-cancel", &["topology", "cancel", "--help"]),
        ("explain", &["explain", "--help"]),
        ("explain-shard", &["explain", "shard", "--help"]),
        ("explain-query", &["explain", "query", "--help"]),
        ("index-advise", &["index", "advise", "--help"]),
        ("index-reshard", &["index", "reshard", "--help"]),
        ("plan-capacity", &["plan-capacity", "--help"]),
    ] {
        let (output, _) = run(miroir().args(args));
        let help = String::from_utf8(output.stdout).unwrap();
        let path = folder.join(format!("{name}.txt"));
        if std::env::var_os("MIROIR_UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&path, &help).unwrap();
        }
        let reviewed = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            help, reviewed,
            "run with MIROIR_UPDATE_SNAPSHOTS=1 and review tests/help"
        );
    }
}

#[test]
fn serve_without_a_configuration_says_exactly_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (output, told) = run(miroir().arg("serve").current_dir(dir.path()));
    assert_eq!(output.status.code(), Some(1));
    for needed in [
        "no ./miroir.toml",
        "miroir dev --demo",
        "[[nodes]]",
        "url = ",
    ] {
        assert!(told.contains(needed), "{told}");
    }
}

#[test]
fn serve_finds_the_configuration_beside_it_and_tells_its_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("miroir.toml"), "http_adr = \"x\"\n").unwrap();
    let (output, told) = run(miroir().arg("serve").current_dir(dir.path()));
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("miroir.toml has 2 mistakes"), "{told}");
    assert!(
        told.contains("line 1: unknown key `http_adr`: did you mean `http_addr`?"),
        "{told}"
    );
}

#[test]
fn serve_check_says_what_the_configuration_means() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.toml");
    std::fs::write(&file, "[[nodes]]\nname = \"a\"\nurl = \"http://a:1\"\n").unwrap();
    let mut command = miroir();
    command.args(["serve", "--check", "--config"]).arg(&file);
    let (output, told) = run(command.env("MIROIR_MASTER_KEY", "not-to-be-shown"));
    assert!(output.status.success(), "{told}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("The configuration is right."), "{said}");
    assert!(
        said.contains("http://a:1") && !said.contains("not-to-be-shown"),
        "{said}"
    );
}

#[test]
fn dev_refuses_what_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 4] = [
        (
            &["--nodes", "2", "--rf", "3"],
            "--rf 3 needs at least 3 nodes",
        ),
        (
            &["--node-binary", "/no/such/file"],
            "there is no file /no/such/file",
        ),
        (&["--http-addr", "7700"], "write host:port"),
        (&["--exit-after-demo"], "--demo"),
    ];
    for (args, expected) in cases {
        let mut command = miroir();
        command
            .args(["dev", "--http-addr=127.0.0.1:0", "--data"])
            .arg(dir.path());
        // A flag given twice is an error of its own, so the address is given once.
        if args.contains(&"--http-addr") {
            command = miroir();
            command.args(["dev", "--data"]).arg(dir.path());
        }
        let (output, told) = run(command.args(args));
        assert!(!output.status.success());
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}

#[test]
fn dev_names_the_flag_when_its_port_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = miroir();
    command
        .args(["dev", "--http-addr", &address, "--data"])
        .arg(dir.path());
    let (output, told) = run(&mut command);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains(&format!("{address} is in use")), "{told}");
    assert!(told.contains("--http-addr"), "{told}");
}

#[cfg(unix)]
#[test]
fn dev_shows_the_end_of_the_log_of_a_node_that_does_not_start() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("broken");
    std::fs::write(&binary, "#!/bin/sh\necho the disk is on fire\nexit 3\n").unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = miroir();
    command
        .args([
            "dev",
            "--nodes=1",
            "--http-addr=127.0.0.1:0",
            "--node-binary",
        ])
        .arg(&binary);
    let (output, told) = run(command.arg("--data").arg(dir.path().join("data")));
    assert_eq!(output.status.code(), Some(1));
    for needed in [
        "node-1 did not start",
        "exit status: 3",
        "the disk is on fire",
        "--data",
    ] {
        assert!(told.contains(needed), "{told}");
    }
}

#[test]
fn a_command_says_where_it_looked_and_how_to_name_another_address() {
    // Port 1 is nobody's.
    let url = "http://127.0.0.1:1";
    for args in [
        &["status"][..],
        &["node", "list"],
        &["topology", "plan"],
        &["verify"],
        &["index", "advise"],
    ] {
        let (output, told) = run(miroir().args(args).args(["--url", url]));
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        for needed in [url, "cannot be reached", "--url", "MIROIR_URL"] {
            assert!(told.contains(needed), "{args:?}: {told}");
        }
    }
}

/// Starts a guard over a program that outlives any test, and returns when the program runs.
fn guarded_sleep(pid_file: &Path) -> Child {
    let guard = miroir()
        .args(["guard", "--pid-file"])
        .arg(pid_file)
        .args(["--", "sleep", "100000"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    poll("the program of a guard", PATIENCE, || {
        let noted = std::fs::read_to_string(pid_file);
        Ok(noted.is_ok_and(|text| text.ends_with('\n')).then_some(()))
    })
    .unwrap();
    guard
}

fn open(pid_file: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(pid_file)
        .unwrap()
}

#[cfg(unix)]
#[test]
fn the_guard_ends_its_program_when_the_pipe_closes() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("node.pid");
    let mut guard = guarded_sleep(&pid_file);
    assert!(
        open(&pid_file).try_lock().is_err(),
        "the program holds the lock while it runs"
    );
    drop(guard.stdin.take());
    guard.wait().unwrap();
    // The program holds the same lock, so that it can be taken proves that the program is gone.
    assert!(open(&pid_file).try_lock().is_ok());
}

#[cfg(unix)]
#[test]
fn the_guard_ends_with_the_code_of_its_program() {
    let mut guard = miroir()
        .args(["guard", "--", "sh", "-c", "exit 7"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = guard.stdin.take();
    assert_eq!(guard.wait().unwrap().code(), Some(7));
    drop(pipe);
}

#[test]
fn the_guard_says_when_its_program_cannot_be_started() {
    let mut command = miroir();
    command
        .args(["guard", "--", "/no/such/program"])
        .stdin(Stdio::piped());
    let output = command
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("`/no/such/program` cannot be started"),
        "{told}"
    );
}
