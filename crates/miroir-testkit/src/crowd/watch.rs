//! Looks at the cluster as an operator does, and notes when which node is well.

use super::book::{Book, Part};
use crate::Client;
use std::thread;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn run(book: &Book, client: &Client) {
    let mut before = Instant::now();
    while !book.is_over() {
        let looked = Instant::now();
        match client.get("/_miroir/topology").and_then(|reply| reply.ok()) {
            Ok(topology) => {
                let nodes = topology["nodes"].as_array().cloned().unwrap_or_default();
                for node in &nodes {
                    let name = node["name"].as_str().unwrap_or_default().to_owned();
                    let is_well = node["inSync"] == true
                        && node["state"] == "up"
                        && node["reads"]["breaker"] != "open";
                    book.note_seen(Part::Node(name), is_well, looked, before);
                }
                let is_ready = client
                    .get("/_miroir/ready")
                    .is_ok_and(|reply| reply.status == 200);
                if is_ready {
                    book.note_seen(Part::Proxy, true, looked, before);
                }
            }
            Err(error) => {
                if !book.is_proxy_disturbed(looked, Instant::now()) {
                    book.violate(format!(
                        "the state of the cluster cannot be read: {error:#}"
                    ));
                }
            }
        }
        before = looked;
        thread::sleep(INTERVAL);
    }
}
