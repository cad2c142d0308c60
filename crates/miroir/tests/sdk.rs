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
/// The page's search client names the version of the JavaScript client that it goes with.
const INSTANT_SEARCH_PACKAGES: [&str; 3] = [
    "@meilisearch/instant-meilisearch@^0.31",
    "instantsearch.js@^4.100",
    "jsdom@>=26 <30",
];

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
    let cluster = Cluster::start(&programs, &ClusterOptions::new(3, 2, 4)).unwrap();
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

/// Installs packages beside a script, and runs it with Node.js against a fresh cluster.
fn check_node_script(name: &str, packages: &[&str]) {
    let folder = TempDir::new().unwrap();
    if run("node", Command::new("node").arg("--version")).is_none() {
        return;
    }
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund"]);
    install.args(["--ignore-scripts", "--prefix"]);
    install.arg(folder.path()).args(packages);
    if run("its packages", &mut install).is_none() {
        return;
    }
    // Packages are looked up from the folder of the script.
    let script = folder.path().join(name);
    std::fs::copy(scripts().join(name), &script).unwrap();
    check_script(Command::new("node").arg(script));
}

#[test]
fn the_official_javascript_client_works() {
    check_node_script("smoke.mjs", &[JAVASCRIPT_PACKAGE]);
}

#[test]
fn an_instant_search_page_works() {
    check_node_script("instant.mjs", &INSTANT_SEARCH_PACKAGES);
}
