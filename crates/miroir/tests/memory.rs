//! A payload far larger than the memory that a proxy may take.
//!
//! The nodes are mute: they accept and count. So the whole way of a write through the proxy is
//! walked, and no time is spent on indexing a gigabyte.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use flate2::Compression;
use flate2::write::GzEncoder;
use miroir_testkit::{Body, MuteNode, Programs, ProxyOptions, ProxyProcess, scale};
use std::io::{self, Write};
use std::time::Instant;

const MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;
const PAYLOAD_BYTES: u64 = 1024 * 1024 * 1024;
/// What is sent packed is unpacked by the proxy; packing it costs the test more than sending.
const PACKED_PAYLOAD_BYTES: u64 = 160 * 1024 * 1024;
/// Large enough that reading a document is copying its text.
const DOCUMENT_BYTES: u64 = 192 * 1024;

fn start(nodes: &[MuteNode]) -> ProxyProcess {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let options = ProxyOptions {
        replication_factor: 1,
        shards: 4,
        ..ProxyOptions::over(nodes.iter().map(MuteNode::url))
            .with("http_payload_size_limit = \"8 GB\"")
    };
    let proxy = ProxyProcess::start(&programs, options).unwrap();
    proxy.wait_ready().unwrap();
    proxy
}

/// Writes documents, one a line, of the given size together; returns how many.
fn write_documents(out: &mut dyn Write, bytes: u64) -> io::Result<u64> {
    let text = "sun and wind and cloak ".repeat(DOCUMENT_BYTES as usize / 23);
    let count = bytes.div_ceil(text.len() as u64);
    for id in 0..count {
        write!(out, "{{\"id\":{id},\"text\":\"")?;
        out.write_all(text.as_bytes())?;
        out.write_all(b"\"}\n")?;
    }
    Ok(count)
}

/// Sends a payload and waits for the end of its task; returns the number of its documents.
fn send(proxy: &ProxyProcess, index: &str, packed: bool, bytes: u64) -> u64 {
    let mut headers = vec![("content-type", "application/x-ndjson")];
    if packed {
        headers.push(("content-encoding", "gzip"));
    }
    let mut count = 0;
    let mut produce = |out: &mut dyn Write| {
        if packed {
            let mut encoder = GzEncoder::new(out, Compression::fast());
            count = write_documents(&mut encoder, bytes)?;
            encoder.finish().map(drop)
        } else {
            count = write_documents(out, bytes)?;
            Ok(())
        }
    };
    let path = format!("/indexes/{index}/documents?primaryKey=id");
    let body = Body::Stream(&mut produce);
    let reply = proxy
        .client()
        .send_as("POST", &path, &headers, body)
        .unwrap();
    let task = proxy
        .client()
        .wait_succeeded(reply.accepted().unwrap())
        .unwrap();
    assert_eq!(task["details"]["receivedDocuments"], count);
    count
}

#[test]
fn a_payload_of_a_gigabyte_passes_through_a_quarter_of_its_size_in_memory() {
    let nodes = [MuteNode::start().unwrap(), MuteNode::start().unwrap()];
    let proxy = start(&nodes);
    let mut documents = 0;
    let mut bytes = 0;
    for (index, packed, size) in [
        ("plain", false, PAYLOAD_BYTES * scale() as u64),
        ("packed", true, PACKED_PAYLOAD_BYTES),
    ] {
        let started = Instant::now();
        documents += send(&proxy, index, packed, size);
        bytes += size;
        let peak = proxy.process().unwrap().memory_peak_bytes().unwrap();
        println!(
            "{index}: {size} bytes in {:.1?}, at most {peak} in memory",
            started.elapsed()
        );
        assert!(
            peak < MEMORY_BYTES_MAX,
            "{index}: the proxy took {peak} bytes"
        );
    }
    let delivered = nodes.iter().map(MuteNode::document_lines).sum::<u64>();
    assert_eq!(delivered, documents, "each document was delivered, once");
    assert!(nodes.iter().map(MuteNode::document_bytes).sum::<u64>() >= bytes);
    assert!(nodes.iter().all(|node| node.document_lines() > 0));
}
