//! Disks that are full: a small file system of their own in memory for the proxy and for a node,
//! which is made larger when it was full. Where none can be mounted, the tests say so and do nothing.
//!
//! And a disk that fails under the proxy's database: no file of the process may be written any more,
//! by a limit that is set and lifted while it runs. Any user may do that to his own processes; where
//! there is no `prlimit`, the tests say so and do nothing.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, Cluster, ClusterOptions, PATIENCE, Programs, ProxyProcess, poll};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const MIROIR: &str = env!("CARGO_BIN_EXE_miroir");

/// A file system in memory; taken away when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with the reason printed, where it is not allowed.
    fn mount(folder: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={mebibytes}m");
        let mounting = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder)
            .output();
        match mounting {
            Ok(output) if output.status.success() => Some(Self(folder.to_owned())),
            Ok(output) => {
                let cause = String::from_utf8_lossy(&output.stderr).into_owned();
                println!("SKIPPED: no file system can be mounted here: {cause}");
                None
            }
            Err(error) => {
                println!("SKIPPED: no file system can be mounted here: {error}");
                None
            }
        }
    }

    fn grow(&self, mebibytes: u32) {
        let options = format!("remount,size={mebibytes}m");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what still holds it open ends with the test.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// About 400 kB that cannot be made smaller.
fn document(id: u64) -> Value {
    let mut state = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(400_000);
    while text.len() < 400_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    json!([{"id": id, "text": text}])
}

fn post(client: &Client, id: u64) -> Result<u64, (u16, String)> {
    let reply = client
        .post("/indexes/things/documents", &document(id))
        .unwrap();
    match reply.status {
        202 => Ok(reply.accepted().unwrap()),
        status => Err((status, reply.code().unwrap_or_default().to_owned())),
    }
}

/// Only the text is kept, and nothing is searched: the tests are not about indexing.
fn prepare(client: &Client) {
    let settings = json!({"searchableAttributes": ["id"]});
    let reply = client.patch("/indexes/things/settings", &settings).unwrap();
    client.wait_succeeded(reply.accepted().unwrap()).unwrap();
}

fn ids(client: &Client) -> Vec<u64> {
    let path = "/indexes/things/documents?fields=id&limit=1000";
    let found = client.get(path).unwrap().ok().unwrap();
    let results = found["results"].as_array().unwrap().iter();
    let mut ids: Vec<u64> = results.map(|d| d["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_full_data_folder_refuses_writes_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("data"), 10) else {
        return;
    };
    let mut cluster =
        Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(1, 1, 2)).unwrap();
    let data = disk.0.display().to_string();
    cluster
        .proxy
        .restart(&[("MIROIR_DATA_DIR", &data)])
        .unwrap();
    cluster.proxy.wait_ready().unwrap();
    let client = cluster.client().clone();
    prepare(&client);
    // The node takes nothing, so all of it waits in the data folder.
    cluster.nodes[0].kill();
    let mut accepted = Vec::new();
    let mut refusals = Vec::new();
    for id in 0..40 {
        match post(&client, id) {
            Ok(task) => accepted.push((id, task)),
            Err(refusal) => refusals.push(refusal),
        }
    }
    assert!(accepted.len() > 3, "{refusals:?}");
    assert!(refusals.len() > 3, "{} were accepted", accepted.len());
    // What is tried each second may find room for itself: then the next write looks for it again.
    let mut more = 40..;
    poll("a store that is known to be full", PATIENCE, || {
        let id = more.next().unwrap();
        match post(&client, id) {
            Ok(task) => accepted.push((id, task)),
            Err(refusal) => refusals.push(refusal),
        }
        let topology = client.get("/_miroir/topology")?.ok()?;
        Ok(topology["storeFault"].is_object().then_some(()))
    })
    .unwrap();
    for (status, code) in &refusals {
        let is_clear = matches!(
            (*status, code.as_str()),
            (422, "no_space_left_on_device") | (500 | 503, "internal")
        );
        assert!(is_clear, "{status} {code}");
    }
    assert_eq!(client.get("/tasks?limit=1").unwrap().status, 200);

    // Room again: it goes on by itself.
    disk.grow(200);
    cluster.nodes[0].restart().unwrap();
    let last = poll("a write that is taken", PATIENCE, || {
        Ok(post(&client, 1000).ok())
    })
    .unwrap();
    client.wait_succeeded(last).unwrap();
    for (_, task) in &accepted {
        client.wait_succeeded(*task).unwrap();
    }
    let found = ids(&client);
    for (id, _) in &accepted {
        assert!(found.contains(id), "document {id} was accepted and is lost");
    }
    // Of a write whose refusal was no `no_space_left_on_device` it is not known.
    assert!(found.len() <= accepted.len() + 1 + refusals.len());
}

#[test]
fn a_node_whose_disk_is_full_is_named_and_catches_up_when_there_is_room() {
    let mut cluster =
        Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(2, 2, 2)).unwrap();
    let db = cluster.nodes[1].dumps().parent().unwrap().join("db");
    cluster.nodes[1].kill();
    std::fs::remove_dir_all(&db).unwrap();
    let Some(disk) = SmallDisk::mount(&db, 24) else {
        return;
    };
    cluster.nodes[1].restart().unwrap();
    let client = cluster.client().clone();
    cluster.wait_healthy(1).unwrap();
    prepare(&client);
    cluster.wait_in_sync(1, true).unwrap();
    let mut accepted = Vec::new();
    for id in 0..60 {
        accepted.push((id, post(&client, id).unwrap()));
    }
    for (_, task) in &accepted {
        client.wait_succeeded(*task).unwrap();
    }
    assert_eq!(ids(&client).len(), accepted.len(), "reads go on");
    let state = cluster.wait_in_sync(1, false).unwrap();
    println!("the full node: {state:#}");

    disk.grow(500);
    let state = cluster.wait_in_sync(1, true).unwrap();
    println!("with room: {state:#}");
    let request = json!({"indexUid": "things"});
    let job = client.post("/_miroir/verify", &request).unwrap();
    let job = job.ok().unwrap()["job"].as_u64().unwrap();
    let report = poll("a comparison", PATIENCE, || {
        let path = format!("/_miroir/verify/{job}");
        let report = client.get(&path)?.ok()?;
        Ok((report["state"] != "running").then_some(report))
    })
    .unwrap();
    assert_eq!(report["differenceCount"], 0, "{report}");
    assert_eq!(report["documents"], accepted.len(), "{report}");
    // The node is stopped before its disk is taken away.
    cluster.nodes[1].kill();
    drop(disk);
}

