//! The proxy is killed at every step of a write's life and started again: nothing acknowledged is
//! lost, nothing happens twice in a visible way, and every task ends as it should.
//!
//! The steps stand before and after everything that lasts: a sync of the disk, a request to a node.
//!
//! | What lasts | Before | After |
//! |---|---|---|
//! | the payload file | `payload.syncing` | `payload.synced` |
//! | the log entry | `entry.appending` | `entry.appended` |
//! | the batch and its plan | `batch.prepared` | `batch.committed` |
//! | a request to a node | `node.sending` | `node.sent` |
//! | what nodes made of it, and the ends of tasks | `node.applied`, `delivery.noting` | `delivery.noted`, `tasks.completed` |
//! | the removal of payload files | `payload.removing` | `payload.removed` |
//!
//! `MIROIR_STOP_AT=<step>:<n>` makes the proxy stand still when it comes to the step for the nth
//! time, after it has written a line to the file `MIROIR_STOP_FILE`; there it is killed.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{
    Client, Cluster, ClusterOptions, Model, Outcome, PATIENCE, Programs, Rng, Write, poll, scale,
    send_write, write_script,
};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

fn cluster() -> Cluster {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    Cluster::start(&programs, &ClusterOptions::new(3, 2, 6)).unwrap()
}

/// One client's writes to one index, in order, over any number of deaths of the proxy.
struct Writer {
    index: String,
    script: Vec<Write>,
    next: usize,
    model: Model,
    /// The uids of the tasks of the writes that happened, in order.
    uids: Vec<u64>,
    /// The last write got no answer.
    in_doubt: bool,
}

impl Writer {
    fn new(index: String, seed: u64) -> Self {
        let script = write_script(seed);
        Self {
            index,
            script,
            next: 0,
            model: Model::default(),
            uids: Vec::new(),
            in_doubt: false,
        }
    }

    fn is_done(&self) -> bool {
        self.next == self.script.len()
    }

    /// Sends the next writes until all are sent or one gets no answer.
    fn send(&mut self, client: &Client, mut on_accepted: impl FnMut()) {
        while !self.is_done() && !self.in_doubt {
            match send_write(client, &self.index, &self.script[self.next]).unwrap() {
                Outcome::Accepted(uid) => {
                    self.note(uid);
                    on_accepted();
                }
                Outcome::Unknown => self.in_doubt = true,
            }
        }
    }

    fn note(&mut self, uid: u64) {
        assert!(
            self.uids.last() < Some(&uid),
            "task {uid} after {:?}",
            self.uids.last()
        );
        self.model.apply(&self.script[self.next]);
        self.uids.push(uid);
        self.next += 1;
    }

    /// Finds out, by the list of tasks, whether the write without an answer happened; if it did
    /// not, it will be sent again.
    fn resolve_doubt(&mut self, tasks: &[Value]) {
        let known: Vec<u64> = self.own(tasks).map(uid_of).collect();
        if self.in_doubt && known.len() == self.uids.len() + 1 {
            self.note(known[known.len() - 1]);
        }
        assert_eq!(
            known, self.uids,
            "the tasks of {} are those that were accepted",
            self.index
        );
        self.in_doubt = false;
    }

    /// The tasks of this writer's index, of a list in which each uid comes once and in order.
    fn own<'a>(&'a self, tasks: &'a [Value]) -> impl Iterator<Item = &'a Value> {
        let uids: Vec<u64> = tasks.iter().map(uid_of).collect();
        assert!(
            uids.is_sorted_by(|left, right| left < right),
            "uids in order, each once: {uids:?}"
        );
        tasks
            .iter()
            .filter(|task| task["indexUid"] == self.index.as_str())
    }

    /// Sends the rest and checks that all of it is there, once.
    fn finish_and_check(&mut self, client: &Client) {
        self.resolve_doubt(&client.tasks().unwrap());
        self.send(client, || {});
        assert!(
            self.is_done(),
            "{}: no answer from a healthy proxy",
            self.index
        );
        for uid in &self.uids {
            client.wait_succeeded(*uid).unwrap();
        }
        let tasks = client.tasks().unwrap();
        assert_eq!(self.own(&tasks).count(), self.script.len());
        for (task, write) in self.own(&tasks).zip(&self.script) {
            check_details(task, write);
        }
        self.model.check(client, &self.index).unwrap();
    }
}

