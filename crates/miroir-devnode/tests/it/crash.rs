//! The node as a process of its own that dies. The process is this test binary, started again with
//! an instruction in its environment.

use crate::node::{Node, TestClient};
use miroir_devnode::{Options, Server};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Names the folder; without it the test that serves does nothing.
const FOLDER_VARIABLE: &str = "MIROIR_DEVNODE_TEST_FOLDER";
/// Before the address on the child's standard output.
const ADDRESS_MARK: &str = "listening on ";

/// A node in a process of its own; killed when the test ends, however it ends.
struct NodeProcess {
    child: Child,
    client: TestClient,
    // Open for as long as the child may write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl NodeProcess {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "crash::serves_for_another_test_when_asked_to",
                "--nocapture",
            ])
            .env(FOLDER_VARIABLE, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = stdout.next().unwrap().unwrap();
            if let Some((_, address)) = line.split_once(ADDRESS_MARK) {
                break address.trim().parse::<SocketAddr>().unwrap();
            }
        };
        Self {
            child,
            client: TestClient::new(address),
            _stdout: stdout,
        }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn serves_for_another_test_when_asked_to() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else {
        return;
    };
    let mut options = Options::new(SocketAddr::from(([127, 0, 0, 1], 0)), folder);
    options.max_index_size = 1 << 30;
    options.exit_on_stdin_eof = true;
    let server = Server::bind(options).await.unwrap();
    writeln!(std::io::stdout(), "{ADDRESS_MARK}{}", server.local_addr()).unwrap();
    server.run(std::future::pending()).await;
}

#[tokio::test]
async fn tasks_that_waited_when_the_node_was_killed_are_done_after_its_return() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = NodeProcess::start(folder.path());
    process.client.add("a", json!([{ "id": 0 }])).await;
    process
        .client
        .post("/_devnode/faults", json!({ "holdQueue": true }))
        .await;
    for id in 1..20 {
        let body = json!([{ "id": id }]);
        let (status, _) = process
            .client
            .post("/indexes/a/documents?customMetadata=m", body)
            .await;
        assert_eq!(status, 202);
    }
    process.kill();

    let node = Node::open(folder.path(), |_| {}).await;
    let last = node.wait(&json!({ "taskUid": 19 })).await;
    assert_eq!(
        (&last["status"], &last["customMetadata"]),
        (&json!("succeeded"), &json!("m"))
    );
    assert_eq!(node.get("/indexes/a/stats").await["numberOfDocuments"], 20);
    let (_, next) = node.post("/indexes/a/documents", json!([])).await;
    assert_eq!(next["taskUid"], 20);
    node.wait(&next).await;
    let left = std::fs::read_dir(folder.path().join("payloads"))
        .unwrap()
        .count();
    // The newest payload may still be about to be removed.
    assert!(left <= 1, "{left} payload files are left");
    node.stop().await;
}

#[tokio::test]
async fn a_task_that_ran_when_the_node_was_killed_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = NodeProcess::start(folder.path());
    let documents: Vec<Value> = (0..3000)
        .map(|id| json!({ "id": id, "text": format!("some words about {id}") }))
        .collect();
    let (_, summary) = process
        .client
        .post("/indexes/a/documents", json!(documents))
        .await;
    let path = format!("/tasks/{}", summary["taskUid"]);
    while process.client.get(&path).await["status"] == "enqueued" {
        tokio::task::yield_now().await;
    }
    process.kill();

    let node = Node::open(folder.path(), |_| {}).await;
    assert_eq!(node.wait(&summary).await["status"], "succeeded");
    assert_eq!(
        node.get("/indexes/a/stats").await["numberOfDocuments"],
        3000
    );
    assert_eq!(
        std::fs::read_dir(folder.path().join("indexes"))
            .unwrap()
            .count(),
        1
    );
    node.stop().await;
}

#[tokio::test]
async fn the_node_ends_when_its_standard_input_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = NodeProcess::start(folder.path());
    process.client.get("/health").await;
    drop(process.child.stdin.take());
    let status = process.child.wait().unwrap();
    assert!(status.success());
}
