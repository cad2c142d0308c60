//! `miroir dev` as a whole: it starts, keeps its data, tells its mistakes, and leaves nothing.

#![cfg(all(unix, feature = "devnode"))]
#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use miroir_testkit::{Client, PATIENCE, clean_command, poll, spawn_bound};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

fn miroir() -> Command {
    clean_command(env!("CARGO_BIN_EXE_miroir"))
}

fn quiet(streams: &mut Command) {
    streams.stdin(Stdio::null()).stdout(Stdio::null());
}

/// A running `miroir dev`. Dropping it kills it, which ends its nodes.
struct Dev {
    process: Child,
    client: Client,
    nodes: Vec<Value>,
}

impl Dev {
    /// Starts it on any free port and returns when it serves.
    fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = miroir();
        command
            .args(["dev", "--http-addr=127.0.0.1:0", "--data"])
            .arg(folder)
            .args(args);
        let process = spawn_bound(&command, quiet).unwrap();
        let pid = u64::from(process.id());
        let record = poll("the record of `miroir dev`", PATIENCE, || {
            let text = std::fs::read_to_string(folder.join("dev.json")).unwrap_or_default();
            let record: Value = serde_json::from_str(&text).unwrap_or_default();
            Ok((record["pid"] == pid).then_some(record))
        });
        let record = record.unwrap();
        let address = record["url"]
            .as_str()
            .unwrap()
            .trim_start_matches("http://");
        let client = Client::new(address.parse().unwrap(), None);
        Self {
            process,
            client,
            nodes: record["nodes"].as_array().unwrap().clone(),
        }
    }

    /// Asks it to end, and returns how it ended.
    fn terminate(&mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.process.wait().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether the node in the folder runs: a node holds the lock of its pid file to its end.
fn runs(folder: &Path, node: &str) -> bool {
    let path = folder.join(node).join("node.pid");
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
        .try_lock()
        .is_err()
}

#[test]
fn no_node_outlives_a_killed_dev() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(dir.path(), &["--nodes=3"]);
    let names = ["node-1", "node-2", "node-3"];
    assert_eq!(dev.nodes.len(), 3);
    assert!(names.iter().all(|name| runs(dir.path(), name)));
    dev.process.kill().unwrap();
    dev.process.wait().unwrap();
    poll("the end of the nodes", PATIENCE, || {
        Ok((!names.iter().any(|name| runs(dir.path(), name))).then_some(()))
    })
    .unwrap();
}

#[test]
fn dev_stops_its_nodes_when_asked_to_end_and_keeps_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(dir.path(), &["--nodes=2"]);
    let documents = json!([{"id": 1, "title": "Alien"}, {"id": 2, "title": "Arrival"}]);
    dev.client
        .write("POST", "/indexes/movies/documents", Some(&documents))
        .unwrap();
    assert!(dev.terminate().success());
    assert!(!runs(dir.path(), "node-1") && !runs(dir.path(), "node-2"));

    // Without flags the folder's own shape is used.
    let mut dev = Dev::start(dir.path(), &[]);
    assert_eq!(dev.nodes.len(), 2);
    let answer = dev
        .client
        .search("movies", &json!({"q": "arival"}))
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(answer["hits"][0]["id"], 2, "{answer}");
    assert!(dev.terminate().success());
}

#[test]
fn a_command_without_the_right_key_says_how_to_name_one() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &["--nodes=1", "--master-key=a-key-of-tests"]);
    let list = |key: &[&str]| {
        let mut command = miroir();
        command.args(["node", "list", "--url", &dev.client.url()]);
        let output = command.args(key).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), told)
    };
    for key in [&[][..], &["--key", "another"]] {
        let (code, told) = list(key);
        assert_eq!(code, Some(1), "{told}");
        for needed in ["--key", "MIROIR_MASTER_KEY"] {
            assert!(told.contains(needed), "{told}");
        }
    }
    let (code, told) = list(&["--key", "a-key-of-tests"]);
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_node_that_dies_is_started_again_on_its_port() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &["--nodes=2"]);
    let pid_file = dir.path().join("node-2").join("node.pid");
    let killed = std::fs::read_to_string(&pid_file).unwrap();
    assert!(
        Command::new("kill")
            .args(["-KILL", killed.trim()])
            .status()
            .unwrap()
            .success()
    );
    let address = dev.nodes[1]["url"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://");
    let node = Client::new(address.parse().unwrap(), None);
    poll("the return of the node", PATIENCE, || {
        let is_new = std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid != killed);
        Ok((is_new && node.get("/health").is_ok_and(|reply| reply.status == 200)).then_some(()))
    })
    .unwrap();
}

#[test]
fn the_demo_loads_its_data_set_once() {
    let dir = tempfile::tempdir().unwrap();
    let demo = || {
        let mut command = miroir();
        command
            .args([
                "dev",
                "--nodes=2",
                "--rf=1",
                "--shards=4",
                "--http-addr=127.0.0.1:0",
            ])
            .args(["--demo", "--exit-after-demo", "--data"])
            .arg(dir.path());
        let child = spawn_bound(&command, |streams| {
            quiet(streams);
            streams.stdout(Stdio::piped()).stderr(Stdio::piped());
        });
        let output = child.unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}\n{told}");
        said
    };
    let first = demo();
    for needed in [
        "Loading 34,006 cities",
        "GeoNames",
        "Reykjavík",
        "Beijing",
        "Kinshasa",
        "Pully",
    ] {
        assert!(first.contains(needed), "{needed} in\n{first}");
    }
    let second = demo();
    assert!(
        second.contains("are in the index `cities` already"),
        "{second}"
    );
    // What the searches found is the same, whatever time they took.
    let rows = |text: &str| -> Vec<String> {
        let is_row = |line: &&str| line.starts_with("  ") && line.contains("   ");
        let tour = text.split_once("A typo").map_or("", |(_, tour)| tour);
        tour.lines()
            .skip(1)
            .filter(is_row)
            .map(str::to_owned)
            .collect()
    };
    assert!(!rows(&first).is_empty());
    assert_eq!(rows(&first), rows(&second));
}
