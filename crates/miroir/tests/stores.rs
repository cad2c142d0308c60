//! The proxy's own disk: backups, a disk that is full, files that are damaged.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, Cluster, ClusterOptions, PATIENCE, Programs, clean_command, poll};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const MIROIR: &str = env!("CARGO_BIN_EXE_miroir");

fn miroir(args: &[&str]) -> Output {
    clean_command(MIROIR).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn add(client: &Client, ids: std::ops::Range<u64>) {
    let documents: Vec<Value> = ids
        .map(|id| json!({"id": id, "text": "x".repeat(200)}))
        .collect();
    let uid = client
        .post("/indexes/things/documents", &json!(documents))
        .unwrap()
        .accepted()
        .unwrap();
    client.wait_succeeded(uid).unwrap();
}

fn count(client: &Client) -> u64 {
    let stats = client.get("/indexes/things/stats").unwrap().ok().unwrap();
    stats["numberOfDocuments"].as_u64().unwrap()
}

/// The end of the log of a proxy that does not start.
fn refusal(cluster: &mut Cluster, data: &Path) -> String {
    let data = data.display().to_string();
    cluster.proxy.spawn(&[("MIROIR_DATA_DIR", &data)]).unwrap();
    let mut before = String::new();
    poll("the end of a proxy", PATIENCE, || {
        let log = fs::read_to_string(cluster.proxy.folder().join("log"))?;
        // It is written piece by piece.
        let is_whole = log.contains("rror") && log.ends_with('\n') && log == before;
        before.clone_from(&log);
        Ok(is_whole.then_some(log))
    })
    .unwrap()
}

#[test]
fn a_backup_taken_while_it_works_is_served_again_and_one_the_nodes_are_ahead_of_is_not() {
    let mut cluster =
        Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(2, 1, 4)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    add(cluster.client(), 0..500);
    let url = cluster.client().url();
    let early = folder.path().join("early");
    let late = folder.path().join("late");
    let taken = miroir(&["backup", "--to", early.to_str().unwrap(), "--url", &url]);
    assert!(taken.status.success(), "{}", said(&taken));
    let again = miroir(&["backup", "--to", early.to_str().unwrap(), "--url", &url]);
    assert!(said(&again).contains("is not empty"), "{}", said(&again));
    add(cluster.client(), 500..1000);
    let taken = miroir(&["backup", "--to", late.to_str().unwrap(), "--url", &url]);
    assert!(taken.status.success(), "{}", said(&taken));
    cluster.proxy.kill();

    let data = folder.path().join("data");
    let args = |from: &Path, data: &Path| {
        let (from, data) = (from.display().to_string(), data.display().to_string());
        miroir(&["restore", "--from", &from, "--data-dir", &data])
    };
    let put_back = args(&late, &data);
    assert!(put_back.status.success(), "{}", said(&put_back));
    let refused = args(&late, &data);
    assert!(said(&refused).contains("not empty"), "{}", said(&refused));
    let name = data.display().to_string();
    cluster
        .proxy
        .restart(&[("MIROIR_DATA_DIR", &name)])
        .unwrap();
    cluster.proxy.wait_ready().unwrap();
    assert_eq!(count(cluster.client()), 1000);
    add(cluster.client(), 1000..1100);
    assert_eq!(count(cluster.client()), 1100);

    let old = folder.path().join("old");
    assert!(args(&early, &old).status.success());
    let log = refusal(&mut cluster, &old);
    assert!(log.contains("it has done"), "{log}");
    // The nodes are as they were.
    cluster
        .proxy
        .restart(&[("MIROIR_DATA_DIR", &name)])
        .unwrap();
    cluster.proxy.wait_ready().unwrap();
    assert_eq!(count(cluster.client()), 1100);
}

#[test]
fn a_cut_database_is_not_served() {
    let mut cluster =
        Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(1, 1, 2)).unwrap();
    add(cluster.client(), 0..10);
    cluster.proxy.kill();
    let data = tempfile::tempdir().unwrap();
    for name in ["initialized", "lock"] {
        fs::write(data.path().join(name), "").unwrap();
    }
    fs::write(data.path().join("miroir.db"), "").unwrap();
    let log = refusal(&mut cluster, data.path());
    assert!(
        log.contains("corrupt") && log.contains("miroir restore"),
        "{log}"
    );
}