/// A task tells how many documents the client sent, however often it was delivered.
fn check_details(task: &Value, write: &Write) {
    if let Write::Add(documents) | Write::Update(documents) = write {
        assert_eq!(task["type"], "documentAdditionOrUpdate");
        assert_eq!(
            task["details"]["receivedDocuments"],
            documents.len(),
            "{task}"
        );
        assert_eq!(
            task["details"]["indexedDocuments"],
            documents.len(),
            "{task}"
        );
    }
}

fn uid_of(task: &Value) -> u64 {
    task["uid"].as_u64().unwrap()
}

/// Waits until the proxy stands still at the step.
fn wait_for_step(cluster: &Cluster, step: &str) {
    let file = cluster.proxy.folder().join("stopped");
    let reached = || {
        Ok(fs::read_to_string(&file)
            .is_ok_and(|text| text.contains(step))
            .then_some(()))
    };
    if let Err(error) = poll(&format!("the step {step}"), PATIENCE, reached) {
        let tail = cluster
            .proxy
            .process()
            .map(miroir_testkit::Process::log_tail);
        panic!(
            "{error}; the proxy's log ends with:\n{}",
            tail.unwrap_or_default()
        );
    }
}

/// Starts the proxy so that it will stand still at the nth coming to the step.
fn restart_to_stop(cluster: &mut Cluster, step: &str, nth: usize) {
    let file = cluster.proxy.folder().join("stopped");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap().to_owned();
    let at = format!("{step}:{nth}");
    // It may stop so early that it never says that it is healthy.
    cluster
        .proxy
        .spawn(&[("MIROIR_STOP_AT", &at), ("MIROIR_STOP_FILE", &file)])
        .unwrap();
}

fn wait_for_health(client: &Client) {
    poll("the health of the proxy", PATIENCE, || {
        Ok(client
            .get("/health")
            .is_ok_and(|reply| reply.status == 200)
            .then_some(()))
    })
    .unwrap();
}

/// Kills the proxy at the nth coming to a step while a client writes, and checks what is left.
fn kill_at(cluster: &mut Cluster, step: &str, nth: usize, seed: u64) {
    println!("killing at {step}:{nth}");
    let mut writer = Writer::new(format!("k{seed}"), seed);
    restart_to_stop(cluster, step, nth);
    wait_for_health(cluster.client());
    thread::scope(|scope| {
        let client = Client::new(cluster.client().http().address(), None);
        let writing = scope.spawn(|| {
            let client = client;
            writer.send(&client, || {});
        });
        wait_for_step(cluster, step);
        cluster.proxy.kill();
        writing.join().unwrap();
    });
    cluster.proxy.restart(&[]).unwrap();
    writer.finish_and_check(cluster.client());
}

fn kill_at_each(steps: &[(&str, &[usize])], first_seed: u64) {
    let mut cluster = cluster();
    let mut seed = first_seed;
    for round in 0..scale() {
        for (step, times) in steps {
            for nth in *times {
                kill_at(&mut cluster, step, nth + round, seed);
                seed += 1;
            }
        }
    }
}

#[test]
fn a_death_while_a_write_is_accepted_loses_nothing_acknowledged() {
    // A script has one payload that is large enough to be a file.
    let mut cluster = cluster();
    kill_at(&mut cluster, "payload.syncing", 1, 99);
    kill_at(&mut cluster, "payload.synced", 1, 100);
    for nth in [1, 5, 9] {
        kill_at(&mut cluster, "entry.appended", nth, 100 + nth as u64);
    }
    for nth in [2, 8] {
        kill_at(&mut cluster, "entry.appending", nth, 120 + nth as u64);
    }
}

#[test]
fn a_death_while_a_write_is_prepared_loses_nothing_and_repeats_nothing() {
    kill_at_each(
        &[("batch.prepared", &[1, 4]), ("batch.committed", &[1, 4])],
        200,
    );
}

#[test]
fn a_death_while_a_write_is_delivered_loses_nothing_and_repeats_nothing() {
    kill_at_each(
        &[
            ("node.sending", &[1, 2, 7]),
            ("node.sent", &[1, 2, 7]),
            ("delivery.noting", &[1, 6]),
            ("delivery.noted", &[1, 6]),
        ],
        300,
    );
}

#[test]
fn a_death_while_a_task_is_completed_loses_nothing_and_repeats_nothing() {
    kill_at_each(
        &[("node.applied", &[1, 5]), ("tasks.completed", &[1, 4])],
        400,
    );
    let mut cluster = cluster();
    kill_at(&mut cluster, "payload.removing", 1, 449);
    kill_at(&mut cluster, "payload.removed", 1, 450);
}

