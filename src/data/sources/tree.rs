//! A tree of named files: a folder's, or an archive's.
//!
//! Sources ask it for names and never care which of the two it is, so that a
//! data set gives the same records, in the same order, unpacked or not. Names
//! are relative, with `/` between their parts, and sorted part by part.
//! Hidden files and folders are no part of it.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::tarball;
use crate::error::{Error, Result};

/// One file of a tree.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Relative to the tree's root.
    pub(super) name: String,
    pub(super) place: Place,
}

/// A folder or an archive, with the names of all that is in it.
pub(super) struct Tree {
    /// What messages call it.
    root: PathBuf,
    files: Vec<Entry>,
    folders: Vec<String>,
    /// What was left out, in words.
    pub(super) notes: Vec<String>,
}

/// Part by part, so that what is in a folder stands together.
fn by_parts(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

impl Tree {
    /// The folder or archive at `path`. A compressed archive is unpacked into `scratch`.
    pub(super) fn open(path: &Path, scratch: &Path) -> Result<Self> {
        if path.is_dir() {
            return Tree::folder(path);
        }
        if !path.exists() {
            return Err(Error::format(path, "is not there"));
        }
        if !path.to_str().is_some_and(tarball::is_tar) {
            return Err(Error::format(path, "neither a folder nor a .tar, .tar.gz or .tgz file"));
        }
        let members = tarball::index(&tarball::open(path, scratch)?)?;
        Ok(Tree::of(path, members.files, members.folders))
    }

    /// The folder at `path`.
    pub(super) fn folder(path: &Path) -> Result<Self> {
        let mut walk = Walk::default();
        let real = path.canonicalize().map_err(Error::io("read", path))?;
        walk.enter(path, "", &mut vec![real])?;
        let mut tree = Tree::of(path, walk.files, walk.folders);
        tree.notes = walk.notes;
        Ok(tree)
    }

    fn of(root: &Path, mut files: Vec<Entry>, folders: Vec<String>) -> Self {
        files.sort_by(|a, b| by_parts(&a.name, &b.name));
        let mut all: BTreeSet<String> = folders.into_iter().collect();
        let mut last = "";
        for entry in &files {
            let mut folder = parent(&entry.name);
            if folder == last {
                continue;
            }
            last = folder;
            while !folder.is_empty() && all.insert(folder.to_string()) {
                folder = parent(folder);
            }
        }
        let mut folders: Vec<String> = all.into_iter().collect();
        folders.sort_by(|a, b| by_parts(a, b));
        Tree { root: root.to_path_buf(), files, folders, notes: Vec::new() }
    }

    /// What messages call it.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What messages call `name`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The names of the folders directly in `folder` ("" is the root).
    pub(super) fn subfolders(&self, folder: &str) -> Vec<&str> {
        self.folders.iter().filter(|name| parent(name) == folder).map(|name| last_part(name)).collect()
    }

    /// Whether there is a folder of this name.
    pub(super) fn has_folder(&self, name: &str) -> bool {
        self.folders.binary_search_by(|folder| by_parts(folder, name)).is_ok()
    }

    /// All files below `folder` ("" is the root), at any depth, sorted.
    pub(super) fn files(&self, folder: &str) -> &[Entry] {
        if folder.is_empty() {
            return &self.files;
        }
        let behind = &self.files[self.files.partition_point(|entry| by_parts(&entry.name, folder).is_lt())..];
        let inside = |entry: &Entry| entry.name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        &behind[..behind.partition_point(inside)]
    }

    /// The file of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        let i = self.files.binary_search_by(|entry| by_parts(&entry.name, name)).ok()?;
        Some(&self.files[i])
    }

    /// The text of the file of this name.
    pub(super) fn text(&self, name: &str) -> Result<String> {
        let entry = self.find(name).ok_or_else(|| Error::format(&self.root, format!("has no file {name}")))?;
        String::from_utf8(entry.place.read()?).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            Error::format(self.path(name), format!("byte {at} is not UTF-8: expected a text file"))
        })
    }

    /// The part of the tree in which `marker`, a file or a folder, lies at the
    /// top: data sets come with any number of folders around them. None if it
    /// is nowhere; the outermost if it is there several times.
    pub(super) fn around(self, marker: &str) -> Option<Tree> {
        let names = self.folders.iter().chain(self.files.iter().map(|entry| &entry.name));
        let above = names.filter_map(|name| match name.strip_suffix(marker)? {
            "" => Some(""),
            above => above.strip_suffix('/'),
        });
        let depth = |folder: &&str| folder.split('/').filter(|part| !part.is_empty()).count();
        let base = above.min_by_key(depth)?.to_string();
        Some(self.below(&base))
    }

    /// The part of the tree inside `folder`, with names relative to that.
    pub(super) fn below(self, folder: &str) -> Tree {
        if folder.is_empty() {
            return self;
        }
        let rest = |name: &str| Some(name.strip_prefix(folder)?.strip_prefix('/')?.to_string());
        Tree {
            files: self
                .files
                .iter()
                .filter_map(|e| Some(Entry { name: rest(&e.name)?, place: e.place.clone() }))
                .collect(),
            folders: self.folders.iter().filter_map(|name| rest(name)).collect(),
            root: self.root.join(folder),
            notes: self.notes,
        }
    }

    /// The same with every `NAME.tar` replaced by a folder NAME of its members.
    pub(super) fn expanded(self) -> Result<Tree> {
        let mut tree = Tree::of(&self.root, tarball::expand(self.files)?, self.folders);
        tree.notes = self.notes;
        Ok(tree)
    }
}