/// A program that runs the proxy as a user whom permissions bind; `None`, with the reason printed,
/// where the tests run as one whom they do not, and cannot become another.
#[cfg(unix)]
fn as_bound_user(folder: &Path, data: &Path) -> Option<std::path::PathBuf> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    if fs::metadata(data).unwrap().uid() != 0 {
        return Some(MIROIR.into());
    }
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let is_known = Command::new("setpriv").args(nobody).arg("true").status();
    if !is_known.is_ok_and(|status| status.success()) {
        println!("SKIPPED: the tests run as root, and there is no setpriv to become another user");
        return None;
    }
    // A program and a folder that the other user may enter, wherever the tests' own lie.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.join("miroir-program");
    fs::copy(MIROIR, &program).unwrap();
    let script = folder.join("miroir");
    let nobody = nobody.join(" ");
    let program = program.display();
    let text = format!("#!/bin/sh\nexec setpriv {nobody} {program} \"$@\"\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let owned = Command::new("chown")
        .args(["-R", "65534:65534"])
        .arg(data)
        .status();
    assert!(owned.unwrap().success());
    Some(script)
}

#[cfg(unix)]
fn permit(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder that becomes read-only under a running proxy: by its permissions, as a file system with
/// files open for writing cannot be mounted anew.
#[cfg(unix)]
#[test]
fn a_store_that_becomes_read_only_refuses_writes_serves_reads_and_goes_on_when_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let Some(program) = as_bound_user(folder.path(), &data) else {
        return;
    };
    let mut cluster =
        Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(2, 2, 4)).unwrap();
    let name = data.display().to_string();
    // Its configuration lies there.
    permit(cluster.proxy.folder(), 0o755);
    cluster.proxy.run_as(&program);
    let environment = [("MIROIR_DATA_DIR", name.as_str())];
    cluster.proxy.restart(&environment).unwrap();
    cluster.proxy.wait_ready().unwrap();
    let client = cluster.client().clone();
    add(&client, 0..10);

    let payloads = data.join("payloads");
    permit(&payloads, 0o555);
    // Too large for the log itself: it wants a file.
    let large = |id: u64| json!([{"id": id, "text": "y".repeat(200_000)}]);
    let path = "/indexes/things/documents";
    let refused = client.post(path, &large(100)).unwrap();
    assert!(matches!(refused.status, 500 | 503), "{}", refused.body);
    assert_eq!(refused.code(), Some("internal"));
    // Now that it is known, small ones are refused too, and told why.
    let refused = client.post(path, &json!([{"id": 101}])).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.body);
    let told = refused.body.to_string();
    assert!(told.contains("store cannot be written"), "{told}");
    let topology = client.get("/_miroir/topology").unwrap().ok().unwrap();
    assert!(topology["storeFault"].is_object(), "{topology}");
    let found = client.search("things", &json!({"q": ""})).unwrap();
    assert_eq!(found.ok().unwrap()["hits"].as_array().unwrap().len(), 10);
    assert_eq!(client.get("/tasks?limit=1").unwrap().status, 200);
    assert_eq!(client.get("/health").unwrap().status, 200);

    // Writable again: it goes on by itself.
    permit(&payloads, 0o755);
    let taken = poll("a write that is taken", PATIENCE, || {
        let reply = client.post(path, &large(102))?;
        Ok((reply.status == 202).then_some(reply))
    });
    client
        .wait_succeeded(taken.unwrap().accepted().unwrap())
        .unwrap();
    add(&client, 10..20);
    assert_eq!(count(&client), 21, "what was refused was not done");

    // A start on a folder that cannot be written is refused with the way out, and changes nothing.
    cluster.proxy.kill();
    for (path, mode, before) in [
        (data.clone(), 0o555, 0o755),
        (data.join("miroir.db"), 0o444, 0o644),
    ] {
        permit(&path, mode);
        let log = refusal(&mut cluster, &data);
        assert!(log.contains("choose another data_dir"), "{log}");
        assert!(log.contains("to the user that runs Miroir"), "{log}");
        cluster.proxy.kill();
        permit(&path, before);
    }
    cluster.proxy.restart(&environment).unwrap();
    cluster.proxy.wait_ready().unwrap();
    assert_eq!(count(&cluster.client().clone()), 21);
    add(&cluster.client().clone(), 20..30);
}

