//! Where a data set is written: a hidden folder beside its place, under a lock.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Split;
use super::journal::JOURNAL;
use super::manifest::MANIFEST;
use crate::error::{Error, Result};
use crate::lock::lock;

/// The mean image's file name.
pub(super) const MEAN: &str = "mean.safetensors";
/// The lock's file name.
pub(super) const LOCK: &str = "lock";

/// Refuses an `out` that the pack would have to destroy.
pub(crate) fn check_target(out: &Path, force: bool) -> Result<()> {
    let Ok(entries) = fs::read_dir(out) else {
        if out.exists() {
            return Err(Error::Usage(format!("{} is a file: name a folder for the data set", out.display())));
        }
        return Ok(());
    };
    let ours = [MANIFEST, MEAN, LOCK, JOURNAL, Split::Train.name(), Split::Val.name()];
    let mut has_manifest = false;
    for entry in entries {
        let name = entry.map_err(Error::io("read", out))?.file_name();
        has_manifest |= name == OsStr::new(MANIFEST);
        if !ours.iter().any(|own| name == OsStr::new(own)) {
            return Err(Error::Usage(format!(
                "{} holds {}, which is no part of a data set: choose another folder",
                out.display(),
                Path::new(&name).display()
            )));
        }
    }
    let empty = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    match (empty, has_manifest, force) {
        (true, ..) | (_, true, true) => Ok(()),
        (_, true, false) => Err(Error::Usage(format!(
            "{} is a data set already: choose another folder, or replace it with --force",
            out.display()
        ))),
        (_, false, _) => {
            Err(Error::Usage(format!("{} is not empty and has no {MANIFEST}: choose another folder", out.display())))
        }
    }
}

/// Takes the lock inside the working folder, or says who has it.
pub(super) fn lock_folder(temp: &Path, out: &Path) -> Result<File> {
    lock(&temp.join(LOCK), || Error::Usage(format!("another pack to {} is running: wait for it to end", out.display())))
}

/// Removes what an interrupted pack left behind.
pub(super) fn clear(temp: &Path) -> Result<()> {
    for entry in fs::read_dir(temp).map_err(Error::io("read", temp))? {
        let path = entry.map_err(Error::io("read", temp))?.path();
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        } else if path.file_name() != Some(OsStr::new(LOCK)) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// `.NAME.suffix` beside `out`.
pub(super) fn sibling(out: &Path, suffix: &str) -> Result<PathBuf> {
    let name = out
        .file_name()
        .ok_or_else(|| Error::Usage(format!("\"{}\" does not name a folder for the data set", out.display())))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(suffix);
    Ok(parent(out).join(hidden))
}

/// The folder that `out` is or will be in.
pub(crate) fn parent(out: &Path) -> &Path {
    match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a folder's entries durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", folder))
}
