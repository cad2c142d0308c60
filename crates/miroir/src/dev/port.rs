//! Free loopback ports for the nodes.

use anyhow::bail;
use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

/// Below the range from which the systems we know take ports for outgoing connections, so that no
/// such connection takes a port between our choosing it and the node's binding it.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// More tries than a machine has listeners in any sane state.
const TRIES_MAX: usize = 500;

/// A port that nobody listened on when it was chosen, and that no other `miroir dev` of this
/// machine will choose while this value lives.
#[derive(Debug)]
pub(crate) struct Port {
    /// The number.
    pub(crate) number: u16,
    /// The claim; `None` where the shared folder of claims cannot be used (another user's).
    _claim: Option<File>,
}

impl Port {
    /// Chooses one.
    ///
    /// # Errors
    /// If hundreds of random ports are all in use.
    pub(crate) fn reserve() -> anyhow::Result<Self> {
        let claims = std::env::temp_dir().join("miroir-ports");
        let _ = std::fs::create_dir_all(&claims);
        let random = RandomState::new();
        for attempt in 0..TRIES_MAX {
            let mut hasher = random.build_hasher();
            hasher.write_usize(attempt);
            let offset = (hasher.finish() % u64::from(COUNT)) as u16;
            let number = FIRST + offset;
            let Some(claim) = claim(claims.join(number.to_string())) else {
                continue;
            };
            if is_free(number) {
                return Ok(Self {
                    number,
                    _claim: claim,
                });
            }
        }
        bail!(
            "no free port was found between {FIRST} and {}",
            FIRST + COUNT
        )
    }
}

/// Whether a listener can be opened there now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Returns the locked claim, `Some(None)` if claims cannot be made here, and `None` if the port
/// is claimed already.
fn claim(path: PathBuf) -> Option<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let Ok(file) = file else { return Some(None) };
    match file.try_lock() {
        Ok(()) => Some(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => None,
        Err(std::fs::TryLockError::Error(_)) => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_reserved_together_are_distinct_and_free() {
        let ports: Vec<Port> = (0..20).map(|_| Port::reserve().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(|port| port.number).collect();
        assert_eq!(numbers.len(), 20);
        assert!(
            numbers
                .iter()
                .all(|number| (FIRST..FIRST + COUNT).contains(number))
        );
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