/// A program that runs the proxy so that a write beyond its limit is an error and not its end.
fn heeding_limits(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let script = folder.join("miroir");
    let text = format!("#!/bin/sh\ntrap '' XFSZ\nexec {MIROIR} \"$@\"\n");
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// From now on every write of the process to a file fails, or none does.
fn set_failing(proxy: &ProxyProcess, is_failing: bool) {
    let pid = format!("--pid={}", proxy.process_id().unwrap());
    let bytes = if is_failing { "0" } else { "unlimited" };
    // The soft limit alone: the hard one could not be lifted again.
    let limit = format!("--fsize={bytes}:");
    let status = Command::new("prlimit").args([pid, limit]).status().unwrap();
    assert!(status.success());
}

fn can_limit() -> bool {
    let can = Command::new("prlimit").arg("--version").output();
    let can = can.is_ok_and(|output| output.status.success());
    if !can {
        println!("SKIPPED: there is no prlimit here");
    }
    can
}

/// Of the database, with the way out; or of a payload, once one was tried to see whether the disk is
/// well again.
fn names_the_file(text: &str) -> bool {
    let is_database = text.contains("miroir.db: disk I/O error (SQLite code ")
        && text.contains("the disk of data_dir fails");
    is_database || text.contains("payloads")
}

fn small(client: &Client, id: u64) -> anyhow::Result<miroir_testkit::Reply> {
    client.post("/indexes/things/documents", &json!([{"id": id, "n": id}]))
}

#[test]
fn a_database_that_fails_under_the_proxy_refuses_writes_serves_reads_and_goes_on_when_it_is_well() {
    if !can_limit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut cluster =
        Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(2, 2, 2)).unwrap();
    cluster.proxy.run_as(&heeding_limits(folder.path()));
    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    let client = cluster.client().clone();
    for id in 0..10 {
        let task = small(&client, id).unwrap().accepted().unwrap();
        client.wait_succeeded(task).unwrap();
    }

    set_failing(&cluster.proxy, true);
    let refused = small(&client, 100).unwrap();
    assert!(matches!(refused.status, 500 | 503), "{}", refused.body);
    assert_eq!(refused.code(), Some("internal"));
    let refused = small(&client, 101).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.body);
    let told = refused.body.to_string();
    assert!(
        told.contains("store cannot be written") && told.contains("miroir status"),
        "{told}"
    );
    // Whom it is told to ask names the cause, and what to do.
    let topology = client.get("/_miroir/topology").unwrap().ok().unwrap();
    let cause = topology["storeFault"]["cause"].as_str().unwrap();
    assert!(names_the_file(cause), "{cause}");
    let url = client.url();
    let status = Command::new(MIROIR)
        .args(["status", "--url", &url])
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("writes are refused") && names_the_file(&status),
        "{status}"
    );
    for _ in 0..3 {
        let found = client.search("things", &json!({"q": ""})).unwrap();
        assert_eq!(found.ok().unwrap()["hits"].as_array().unwrap().len(), 10);
        assert_eq!(client.get("/tasks?limit=1").unwrap().status, 200);
        assert_eq!(client.get("/health").unwrap().status, 200);
        assert_eq!(
            client.get("/indexes/things/documents/3").unwrap().status,
            200
        );
        thread::sleep(Duration::from_millis(700));
    }

    set_failing(&cluster.proxy, false);
    let taken = poll("a write that is taken", PATIENCE, || {
        let reply = small(&client, 102)?;
        Ok((reply.status == 202).then_some(reply))
    });
    let task = taken.unwrap().accepted().unwrap();
    client.wait_succeeded(task).unwrap();
    let expected: Vec<u64> = (0..10).chain([102]).collect();
    assert_eq!(ids(&client), expected, "what was refused was not done");
    let topology = client.get("/_miroir/topology").unwrap().ok().unwrap();
    assert!(topology["storeFault"].is_null(), "{topology}");

    // What it has acknowledged outlives it.
    cluster.proxy.kill();
    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    assert_eq!(ids(&client), expected);
}

