//! CIFAR-10 and CIFAR-100, the binary version.
//!
//! Each `.bin` file holds records one behind another: the label (CIFAR-100: the
//! coarse label, then the fine one, which is the class here) in one byte, then
//! 32 x 32 pixels as a red, a green and a blue plane. Records are packed in
//! that order. An item is called `FILE/NUMBER`, numbers counted from 0.

use std::path::{Path, PathBuf};

use super::tree::{Entry, Tree, last_part};
use super::{Coding, HoldOut, Inventory, Item, Source};
use crate::data::packed::Split;
use crate::error::{Error, Result};

/// CIFAR-10 or CIFAR-100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CifarEdition {
    /// Ten classes.
    Ten,
    /// A hundred classes (the fine labels).
    Hundred,
}

impl CifarEdition {
    const fn name(self) -> &'static str {
        match self {
            CifarEdition::Ten => "CIFAR-10",
            CifarEdition::Hundred => "CIFAR-100",
        }
    }

    /// The file with a class name in each line.
    const fn names(self) -> &'static str {
        match self {
            CifarEdition::Ten => "batches.meta.txt",
            CifarEdition::Hundred => "fine_label_names.txt",
        }
    }

    /// Bytes before the pixels, the last of which is the class.
    const fn label_bytes(self) -> usize {
        match self {
            CifarEdition::Ten => 1,
            CifarEdition::Hundred => 2,
        }
    }

    const fn files(self, split: Split) -> &'static [&'static str] {
        match (self, split) {
            (CifarEdition::Ten, Split::Train) => {
                &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"]
            }
            (CifarEdition::Ten, Split::Val) => &["test_batch.bin"],
            (CifarEdition::Hundred, Split::Train) => &["train.bin"],
            (CifarEdition::Hundred, Split::Val) => &["test.bin"],
        }
    }
}

/// A CIFAR data set, or a folder with some of its records.
#[derive(Clone, Debug, PartialEq)]
pub struct Cifar {
    /// The folder or archive that has the class names and the `.bin` files.
    pub path: PathBuf,
    /// Which of the two.
    pub edition: CifarEdition,
    /// What to hold out where none of the standard files is there, but others are.
    pub hold_out: HoldOut,
}

impl Source for Cifar {
    fn read(&self, scratch: &Path) -> Result<Inventory> {
        self.hold_out.check()?;
        let (edition, names) = (self.edition, self.edition.names());
        let tree = Tree::open(&self.path, scratch)?.around(names).ok_or_else(|| {
            Error::format(&self.path, format!("has no {names}: expected the binary version of {}", edition.name()))
        })?;
        let classes: Vec<String> =
            tree.text(names)?.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect();
        let standard = Split::ALL.map(|split| edition.files(split));
        let any = standard.iter().any(|files| files.iter().any(|file| tree.find(file).is_some()));
        let (train, val, held_out) = if any {
            let items = |files: &[&str]| self.records(&tree, files.iter().copied(), classes.len());
            (items(standard[0])?, items(standard[1])?, None)
        } else {
            let here = |entry: &&Entry| !entry.name.contains('/') && entry.name.ends_with(".bin");
            let files: Vec<&str> = tree.files("").iter().filter(here).map(|entry| entry.name.as_str()).collect();
            if files.is_empty() {
                let reason = format!("has no .bin files: expected the binary version of {}", edition.name());
                return Err(Error::format(tree.root(), reason));
            }
            let items = self.records(&tree, files.into_iter(), classes.len())?;
            let (train, val) = self.hold_out.divide(tree.root(), &classes, items)?;
            (train, val, Some(self.hold_out))
        };
        let origin = edition.name().to_string();
        let notes = tree.notes.clone();
        Ok(Inventory::new(tree.root(), classes, [train, val], origin).held_out(held_out).notes(notes))
    }
}

impl Cifar {
    /// Side of the pictures, in pixels.
    pub const SIDE: usize = 32;

    /// The records of `files`, one behind another.
    fn records<'a>(&self, tree: &Tree, files: impl Iterator<Item = &'a str>, classes: usize) -> Result<Vec<Item>> {
        let (skip, pixels) = (self.edition.label_bytes(), Self::SIDE * Self::SIDE * 3);
        let mut items = Vec::new();
        for file in files {
            let entry = tree.find(file).ok_or_else(|| {
                Error::format(tree.root(), format!("{file} is missing: get the whole of {}", self.edition.name()))
            })?;
            let bad = |reason: String| Err(Error::format(tree.path(file), reason));
            let section = entry.place.section()?;
            let bytes = section.read()?;
            let (records, rest) = (bytes.chunks_exact(skip + pixels), bytes.len() % (skip + pixels));
            if rest != 0 || bytes.is_empty() {
                let (size, at) = (skip + pixels, bytes.len() - rest);
                return bad(format!(
                    "{} bytes are no multiple of a record's {size}: at byte {at} there are {rest}; get the file again",
                    bytes.len()
                ));
            }
            for (i, record) in records.enumerate() {
                let (start, label) = (i * (skip + pixels), record[skip - 1]);
                if usize::from(label) >= classes {
                    let at = start + skip - 1;
                    return bad(format!("at byte {at}, record {i} has label {label}, but there are {classes} classes"));
                }
                let place = section.part((start + skip) as u64, pixels as u64).into();
                let name = format!("{}/{i}", last_part(file));
                items.push(Item { coding: Coding::Planes(Self::SIDE), ..Item::new(name, label.into(), place) });
            }
        }
        Ok(items)
    }
}
