//! Tar files: where each member lies, found in one pass over the headers.
//!
//! Members are then read by their place, from any number of threads. A
//! compressed archive has no places: it is unpacked once into a nameless file
//! beside the target, which vanishes with the process. The data sets that come
//! compressed are small (CIFAR 180 MB, Caltech-101 130 MB); ImageNet, VOC and
//! Caltech-256 come as plain tar files and are read where they lie.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use rayon::prelude::*;

use super::place::{Container, Place, Section};
use super::tree::Entry;
use crate::error::{Error, Result};

/// Headers, and what fills a member up, come in blocks of so many bytes.
const BLOCK: u64 = 512;

/// Whether `name` is that of a tar file.
pub(super) fn is_tar(name: &str) -> bool {
    [".tar", ".tar.gz", ".tgz"].iter().any(|ending| name.ends_with(ending))
}

/// Opens the archive at `path`; a compressed one goes to a nameless file in `scratch`.
pub(super) fn open(path: &Path, scratch: &Path) -> Result<Section> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut magic = [0; 2];
    let compressed = file.read_exact(&mut magic).is_ok() && magic == [0x1F, 0x8B];
    if !compressed {
        return Ok(Container::of(path, file)?.whole());
    }
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut unpacked = tempfile::tempfile_in(scratch).map_err(Error::io("create a file in", scratch))?;
    let mut reader = MultiGzDecoder::new(io::BufReader::new(file));
    let mut buffer = vec![0; 1 << 18];
    let mut done = 0u64;
    loop {
        let n = reader.read(&mut buffer).map_err(|e| {
            Error::format(path, format!("truncated or damaged: after {done} bytes gzip says \"{e}\"; get it again"))
        })?;
        if n == 0 {
            break;
        }
        unpacked.write_all(&buffer[..n]).map_err(Error::io("write a file in", scratch))?;
        done += n as u64;
    }
    Ok(Container::of(path, unpacked)?.whole())
}

/// The regular files and the folders of the archive in `section`, in its order.
pub(super) struct Members {
    pub(super) files: Vec<Entry>,
    pub(super) folders: Vec<String>,
}

/// Finds every member of the archive. Hidden ones are left out.
pub(super) fn index(section: &Section) -> Result<Members> {
    let path = &section.container.path;
    let bad = |at: u64, reason: String| Error::format(path, format!("at byte {}: {reason}", section.offset + at));
    let damaged = |at: u64, e: io::Error| bad(at, format!("damaged or truncated: {e}; get the archive again"));
    let mut members = Members { files: Vec::new(), folders: Vec::new() };
    let mut archive = tar::Archive::new(section.reader());
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(|e| damaged(0, e))? {
        let entry = entry.map_err(|e| damaged(end, e))?;
        let (start, length) = (entry.raw_file_position(), entry.size());
        let raw = entry.path_bytes();
        let name = str::from_utf8(&raw).map_err(|_| {
            let shown = String::from_utf8_lossy(&raw).into_owned();
            bad(end, format!("the name \"{shown}\" is not UTF-8: unpack the archive, rename the file, give the folder"))
        })?;
        let name = clean(name).ok_or_else(|| bad(end, format!("the name \"{name}\" leads out of the archive")))?;
        let kind = entry.header().entry_type();
        let (regular, folder) = (kind.is_file() || kind.is_contiguous(), kind.is_dir());
        if regular && section.length.checked_sub(length).is_none_or(|last| start > last) {
            let there = section.length.saturating_sub(start);
            let reason = format!("truncated: {name} has {length} bytes, of which {there} are there; get it again");
            return Err(bad(end, reason));
        }
        end = if regular { (start + length).next_multiple_of(BLOCK) } else { start };
        if name.is_empty() || name.split('/').any(|part| part.starts_with('.')) {
            continue;
        }
        if regular {
            members.files.push(Entry { name, place: Place::Section(section.part(start, length)) });
        } else if folder {
            members.folders.push(name);
        }
    }
    check_end(section, end).map_err(|reason| bad(end, reason))?;
    Ok(members)
}

/// An archive ends with blocks of zeros: one that was cut off between two
/// members has none, and nothing else would tell.
fn check_end(section: &Section, end: u64) -> Result<(), String> {
    let whole = section.length.checked_sub(end).is_some_and(|left| left >= BLOCK);
    if whole && section.part(end, BLOCK).read().is_ok_and(|block| block.iter().all(|&byte| byte == 0)) {
        return Ok(());
    }
    Err("truncated: no end-of-archive mark stands behind the last member; get it again, or unpack it and give the folder".into())
}

/// The name without `./` and doubled or final slashes; none if it is absolute or climbs.
fn clean(name: &str) -> Option<String> {
    if name.starts_with('/') {
        return None;
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// The archives among `files` (`n01440764.tar`), each replaced by its members
/// in a folder of its name; with what else there is.
pub(super) fn expand(files: Vec<Entry>) -> Result<Vec<Entry>> {
    let expanded: Result<Vec<Vec<Entry>>> = files
        .into_par_iter()
        .map(|entry| {
            let Some(folder) = entry.name.strip_suffix(".tar") else { return Ok(vec![entry]) };
            let members = index(&entry.place.section()?)?;
            let inside = |member: Entry| Entry { name: format!("{folder}/{}", member.name), place: member.place };
            Ok(members.files.into_iter().map(inside).collect())
        })
        .collect();
    Ok(expanded?.into_iter().flatten().collect())
}