/// What became of a write.
enum Answer {
    Accepted(u64),
    /// It was not taken, for sure.
    Refused,
    Unknown,
}

#[test]
fn what_was_accepted_between_failures_of_the_database_is_there_after_kills_in_the_midst_of_them() {
    if !can_limit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut cluster =
        Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(2, 2, 2)).unwrap();
    cluster.proxy.run_as(&heeding_limits(folder.path()));
    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    let client = cluster.client().clone();
    prepare(&client);
    let is_over = AtomicBool::new(false);
    // How many were accepted, refused, and left unknown.
    let counts: [AtomicUsize; 3] = Default::default();
    let more = |kinds: &[usize]| {
        let before: Vec<usize> = kinds
            .iter()
            .map(|kind| counts[*kind].load(Ordering::Relaxed))
            .collect();
        poll("further answers", PATIENCE, || {
            let mut now = kinds.iter().zip(&before);
            let is_more = now.all(|(kind, before)| counts[*kind].load(Ordering::Relaxed) > *before);
            Ok(is_more.then_some(()))
        })
        .unwrap();
    };
    let answers: Vec<(u64, Answer)> = thread::scope(|scope| {
        let writers: Vec<_> = (0..3u64)
            .map(|writer| {
                let (client, is_over, counts) = (&client, &is_over, &counts);
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    for id in (writer..9000).step_by(3) {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        let (kind, answer) = match small(client, id) {
                            Ok(reply) if reply.status == 202 => {
                                (0, Answer::Accepted(reply.accepted().unwrap()))
                            }
                            Ok(reply) if reply.status == 503 => (1, Answer::Refused),
                            _ => (2, Answer::Unknown),
                        };
                        counts[kind].fetch_add(1, Ordering::Relaxed);
                        answers.push((id, answer));
                        thread::sleep(Duration::from_millis(20));
                    }
                    answers
                })
            })
            .collect();
        for round in 0..6 {
            more(&[0]);
            thread::sleep(Duration::from_millis(170 * round));
            set_failing(&cluster.proxy, true);
            // The first to fail may have been stored; those behind it are refused.
            more(&[1]);
            thread::sleep(Duration::from_millis(130 * (round % 4)));
            if round % 2 == 0 {
                set_failing(&cluster.proxy, false);
            } else {
                cluster.proxy.kill();
                cluster.proxy.restart(&[]).unwrap();
            }
        }
        more(&[0]);
        is_over.store(true, Ordering::Relaxed);
        let answers = writers.into_iter().map(|writer| writer.join().unwrap());
        answers.flatten().collect()
    });
    cluster.proxy.wait_ready().unwrap();
    for (_, answer) in &answers {
        if let Answer::Accepted(task) = answer {
            client.wait_succeeded(*task).unwrap();
        }
    }
    println!("accepted, refused, unknown: {counts:?}");
    let is_some = |count: &AtomicUsize| count.load(Ordering::Relaxed) > 0;
    assert!(counts.iter().all(is_some), "{counts:?}");
    let last = poll("a write that is taken", PATIENCE, || {
        let reply = small(&client, 9999)?;
        Ok((reply.status == 202).then_some(reply))
    });
    client
        .wait_succeeded(last.unwrap().accepted().unwrap())
        .unwrap();
    let path = "/indexes/things/documents?fields=id&limit=10000";
    let found = client.get(path).unwrap().ok().unwrap();
    let found: std::collections::BTreeSet<u64> = found["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| document["id"].as_u64().unwrap())
        .collect();
    for (id, answer) in &answers {
        match answer {
            Answer::Accepted(_) => assert!(found.contains(id), "{id} was accepted and is lost"),
            Answer::Refused => assert!(!found.contains(id), "{id} was refused and is there"),
            Answer::Unknown => {}
        }
    }
}
