//! Ports for the servers of a test.

use anyhow::{Result, bail};
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Below the range from which systems take the ports of outgoing connections: a server that is
/// killed and started again must find its port free. And below those that `miroir dev` takes.
const FIRST: u32 = 12_000;
const COUNT: u32 = 8_000;

static NEXT: AtomicU32 = AtomicU32::new(0);
/// What says that a port is ours, to the end of this process.
static CLAIMS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// Returns a loopback port that nobody listens on, each time another one; no other process is given
/// it before this one has ended, so a server may be killed and find its port free later.
///
/// # Errors
/// When no port of the range can be bound.
pub fn free_port() -> Result<u16> {
    // Test binaries that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let Ok(port) = u16::try_from(port) else {
            continue;
        };
        // UDP has ports of its own, which nothing here uses: who holds the one of this number has
        // claimed the other, and it is given back by the system, whatever ends the process.
        let Ok(claim) = UdpSocket::bind(("127.0.0.1", port)) else {
            continue;
        };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
            claims.push(claim);
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_given_is_claimed_though_nobody_listens_on_it() {
        let ports = [free_port().unwrap(), free_port().unwrap()];
        assert_ne!(ports[0], ports[1]);
        for port in ports {
            assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
            assert!(UdpSocket::bind(("127.0.0.1", port)).is_err());
        }
    }
}