/// A file system that is mounted for reading only.
#[cfg(target_os = "linux")]
#[test]
fn a_start_on_a_read_only_file_system_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&disk)
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    if !mount("size=64m") {
        println!("SKIPPED: no file system can be mounted here");
        return;
    }
    struct Mounted<'a>(&'a Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            // Lazily: what still holds it open ends with the test.
            let _ = Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
    let _mounted = Mounted(&disk);
    let mut cluster =
        Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(1, 1, 2)).unwrap();
    let data = disk.join("data");
    let name = data.display().to_string();
    let environment = [("MIROIR_DATA_DIR", name.as_str())];
    cluster.proxy.restart(&environment).unwrap();
    cluster.proxy.wait_ready().unwrap();
    add(cluster.client(), 0..100);
    cluster.proxy.kill();
    let remount = |how: &str| {
        poll("a file system mounted anew", PATIENCE, || {
            let options = format!("remount,{how}");
            let status = Command::new("mount")
                .args(["-o", &options])
                .arg(&disk)
                .status();
            Ok(status?.success().then_some(()))
        })
        .unwrap();
    };
    remount("ro");
    let log = refusal(&mut cluster, &data);
    assert!(
        log.contains("mount its file system for writing") && log.contains(&name),
        "{log}"
    );
    cluster.proxy.kill();
    remount("rw");
    cluster.proxy.restart(&environment).unwrap();
    cluster.proxy.wait_ready().unwrap();
    assert_eq!(count(cluster.client()), 100);
    add(cluster.client(), 100..110);
}

/// Files may grow to so many bytes only: what a full disk does to a process, without one.
#[cfg(unix)]
#[test]
fn on_a_full_disk_writes_are_refused_reads_go_on_and_nothing_accepted_is_lost() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("miroir");
    let text = format!("#!/bin/sh\ntrap '' XFSZ\nulimit -f 2048\nexec {MIROIR} \"$@\"\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut cluster =
        Cluster::start(&Programs::new(MIROIR), &ClusterOptions::new(1, 1, 2)).unwrap();
    cluster.proxy.run_as(&script);
    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    let mut accepted = Vec::new();
    let mut refusals = Vec::new();
    // More than the files may hold.
    for id in 0..200u64 {
        let document = json!([{"id": id, "text": "y".repeat(40_000)}]);
        let reply = cluster
            .client()
            .post("/indexes/things/documents", &document)
            .unwrap();
        match reply.status {
            202 => accepted.push((id, reply.accepted().unwrap())),
            status => refusals.push((status, reply.code().unwrap_or_default().to_owned())),
        }
    }
    assert!(
        !accepted.is_empty() && !refusals.is_empty(),
        "{} {refusals:?}",
        accepted.len()
    );
    let known = [
        (500, "internal"),
        (503, "internal"),
        (422, "no_space_left_on_device"),
    ];
    for (status, code) in &refusals {
        assert!(known.contains(&(*status, code.as_str())), "{status} {code}");
    }
    let health = cluster.client().get("/health").unwrap();
    assert_eq!(health.status, 200);
    let tasks = cluster.client().get("/tasks?limit=1").unwrap();
    assert_eq!(tasks.status, 200, "{}", tasks.body);

    // With room again.
    cluster.proxy.run_as(Path::new(MIROIR));
    cluster.proxy.restart(&[]).unwrap();
    cluster.proxy.wait_ready().unwrap();
    for (_, task) in &accepted {
        cluster.client().wait_succeeded(*task).unwrap();
    }
    let path = "/indexes/things/documents?fields=id&limit=1000";
    let found = cluster.client().get(path).unwrap().ok().unwrap();
    let found: Vec<u64> = found["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| document["id"].as_u64().unwrap())
        .collect();
    for (id, _) in &accepted {
        assert!(found.contains(id), "document {id} was accepted and is lost");
    }
    assert!(
        found.len() <= accepted.len() + 1,
        "{} documents of {} accepted: at most the one in doubt is more",
        found.len(),
        accepted.len()
    );
    add(cluster.client(), 1000..1010);
}
