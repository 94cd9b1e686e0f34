//! PASCAL VOC 2012, classification: several labels an image.
//!
//! `ImageSets/Main/train.txt` and `val.txt` list the images of the splits;
//! `CLASS_train.txt` and `CLASS_val.txt` say of each whether the class is in
//! it: 1 yes, -1 no, 0 only in objects that are marked as difficult. The packed
//! data keep all of it (`presence`). The one label that an image needs where
//! only one can be given is the first class present, or where all objects are
//! difficult, the first of those.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::tree::{Tree, last_part, parent};
use super::{Inventory, Item, Source};
use crate::data::packed::{Split, presence};
use crate::error::{Error, Result};

const LISTS: &str = "ImageSets/Main";

/// PASCAL VOC 2012.
#[derive(Clone, Debug, PartialEq)]
pub struct Voc2012 {
    /// The folder or archive that has `ImageSets/` and `JPEGImages/` somewhere inside.
    pub path: PathBuf,
}

impl Source for Voc2012 {
    fn read(&self, scratch: &Path) -> Result<Inventory> {
        let missing = || Error::format(&self.path, format!("has no folder {LISTS}: expected VOCdevkit/VOC2012"));
        let tree = Tree::open(&self.path, scratch)?.around(LISTS).ok_or_else(missing)?;
        let is_class = |list: &&str| tree.find(&format!("{LISTS}/{list}_val.txt")).is_some();
        let files = tree.files(LISTS).iter().filter(|entry| parent(&entry.name) == LISTS);
        let names = files.filter_map(|entry| last_part(&entry.name).strip_suffix("_train.txt"));
        let classes: Vec<String> = names.filter(is_class).map(str::to_string).collect();
        if classes.is_empty() {
            let reason = "has no CLASS_train.txt with a CLASS_val.txt beside it: get the lists again";
            return Err(Error::format(tree.path(LISTS), reason));
        }
        let mut notes = tree.notes.clone();
        let mut items = |split| split_items(&tree, split, &classes, &mut notes);
        let items = [items(Split::Train)?, items(Split::Val)?];
        Ok(Inventory::new(tree.root(), classes, items, "PASCAL VOC 2012".into()).multi_label().notes(notes))
    }
}

/// The images of one split, in the order of its list.
fn split_items(tree: &Tree, split: Split, classes: &[String], notes: &mut Vec<String>) -> Result<Vec<Item>> {
    let list = format!("{LISTS}/{split}.txt");
    let text = tree.text(&list)?;
    let mut rows: HashMap<&str, usize> = HashMap::new();
    let images: Vec<&str> = text.lines().map(str::trim).collect();
    for (i, image) in images.iter().enumerate().filter(|(_, image)| !image.is_empty()) {
        if let Some(before) = rows.insert(image, i) {
            let reason = format!("line {}: {image} stands in line {} already", i + 1, before + 1);
            return Err(Error::format(tree.path(&list), reason));
        }
    }
    let mut table = vec![vec![presence::ABSENT; classes.len()]; images.len()];
    for (c, class) in classes.iter().enumerate() {
        read_class(tree, &format!("{LISTS}/{class}_{split}.txt"), &rows, |row, value| table[row][c] = value)?;
    }
    let (mut items, mut nothing, mut difficult) = (Vec::new(), 0, 0);
    for (i, (image, present)) in images.iter().zip(table).enumerate().filter(|(_, (image, _))| !image.is_empty()) {
        let name = format!("JPEGImages/{image}.jpg");
        let entry = tree
            .find(&name)
            .ok_or_else(|| Error::format(tree.path(&list), format!("line {}: {name} is not there", i + 1)))?;
        let Some(label) = presence::label(&present) else {
            nothing += 1;
            continue;
        };
        difficult += usize::from(present[label] == presence::DIFFICULT);
        items.push(Item { presence: present, ..Item::new(name, label as u16, entry.place.clone()) });
    }
    if nothing > 0 {
        notes.push(format!("{nothing} images of {split} show no class at all and are left out"));
    }
    if difficult > 0 {
        notes.push(format!(
            "{difficult} images of {split} show nothing but difficult objects: their label is the first of those"
        ));
    }
    Ok(items)
}

/// Reads what one class's list says of each image of the split.
fn read_class(tree: &Tree, list: &str, rows: &HashMap<&str, usize>, mut set: impl FnMut(usize, u8)) -> Result<()> {
    let text = tree.text(list)?;
    let mut seen = vec![false; rows.values().max().map_or(0, |last| last + 1)];
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |reason: String| Error::format(tree.path(list), format!("line {}: {reason}", i + 1));
        let mut words = line.split_whitespace();
        let (Some(image), Some(value), None) = (words.next(), words.next(), words.next()) else {
            return Err(bad(format!("\"{line}\" is not an image and 1, 0 or -1")));
        };
        let value = match value {
            "1" => presence::PRESENT,
            "0" => presence::DIFFICULT,
            "-1" => presence::ABSENT,
            other => return Err(bad(format!("{image} has the value {other}: expected 1, 0 or -1"))),
        };
        let row = *rows.get(image).ok_or_else(|| bad(format!("the split's list has no {image}")))?;
        if std::mem::replace(&mut seen[row], true) {
            return Err(bad(format!("{image} stands above already")));
        }
        set(row, value);
    }
    match rows.iter().filter(|(_, row)| !seen[**row]).min_by_key(|(_, row)| **row) {
        Some((image, _)) => {
            Err(Error::format(tree.path(list), format!("says nothing of {image}, which is in the split")))
        }
        None => Ok(()),
    }
}
