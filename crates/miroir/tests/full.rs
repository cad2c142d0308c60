//! Disks that are full: a small file system of their own in memory for the proxy and for a node,
//! which is made larger when it was full. Where none can be mounted, the tests say so and do nothing.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, Cluster, ClusterOptions, Programs, poll};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
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
    for (status, code) in &refusals {
        let is_clear = matches!(
            (*status, code.as_str()),
            (422, "no_space_left_on_device") | (500 | 503, "internal")
        );
        assert!(is_clear, "{status} {code}");
    }
    assert_eq!(client.get("/tasks?limit=1").unwrap().status, 200);
    let ready = client.get("/_miroir/topology").unwrap().ok().unwrap();
    assert!(ready["storeFault"].is_object(), "{ready}");

    // Room again: it goes on by itself.
    disk.grow(200);
    cluster.nodes[0].restart().unwrap();
    let last = poll("a write that is taken", Duration::from_secs(60), || {
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
    let report = poll("a comparison", Duration::from_secs(60), || {
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