#[test]
fn a_death_at_each_step_of_a_recovery_is_recovered_from() {
    let mut cluster = cluster();
    let steps = [
        "batch.prepared",
        "batch.committed",
        "node.sending",
        "node.sent",
        "delivery.noting",
        "delivery.noted",
        "node.applied",
    ];
    let mut writer = Writer::new("again".to_owned(), 500);
    restart_to_stop(&mut cluster, steps[0], 2);
    wait_for_health(cluster.client());
    thread::scope(|scope| {
        let client = Client::new(cluster.client().http().address(), None);
        let writing = scope.spawn(|| {
            let client = client;
            writer.send(&client, || {});
        });
        wait_for_step(&cluster, steps[0]);
        cluster.proxy.kill();
        writing.join().unwrap();
    });
    // Nobody writes any more: what comes to these steps is the recovery itself.
    for step in &steps[1..] {
        restart_to_stop(&mut cluster, step, 1);
        wait_for_step(&cluster, step);
        cluster.proxy.kill();
    }
    cluster.proxy.restart(&[]).unwrap();
    writer.finish_and_check(cluster.client());
}

#[test]
fn a_death_at_each_step_of_a_nodes_refill_is_recovered_from() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let mut cluster = Cluster::start(&programs, &ClusterOptions::new(2, 2, 4)).unwrap();
    let mut writer = Writer::new("copied".to_owned(), 520);
    writer.send(cluster.client(), || {});
    for uid in &writer.uids {
        cluster.client().wait_succeeded(*uid).unwrap();
    }
    cluster.nodes[1].kill_and_wipe().unwrap();
    cluster.proxy.kill();
    cluster.nodes[1].restart().unwrap();
    for step in [
        "refill.started",
        "refill.running",
        "refill.listed",
        "copy.read",
        "copy.committed",
        "refill.noted",
        "refill.finished",
    ] {
        // What an earlier life has stored already is not done again.
        restart_to_stop(&mut cluster, step, 1);
        wait_for_step_or_level(&cluster, step);
        cluster.proxy.kill();
    }
    cluster.proxy.restart(&[]).unwrap();
    cluster.wait_healthy(1).unwrap();
    cluster.nodes[0].kill();
    writer.finish_and_check(cluster.client());
}

/// Waits until the proxy stands still at the step, or has no need to come to it any more.
fn wait_for_step_or_level(cluster: &Cluster, step: &str) {
    let file = cluster.proxy.folder().join("stopped");
    poll(&format!("the step {step}"), PATIENCE, || {
        let is_reached = fs::read_to_string(&file).is_ok_and(|text| text.contains(step));
        let is_level = cluster
            .node_state(1)
            .is_ok_and(|node| node["inSync"] == true && node["state"] == "up");
        Ok((is_reached || is_level).then(|| println!("{step}: reached {is_reached}")))
    })
    .unwrap();
}

/// Writes the whole script, whatever happens to the proxy meanwhile.
fn write_over_deaths(writer: &mut Writer, client: &Client, accepted: &AtomicUsize) {
    while !writer.is_done() {
        writer.send(client, || {
            accepted.fetch_add(1, Ordering::Relaxed);
        });
        if writer.in_doubt {
            // The proxy may die again while it is asked.
            let tasks = poll("the proxy's return", PATIENCE, || Ok(client.tasks().ok()));
            writer.resolve_doubt(&tasks.unwrap());
        }
    }
}

#[test]
fn deaths_at_any_moment_lose_nothing_while_several_clients_write() {
    let mut cluster = cluster();
    let mut rng = Rng::new(600);
    let accepted = AtomicUsize::new(0);
    let address = cluster.client().http().address();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|number| {
                let accepted = &accepted;
                scope.spawn(move || {
                    let client = Client::new(address, None);
                    let mut writer = Writer::new(format!("w{number}"), 600 + number);
                    write_over_deaths(&mut writer, &client, accepted);
                    writer
                })
            })
            .collect();
        for _ in 0..5 * scale() {
            let goal = accepted.load(Ordering::Relaxed) + rng.between(1, 10);
            poll("the next accepted writes", PATIENCE, || {
                let reached = accepted.load(Ordering::Relaxed) >= goal;
                let all_done = writers.iter().all(thread::ScopedJoinHandle::is_finished);
                Ok((reached || all_done).then_some(()))
            })
            .unwrap();
            cluster.proxy.restart(&[]).unwrap();
        }
        for writer in writers {
            writer.join().unwrap().finish_and_check(cluster.client());
        }
    });
}
