//! The database file as it was opened: what is written to it, and read of it by further connections,
//! is to be of this file and no other.

use miroir_engine::port::StoreError;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the file lies, and what it is known by.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// `None` if the system did not tell: then nothing is compared.
    identity: Option<(u64, u64)>,
}

impl Place {
    /// The file that is there now.
    pub(super) fn new(path: PathBuf) -> Self {
        let identity = identity(&path);
        Self { path, identity }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a file that the next start would not find, or that is another by now.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.identity.is_none() || identity(&self.path) == self.identity {
            return Ok(());
        }
        Err(StoreError::Io(format!(
            "{}: it was moved, removed or replaced under the running proxy, and what is written now \
             would be lost; put it back, or restart Miroir on what is to be there",
            self.path.display()
        )))
    }
}

/// Tells a file from others; where the system does not, whether there is one.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        metadata.is_file().then_some((0, 0))
    }
}
