//! Finds the classes and files of an image folder.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Labelled;
use crate::data::packed::{MAX_CLASSES, Split};
use crate::data::permutation::Permutation;
use crate::error::{Error, Result};

/// What lies in an image folder.
pub(super) struct Found {
    /// Class names, sorted.
    pub(super) classes: Vec<String>,
    /// By class, then by name.
    pub(super) train: Vec<Labelled>,
    /// Likewise.
    pub(super) val: Vec<Labelled>,
    /// Whether the folder has a `val/` of its own.
    pub(super) own_val: bool,
    /// What was left out, in words.
    pub(super) notes: Vec<String>,
}

/// Extensions of image files, also of kinds that are not read: such a file is
/// reported as one that cannot be decoded, and not passed over in silence.
const IMAGE_EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "bmp", "webp", "tif", "tiff", "ppm", "pgm", "avif", "heic",
    "jxl",
];

/// Finds everything below `dir`. Without `val/`, `val_fraction` of each class is held out.
pub(super) fn scan(dir: &Path, val_fraction: f64, seed: u64) -> Result<Found> {
    if !(0.0..1.0).contains(&val_fraction) {
        return Err(Error::Usage(format!("the share held out for val is {val_fraction}: expected 0 <= share < 1")));
    }
    let mut walk = Walk::default();
    let has = |split: Split| dir.join(split.name()).is_dir();
    let (classes, train, val, own_val) = match (has(Split::Train), has(Split::Val)) {
        (true, true) => {
            let (classes, train) = walk.classes(&dir.join("train"))?;
            let (val_classes, val) = walk.classes(&dir.join("val"))?;
            same_classes(dir, &classes, &val_classes)?;
            let others = subfolders(dir)?.len() - 2;
            if others > 0 {
                walk.notes.push(format!("{others} folders beside train/ and val/ are left out"));
            }
            (classes, train, val, true)
        }
        (true, false) | (false, true) if subfolders(dir)?.len() == 1 => {
            return Err(Error::format(
                dir,
                "holds train/ or val/ alone: add the other one, or give the folder that holds the class folders",
            ));
        }
        _ => {
            let (classes, files) = walk.classes(dir)?;
            let (train, val) = hold_out(dir, &classes, files, val_fraction, seed)?;
            (classes, train, val, false)
        }
    };
    walk.summarise();
    let flatten = |files: Vec<Vec<PathBuf>>| -> Vec<Labelled> {
        files.into_iter().zip(0..).flat_map(|(files, label)| files.into_iter().map(move |file| (file, label))).collect()
    };
    Ok(Found { classes, train: flatten(train), val: flatten(val), own_val, notes: walk.notes })
}

fn same_classes(dir: &Path, train: &[String], val: &[String]) -> Result<()> {
    let missing = |from: &[String], of: &[String]| of.iter().find(|class| !from.contains(class)).cloned();
    let (class, split) = match (missing(val, train), missing(train, val)) {
        (Some(class), _) => (class, "val"),
        (_, Some(class)) => (class, "train"),
        _ => return Ok(()),
    };
    Err(Error::format(dir, format!("class \"{class}\" is missing in {split}/: train/ and val/ need the same classes")))
}

type PerClass = Vec<Vec<PathBuf>>;

/// Takes a seeded share of each class, at least one image, for validation.
fn hold_out(dir: &Path, classes: &[String], files: PerClass, share: f64, seed: u64) -> Result<(PerClass, PerClass)> {
    if share == 0.0 {
        let none = vec![Vec::new(); files.len()];
        return Ok((files, none));
    }
    let (mut train, mut val) = (Vec::new(), Vec::new());
    for (c, files) in files.into_iter().enumerate() {
        let n = files.len();
        if n < 2 {
            return Err(Error::format(
                dir,
                format!(
                    "class \"{}\" has one image, so none can be held out: add images, or set the share for val to 0",
                    classes[c]
                ),
            ));
        }
        let held = ((n as f64 * share).round() as usize).clamp(1, n - 1);
        let permutation = Permutation::new(seed, c as u64, n);
        let chosen: HashSet<usize> = (0..held).map(|i| permutation.at(i)).collect();
        let (mut rest, mut taken) = (Vec::new(), Vec::new());
        for (i, file) in files.into_iter().enumerate() {
            if chosen.contains(&i) { taken.push(file) } else { rest.push(file) }
        }
        train.push(rest);
        val.push(taken);
    }
    Ok((train, val))
}

/// Collects files, and what is left out.
#[derive(Default)]
struct Walk {
    notes: Vec<String>,
    others: usize,
    first_other: Option<PathBuf>,
}

impl Walk {
    /// The class folders of `dir` and their image files.
    fn classes(&mut self, dir: &Path) -> Result<(Vec<String>, PerClass)> {
        let folders = subfolders(dir)?;
        if folders.is_empty() {
            return Err(Error::format(dir, "has no subfolders: it needs one subfolder of images for each class"));
        }
        if folders.len() > MAX_CLASSES {
            return Err(Error::format(dir, format!("has {} classes: {MAX_CLASSES} is the limit", folders.len())));
        }
        let (mut classes, mut per_class) = (Vec::new(), Vec::new());
        for folder in folders {
            let name = folder.file_name().and_then(OsStr::to_str).map(str::to_string);
            let name = name.ok_or_else(|| Error::format(&folder, "a class folder's name must be UTF-8: rename it"))?;
            let mut files = Vec::new();
            self.images(&folder, &mut HashSet::new(), &mut files)?;
            if files.is_empty() {
                return Err(Error::format(
                    &folder,
                    format!("class \"{name}\" has no images: add some, or remove the folder"),
                ));
            }
            files.sort();
            classes.push(name);
            per_class.push(files);
        }
        Ok((classes, per_class))
    }

    /// Image files below `folder`. A folder that has been visited already, by a
    /// symbolic link that leads in a circle, is not entered again.
    fn images(&mut self, folder: &Path, visited: &mut HashSet<PathBuf>, files: &mut Vec<PathBuf>) -> Result<()> {
        let real = folder.canonicalize().map_err(Error::io("read", folder))?;
        if !visited.insert(real) {
            self.notes.push(format!("{} leads to a folder that has been read already: left out", folder.display()));
            return Ok(());
        }
        for path in entries(folder)? {
            if path.is_dir() {
                self.images(&path, visited, files)?;
            } else if is_image(&path) {
                files.push(path);
            } else {
                self.others += 1;
                self.first_other.get_or_insert(path);
            }
        }
        Ok(())
    }

    fn summarise(&mut self) {
        if let Some(first) = &self.first_other {
            self.notes.push(format!(
                "{} files that are no images are left out, first {}",
                self.others,
                first.display()
            ));
        }
    }
}

/// By name, or else by the first bytes.
fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    if extension.is_some_and(|extension| IMAGE_EXTENSIONS.contains(&extension.as_str())) {
        return true;
    }
    let mut start = [0; 8];
    let read = path.is_file() && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok();
    read && (start.starts_with(&[0xFF, 0xD8, 0xFF]) || start == *b"\x89PNG\r\n\x1a\n")
}

/// What is in `folder`, sorted by name, without hidden entries.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn subfolders(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(dir)?.into_iter().filter(|path| path.is_dir()).collect())
}
