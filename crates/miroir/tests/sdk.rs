//! The official clients work: their own packages, run against Miroir.
//!
//! Each script needs its interpreter and its package's registry. Where one of them is absent the
//! test says so and passes: it is the machine that lacks something, not Miroir.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Cluster, ClusterOptions, Programs};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// The versions the scripts are written for.
const PYTHON_PACKAGE: &str = "meilisearch>=0.37,<1";
const JAVASCRIPT_PACKAGE: &str = "meilisearch@>=0.52.0 <1";

fn scripts() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// Runs a command; `None`, with the reason printed, if it cannot be run or fails.
fn run(what: &str, command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) if output.status.success() => Some(output),
        Ok(output) => {
            println!(
                "skipped: {what}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            None
        }
        Err(error) => {
            println!("skipped: {what}: {error}");
            None
        }
    }
}

/// Runs a script against a fresh cluster, with the endpoint as its argument.
fn check_script(command: &mut Command) {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let cluster = Cluster::start(&programs, &ClusterOptions::new(2, 1, 4)).unwrap();
    let output = command.arg(cluster.client().url()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{failed}");
    assert!(told.contains("all well"), "{told}\n{failed}");
}

#[test]
fn the_official_python_client_works() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("venv");
    let python = place.join("bin/python");
    let mut make = Command::new("python3");
    if run("python3", make.arg("-m").arg("venv").arg(&place)).is_none() {
        return;
    }
    let mut install = Command::new(&python);
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    if run("its package", install.arg(PYTHON_PACKAGE)).is_none() {
        return;
    }
    check_script(Command::new(&python).arg(scripts().join("smoke.py")));
}

#[test]
fn the_official_javascript_client_works() {
    let folder = TempDir::new().unwrap();
    if run("node", Command::new("node").arg("--version")).is_none() {
        return;
    }
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
    if run(
        "its package",
        install.arg(folder.path()).arg(JAVASCRIPT_PACKAGE),
    )
    .is_none()
    {
        return;
    }
    // Packages are looked up from the folder of the script.
    let script = folder.path().join("smoke.mjs");
    std::fs::copy(scripts().join("smoke.mjs"), &script).unwrap();
    check_script(Command::new("node").arg(script));
}
