//! Replacing a file so that a crash at any instant leaves either the old one or
//! the new one, whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes `path` anew: to `<path>.tmp` beside it, flushed to the disk, then renamed
/// over the old file, and the folder flushed too. On any failure (full disk,
/// unwritable folder) the old file stands as it was and the temporary one is gone.
pub fn replace_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    replace_with(path, |file, temporary| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(&mut out).and_then(|()| out.flush()).map_err(Error::io("write", temporary))
    })
}

/// The same for a file that is not written from its first byte to its last. `write` gets the
/// temporary file and its path.
pub fn replace_with(path: &Path, write: impl FnOnce(&mut File, &Path) -> Result<()>) -> Result<()> {
    let temporary = temporary_of(path);
    let result = write_synced(&temporary, write)
        .and_then(|()| fs::rename(&temporary, path).map_err(Error::io("rename a finished file to", path)))
        .and_then(|()| sync_folder(path));
    if result.is_err() {
        // The first error is the one to report; a temporary file that stays is only litter.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// `last.safetensors` -> `last.safetensors.tmp`.
fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

fn write_synced(path: &Path, write: impl FnOnce(&mut File, &Path) -> Result<()>) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    write(&mut file, path)?;
    file.sync_all().map_err(Error::io("flush to disk", path))
}

/// Makes the rename itself survive a power cut. Only Unix can flush a folder.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("flush to disk", folder))?;
    }
    Ok(())
}
