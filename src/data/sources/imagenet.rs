//! ImageNet 2012 (ILSVRC2012), classification.
//!
//! The folder holds, each as it was downloaded or unpacked:
//!
//! | | as it comes | unpacked |
//! |---|---|---|
//! | training images | `ILSVRC2012_img_train.tar`, a tar file of a tar file for each synset | `train/SYNSET/*.JPEG`, or `train/SYNSET.tar` |
//! | validation images | `ILSVRC2012_img_val.tar` | `val/*.JPEG`, or `val/SYNSET/*.JPEG` |
//! | names and truth | `ILSVRC2012_devkit_t12.tar.gz` | `ILSVRC2012_devkit_t12/` |
//!
//! Kaggle's edition is `ILSVRC/Data/CLS-LOC` with `LOC_synset_mapping.txt` and
//! `LOC_val_solution.csv` put beside `train/` and `val/`. Classes are sorted by
//! synset, the order that every published model uses; a class is called
//! `n01440764 tench, Tinca tinca`, for the words alone are not unique ("crane").
//! Validation images are sorted by their own names. So all layouts give the
//! same records. A few files are not what they are called (CMYK JPEGs, a PNG
//! called `.JPEG`); decoding goes by content, and takes them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::tree::{Entry, Tree, last_part};
use super::{Inventory, Item, Source};
use crate::error::{Error, Result};

mod devkit;

use devkit::Names;

/// ImageNet 2012.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageNet {
    /// The folder that holds images, names and truth.
    pub dir: PathBuf,
}

impl Source for ImageNet {
    fn read(&self, scratch: &Path) -> Result<Inventory> {
        let train = self.part("train", scratch)?.expanded()?;
        let val = self.part("val", scratch)?;
        let names = devkit::names(&self.dir, scratch)?;
        let synsets = self.synsets(&train, names.as_ref())?;
        let labels: HashMap<&str, u16> = synsets.iter().map(String::as_str).zip(0..=u16::MAX).collect();

        let mut notes = [train.notes.clone(), val.notes.clone()].concat();
        let train = self.train_items(&train, &synsets, names.as_ref(), &mut notes)?;
        let val = self.val_items(&val, &labels, names.as_ref(), scratch)?;
        if names.is_none() {
            notes.push("no devkit and no synset names here: classes are called by their synsets alone".into());
        }
        let class = |synset: &String| match names.as_ref().and_then(|names| names.words(synset)) {
            Some(words) => format!("{synset} {words}"),
            None => synset.clone(),
        };
        let classes = synsets.iter().map(class).collect();
        Ok(Inventory::new(&self.dir, classes, [train, val], "ImageNet 2012".into()).notes(notes))
    }
}

impl ImageNet {
    /// The tree of `train` or `val` images, unpacked or not.
    fn part(&self, split: &str, scratch: &Path) -> Result<Tree> {
        let archive = format!("ILSVRC2012_img_{split}");
        let candidates = [split.to_string(), archive.clone(), format!("{archive}.tar")];
        match candidates.iter().map(|name| self.dir.join(name)).find(|path| path.exists()) {
            Some(path) => Tree::open(&path, scratch),
            None => {
                Err(Error::format(&self.dir, format!("has neither {split}/ nor {archive}.tar: put one of them there")))
            }
        }
    }

    /// The synsets, sorted: those that have training images, which must be those that have names.
    fn synsets(&self, train: &Tree, names: Option<&Names>) -> Result<Vec<String>> {
        let synsets: Vec<String> = train.subfolders("").into_iter().map(str::to_string).collect();
        let wrong = |reason: String| Err(Error::format(train.root(), reason));
        let is_synset = |name: &str| {
            name.strip_prefix('n').is_some_and(|id| id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_digit()))
        };
        if let Some(folder) = synsets.iter().find(|name| !is_synset(name)) {
            return wrong(format!(
                "{folder} is not called like a synset (n01440764): expected one folder or tar file for each"
            ));
        }
        let Some(names) = names else { return Ok(synsets) };
        if let Some(synset) = synsets.iter().find(|synset| names.words(synset).is_none()) {
            return wrong(format!("{synset} is none of the {} synsets in {}", names.len(), names.path.display()));
        }
        if let Some(synset) =
            names.synsets().find(|synset| synsets.binary_search_by(|s| s.as_str().cmp(synset)).is_err())
        {
            return wrong(format!("{synset} is missing: {} lists {} synsets", names.path.display(), names.len()));
        }
        Ok(synsets)
    }

    fn train_items(
        &self,
        train: &Tree,
        synsets: &[String],
        names: Option<&Names>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(train.files("").len());
        for (synset, label) in synsets.iter().zip(0..=u16::MAX) {
            let before = items.len();
            let images = train.files(synset).iter().filter(|entry| is_image(entry));
            items.extend(images.map(|e| Item::new(format!("train/{}", e.name), label, e.place.clone())));
            let found = items.len() - before;
            if found == 0 {
                return Err(Error::format(train.path(synset), "has no images"));
            }
            let expected = names.and_then(|names| names.train_images(synset));
            if let Some(expected) = expected.filter(|&expected| expected != found) {
                notes.push(format!("{synset} has {found} training images, and the devkit says {expected}"));
            }
        }
        Ok(items)
    }

    fn val_items(
        &self,
        val: &Tree,
        labels: &HashMap<&str, u16>,
        names: Option<&Names>,
        scratch: &Path,
    ) -> Result<Vec<Item>> {
        let mut images: Vec<&Entry> = val.files("").iter().filter(|entry| is_image(entry)).collect();
        images.sort_by_key(|entry| last_part(&entry.name));
        let truth = if images.iter().all(|entry| entry.name.contains('/')) {
            None
        } else {
            Some(devkit::truth(&self.dir, names, images.len(), scratch)?)
        };
        let item = |entry: &&Entry| {
            let name = last_part(&entry.name);
            let synset = match &truth {
                Some(truth) => truth.synset(name).map_err(|reason| Error::format(val.path(&entry.name), reason))?,
                None => entry.name.split('/').next().unwrap_or_default(),
            };
            let label = labels.get(synset).ok_or_else(|| {
                Error::format(val.path(&entry.name), format!("its synset is {synset}, which has no training images"))
            })?;
            Ok(Item::new(format!("val/{name}"), *label, entry.place.clone()))
        };
        images.iter().map(item).collect()
    }
}

/// By name alone: there are a million of them, and all are called so.
fn is_image(entry: &Entry) -> bool {
    entry.name.len() > 5 && entry.name.as_bytes()[entry.name.len() - 5..].eq_ignore_ascii_case(b".jpeg")
}
