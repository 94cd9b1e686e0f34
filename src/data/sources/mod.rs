//! The data sets that can be packed, each read as it is distributed.
//!
//! | source | reads |
//! |---|---|
//! | [`ImageFolder`] | a folder of photographs, one subfolder a class |
//! | [`ImageNet`] | ImageNet 2012: train and validation tar files, or their folders, and the devkit |
//! | [`Caltech`] | Caltech-101 and Caltech-256 |
//! | [`Voc2012`] | PASCAL VOC 2012, classification, with several labels an image |
//! | [`Cifar`] | CIFAR-10 and CIFAR-100, the binary version |
//! | [`Csv`] | a table of paths and labels |
//!
//! A [`Source`] finds out what there is without decoding any of it: class
//! names, and for each split a list of items, each with its label and the
//! place of its bytes, be that a file, a member of a tar file, or a record of a
//! binary file. [`pack`] turns such an inventory into shards, the same way for
//! all of them. Order and records depend on names and contents alone, never on
//! threads, the order of a directory, or whether an archive was unpacked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::data::packed::{MAX_CLASSES, Split, presence};
use crate::error::{Error, Result};

mod caltech;
mod cifar;
mod csv;
mod exclude;
mod hold_out;
mod imagefolder;
mod imagenet;
mod matlab;
mod pack;
mod place;
mod tarball;
mod tree;
mod voc;

pub use caltech::{Caltech, CaltechEdition};
pub use cifar::{Cifar, CifarEdition};
pub use csv::Csv;
pub use hold_out::HoldOut;
pub use imagefolder::ImageFolder;
pub use imagenet::ImageNet;
pub use pack::{Options, pack};
pub use tree::image_files;
pub use voc::Voc2012;

use place::Place;

/// A data set as it is distributed.
pub trait Source {
    /// Finds out what there is. A compressed archive is unpacked into a
    /// nameless file in `scratch`, which must be a folder.
    ///
    /// # Errors
    /// Names the file, and the line or byte, that is missing or not what it should be.
    fn read(&self, scratch: &Path) -> Result<Inventory>;
}

/// What a source has found: everything about a data set except its pixels.
#[derive(Debug)]
pub struct Inventory {
    /// Folder or file that it was read from.
    root: PathBuf,
    /// Class names; labels index them.
    classes: Vec<String>,
    train: Vec<Item>,
    val: Vec<Item>,
    /// What the manifest says about where the images came from.
    origin: String,
    /// Whether every item has a presence for each class.
    multi_label: bool,
    /// How the splits were made, where the source does not bring them along.
    held_out: Option<HoldOut>,
    /// What a person should know.
    notes: Vec<String>,
}

/// One image of a data set.
#[derive(Clone, Debug)]
struct Item {
    /// Relative to the data set, with `/`; no other item has the same.
    name: String,
    label: u16,
    /// What is known of each class, (C), where an image may show several; empty otherwise.
    presence: Vec<u8>,
    place: Place,
    coding: Coding,
}

/// What an item's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Coding {
    /// An image file.
    File,
    /// A square of this side as three planes, red, green and blue.
    Planes(usize),
}

impl Item {
    /// An image file of one class.
    fn new(name: String, label: u16, place: Place) -> Self {
        Item { name, label, presence: Vec::new(), place, coding: Coding::File }
    }
}

impl Inventory {
    fn new(root: &Path, classes: Vec<String>, [train, val]: [Vec<Item>; 2], origin: String) -> Self {
        let (root, notes) = (root.to_path_buf(), Vec::new());
        Inventory { root, classes, train, val, origin, multi_label: false, held_out: None, notes }
    }

    fn held_out(self, held_out: Option<HoldOut>) -> Self {
        Inventory { held_out, ..self }
    }

    fn multi_label(self) -> Self {
        Inventory { multi_label: true, ..self }
    }

    fn notes(self, notes: Vec<String>) -> Self {
        Inventory { notes, ..self }
    }

    fn split(&self, split: Split) -> &[Item] {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
        }
    }

    fn split_mut(&mut self, split: Split) -> &mut Vec<Item> {
        match split {
            Split::Train => &mut self.train,
            Split::Val => &mut self.val,
        }
    }

    /// Images in both splits.
    fn len(&self) -> usize {
        self.train.len() + self.val.len()
    }

    /// What must hold for every source: names that differ, and an image for every class.
    fn check(&self) -> Result<()> {
        let wrong = |reason: String| Err(Error::format(&self.root, reason));
        if self.classes.is_empty() || self.classes.len() > MAX_CLASSES {
            return wrong(format!("has {} classes: expected 1 to {MAX_CLASSES}", self.classes.len()));
        }
        let mut names = HashSet::with_capacity(self.classes.len());
        if let Some(class) = self.classes.iter().find(|class| !names.insert(class.as_str())) {
            return wrong(format!("two classes are called \"{class}\": rename one"));
        }
        let mut names = HashSet::with_capacity(self.len());
        if let Some(item) = self.train.iter().chain(&self.val).find(|item| !names.insert(item.name.as_str())) {
            return wrong(format!("{} is listed twice: take one of them out", item.name));
        }
        if let Some(item) = self.train.iter().chain(&self.val).find(|item| item.name.contains('\n')) {
            return wrong(format!("the name {:?} has a line break in it: rename the file", item.name));
        }
        for split in Split::ALL {
            let mut empty = vec![true; self.classes.len()];
            for item in self.split(split) {
                if !self.multi_label {
                    empty[usize::from(item.label)] = false;
                }
                let present = item.presence.iter().enumerate().filter(|(_, value)| **value == presence::PRESENT);
                present.for_each(|(c, _)| empty[c] = false);
            }
            let missing = empty.iter().position(|&empty| empty);
            if let Some(class) = missing.filter(|_| split == Split::Train || !self.val.is_empty()) {
                return wrong(format!("class \"{}\" has no image in {split}", self.classes[class]));
            }
        }
        Ok(())
    }
}
