//! A folder of photographs, one subfolder a class.
//!
//! With `train/` and `val/` inside, each of them holds the class folders;
//! otherwise the class folders stand in the folder itself and a seeded share of
//! every class becomes the validation split. Classes and files come in the
//! order of their names.

use std::path::{Path, PathBuf};

use super::tree::Tree;
use super::{HoldOut, Inventory, Item, Source};
use crate::data::packed::{MAX_CLASSES, Split};
use crate::error::{Error, Result};

/// A folder of photographs.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageFolder {
    /// The folder that has one subfolder a class, or `train/` and `val/` that have them.
    pub dir: PathBuf,
    /// What to hold out where there is no `val/`.
    pub hold_out: HoldOut,
}

impl Source for ImageFolder {
    fn read(&self, _scratch: &Path) -> Result<Inventory> {
        self.hold_out.check()?;
        let dir = &self.dir;
        let tree = Tree::folder(dir)?;
        let mut others = Others::default();
        let mut notes = tree.notes.clone();
        let has = |split: Split| tree.has_folder(split.name());
        let (classes, train, val, held_out) = match (has(Split::Train), has(Split::Val)) {
            (true, true) => {
                let (classes, train) = class_folders(&tree, "train", &mut others)?;
                let (val_classes, val) = class_folders(&tree, "val", &mut others)?;
                same_classes(dir, &classes, &val_classes)?;
                let beside = tree.subfolders("").len() - 2;
                if beside > 0 {
                    notes.push(format!("{beside} folders beside train/ and val/ are left out"));
                }
                (classes, train, val, None)
            }
            (true, false) | (false, true) if tree.subfolders("").len() == 1 => {
                return Err(Error::format(
                    dir,
                    "holds train/ or val/ alone: add the other one, or give the folder that holds the class folders",
                ));
            }
            _ => {
                let (classes, items) = class_folders(&tree, "", &mut others)?;
                let (train, val) = self.hold_out.divide(dir, &classes, items)?;
                (classes, train, val, Some(self.hold_out))
            }
        };
        notes.extend(others.note(&tree));
        let origin = format!("imagefolder {}", name_of(dir));
        Ok(Inventory::new(dir, classes, [train, val], origin).held_out(held_out).notes(notes))
    }
}

/// The last part of a path, also of one like `.`.
pub(super) fn name_of(path: &Path) -> String {
    let name = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_default()
}

/// The classes that have a folder in `folder`, and their images.
pub(super) fn class_folders(tree: &Tree, folder: &str, others: &mut Others) -> Result<(Vec<String>, Vec<Item>)> {
    let classes: Vec<String> = tree.subfolders(folder).into_iter().map(str::to_string).collect();
    if classes.is_empty() {
        let reason = "has no subfolders: it needs one subfolder of images for each class";
        return Err(Error::format(tree.path(folder), reason));
    }
    if classes.len() > MAX_CLASSES {
        let reason = format!("has {} classes: {MAX_CLASSES} is the limit", classes.len());
        return Err(Error::format(tree.path(folder), reason));
    }
    let items = images_of(tree, folder, &classes, |_| true, others)?;
    Ok((classes, items))
}

/// The images in the folders `folder/CLASS`, class by class, of which `wanted` takes the name.
pub(super) fn images_of(
    tree: &Tree,
    folder: &str,
    classes: &[String],
    wanted: impl Fn(&str) -> bool,
    others: &mut Others,
) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (class, label) in classes.iter().zip(0..=u16::MAX) {
        let inside = if folder.is_empty() { class.clone() } else { format!("{folder}/{class}") };
        let before = items.len();
        for entry in tree.files(&inside) {
            if wanted(&entry.name) && entry.is_image() {
                items.push(Item::new(entry.name.clone(), label, entry.place.clone()));
            } else {
                others.add(&entry.name);
            }
        }
        if items.len() == before {
            let reason = format!("class \"{class}\" has no images: add some, or remove the folder");
            return Err(Error::format(tree.path(&inside), reason));
        }
    }
    Ok(items)
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

/// Counts files that are no images.
#[derive(Default)]
pub(super) struct Others {
    count: usize,
    first: Option<String>,
}

impl Others {
    pub(super) fn add(&mut self, name: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| name.to_string());
    }

    /// What there is to say, if anything.
    pub(super) fn note(&self, tree: &Tree) -> Option<String> {
        let first = tree.path(self.first.as_ref()?);
        Some(format!("{} files that are no images of a class are left out, first {}", self.count, first.display()))
    }
}