/// All but the last part of a name.
pub(super) fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last part of a name.
pub(super) fn last_part(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, last)| last)
}

/// Extensions of image files, also of kinds that are not read: such a file is
/// reported as one that cannot be decoded, and not passed over in silence.
const IMAGE_EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "bmp", "webp", "tif", "tiff", "ppm", "pgm", "avif", "heic",
    "jxl",
];

impl Entry {
    /// By name, or else by the first bytes.
    pub(super) fn is_image(&self) -> bool {
        let extension = Path::new(&self.name).extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
        extension.is_some_and(|extension| IMAGE_EXTENSIONS.contains(&extension.as_str()))
            || self.place.starts_with(&[0xFF, 0xD8, 0xFF])
            || self.place.starts_with(b"\x89PNG\r\n\x1a\n")
    }
}

/// The names of all image files below the folder `root`, relative to it, sorted part by part.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] for a name that is not UTF-8.
pub fn image_files(root: &Path) -> Result<Vec<String>> {
    let tree = Tree::folder(root)?;
    Ok(tree.files.into_iter().filter(Entry::is_image).map(|entry| entry.name).collect())
}

/// Collects what is in a folder.
#[derive(Default)]
struct Walk {
    files: Vec<Entry>,
    folders: Vec<String>,
    notes: Vec<String>,
}

impl Walk {
    /// Walks `folder`, whose name in the tree is `name`; `above`: real paths of
    /// it and of the folders that it is in, none of which a symbolic link may
    /// lead back to.
    fn enter(&mut self, folder: &Path, name: &str, above: &mut Vec<PathBuf>) -> Result<()> {
        for (child, is_folder) in entries(folder)? {
            let path = folder.join(&child);
            let Some(child) = child.to_str() else {
                return Err(Error::format(&path, "its name is not UTF-8: rename it"));
            };
            let child = if name.is_empty() { child.to_string() } else { format!("{name}/{child}") };
            if !is_folder {
                self.files.push(Entry { name: child, place: Place::File(path) });
                continue;
            }
            let real = path.canonicalize().map_err(Error::io("read", &path))?;
            if above.contains(&real) {
                self.notes.push(format!("{} leads to a folder that has been read already: left out", path.display()));
                continue;
            }
            above.push(real);
            self.enter(&path, &child, above)?;
            above.pop();
            self.folders.push(child);
        }
        Ok(())
    }
}

/// Names in `folder`, and whether each is a folder (or a link to one); sorted, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<(OsString, bool)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // The kind comes with the listing; only links need a look of their own.
        let kind = entry.file_type().map_err(Error::io("read", entry.path()))?;
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        found.push((name, is_folder));
    }
    found.sort();
    Ok(found)
}
