//! Where an item's bytes lie: a file, or a section of one that holds many.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::data::decode::MAX_BYTES;
use crate::error::{Error, Result};

/// A file that holds many: a tar file, or records one behind another.
#[derive(Debug)]
pub(super) struct Container {
    /// What messages call it.
    pub(super) path: PathBuf,
    file: File,
    length: u64,
}

impl Container {
    /// Opens the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        Container::of(path, file)
    }

    /// `file`, which messages call `path`.
    pub(super) fn of(path: &Path, file: File) -> Result<Arc<Self>> {
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        Ok(Arc::new(Container { path: path.to_path_buf(), file, length }))
    }

    /// All of it.
    pub(super) fn whole(self: &Arc<Self>) -> Section {
        Section { container: Arc::clone(self), offset: 0, length: self.length }
    }
}

/// Some bytes of a [`Container`]; any number of threads may read them.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) container: Arc<Container>,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Section {
    /// `length` bytes from `offset` of this section on; they must lie inside it.
    pub(super) fn part(&self, offset: u64, length: u64) -> Section {
        debug_assert!(offset + length <= self.length);
        Section { container: Arc::clone(&self.container), offset: self.offset + offset, length }
    }

    /// Its bytes, of which there may be [`MAX_BYTES`] at most.
    pub(super) fn read(&self) -> Result<Vec<u8>> {
        let path = &self.container.path;
        check_length(path, self.length)?;
        let mut bytes = vec![0; self.length as usize];
        self.container.file.read_exact_at(&mut bytes, self.offset).map_err(Error::io("read", path))?;
        Ok(bytes)
    }

    /// A reader that can seek in it.
    pub(super) fn reader(&self) -> SectionReader {
        SectionReader { section: self.clone(), at: 0 }
    }
}

fn check_length(path: &Path, length: u64) -> Result<()> {
    if length > MAX_BYTES {
        return Err(Error::format(path, format!("{length} bytes are to be read, and the limit is {MAX_BYTES}")));
    }
    Ok(())
}

/// Reads a section from front to end, or from where it is told.
pub(super) struct SectionReader {
    section: Section,
    at: u64,
}

impl Read for SectionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.section.length.saturating_sub(self.at);
        let n = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.section.container.file.read_at(&mut buffer[..n], self.section.offset + self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for SectionReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.section.length.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Where the bytes of one item lie.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A file of its own.
    File(PathBuf),
    /// A piece of a file.
    Section(Section),
}

impl From<Section> for Place {
    fn from(section: Section) -> Self {
        Place::Section(section)
    }
}

impl Place {
    /// All bytes.
    pub(super) fn read(&self) -> Result<Vec<u8>> {
        match self {
            Place::Section(section) => section.read(),
            Place::File(path) => {
                check_length(path, fs::metadata(path).map_err(Error::io("read", path))?.len())?;
                fs::read(path).map_err(Error::io("read", path))
            }
        }
    }

    /// The first bytes, as many as fit into `start`; none where they cannot be read.
    pub(super) fn starts_with(&self, start: &[u8]) -> bool {
        let mut found = vec![0; start.len()];
        let read = match self {
            Place::Section(section) => section.reader().read_exact(&mut found),
            Place::File(path) => File::open(path).and_then(|mut file| file.read_exact(&mut found)),
        };
        read.is_ok() && found == start
    }

    /// As something to cut pieces from.
    pub(super) fn section(&self) -> Result<Section> {
        match self {
            Place::Section(section) => Ok(section.clone()),
            Place::File(path) => Ok(Container::open(path)?.whole()),
        }
    }

    /// Numbers that change when the bytes do: length, place, and time of the
    /// last change where the file system keeps it.
    pub(super) fn stamp(&self) -> [u64; 3] {
        let (metadata, offset, length) = match self {
            Place::File(path) => (fs::metadata(path).ok(), 0, None),
            Place::Section(section) => (section.container.file.metadata().ok(), section.offset, Some(section.length)),
        };
        let changed = metadata.as_ref().and_then(|m| m.modified().ok()?.duration_since(UNIX_EPOCH).ok());
        let length = length.or(metadata.map(|m| m.len())).unwrap_or(0);
        [offset, length, changed.map_or(0, |time| time.as_nanos() as u64)]
    }
}
