//! Lock files: one process at a time in a folder.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, Result};

/// A lock that is held is asked for again so often, at this interval. A process
/// that this one is just starting holds every open file until it has begun its
/// own program, so a lock given up a moment ago may still seem taken.
const ATTEMPTS: usize = 20;
const INTERVAL: Duration = Duration::from_millis(25);

/// Creates and locks `path` until the file is dropped; `held` says who has it.
///
/// # Errors
/// `held()` if another process keeps the lock for half a second; [`Error::Io`].
pub fn lock(path: &Path, held: impl FnOnce() -> Error) -> Result<File> {
    let file = File::create(path).map_err(Error::io("create", path))?;
    for _ in 0..ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => sleep(INTERVAL),
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
        }
    }
    Err(held())
}
