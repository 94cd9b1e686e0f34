//! Caltech-101 and Caltech-256.
//!
//! A folder for each class, `101_ObjectCategories` or `256_ObjectCategories`,
//! unpacked or as the tar file it comes as. Neither has a split of its own: the
//! paper draws 15 or 30 (15 to 60) training images a class, several times, and
//! so draws them from the packed data; here a seeded share of every class is
//! held out, and every image is packed.
//!
//! Only pictures directly in a class folder count: `056.dog/greg/` in
//! Caltech-256 is a leftover with copies of others.

use std::path::{Path, PathBuf};

use super::imagefolder::{Others, images_of};
use super::tree::{Tree, last_part, parent};
use super::{HoldOut, Inventory, Source};
use crate::error::{Error, Result};

/// Caltech-101 or Caltech-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaltechEdition {
    /// 101 classes of objects, and the background class `BACKGROUND_Google`.
    C101,
    /// 256 classes of objects, and the background class `257.clutter`.
    C256,
}

impl CaltechEdition {
    const fn folder(self) -> &'static str {
        match self {
            CaltechEdition::C101 => "101_ObjectCategories",
            CaltechEdition::C256 => "256_ObjectCategories",
        }
    }

    const fn background(self) -> &'static str {
        match self {
            CaltechEdition::C101 => "BACKGROUND_Google",
            CaltechEdition::C256 => "257.clutter",
        }
    }

    /// Classes of objects, without the background class.
    const fn classes(self) -> usize {
        match self {
            CaltechEdition::C101 => 101,
            CaltechEdition::C256 => 256,
        }
    }
}

/// Caltech-101 or Caltech-256.
#[derive(Clone, Debug, PartialEq)]
pub struct Caltech {
    /// The folder of classes, a folder that has it or its archive somewhere inside, or the archive.
    pub path: PathBuf,
    /// Which of the two.
    pub edition: CaltechEdition,
    /// Whether the background class (images of anything) is a class of its own.
    pub background: bool,
    /// What to hold out for validation.
    pub hold_out: HoldOut,
}

impl Source for Caltech {
    fn read(&self, scratch: &Path) -> Result<Inventory> {
        self.hold_out.check()?;
        let tree = self.tree(scratch)?;
        let mut classes: Vec<String> = tree.subfolders("").into_iter().map(str::to_string).collect();
        let background = self.edition.background();
        let mut notes = tree.notes.clone();
        if !self.background {
            classes.retain(|class| class != background);
        } else if !classes.iter().any(|class| class == background) {
            return Err(Error::format(tree.root(), format!("has no class {background}: leave it out, or add it")));
        }
        let expected = self.edition.classes() + usize::from(self.background);
        if classes.len() != expected {
            notes.push(format!("{} has {} classes, not {expected}", tree.root().display(), classes.len()));
        }
        let mut others = Others::default();
        let direct = |name: &str| parent(parent(name)).is_empty();
        let items = images_of(&tree, "", &classes, direct, &mut others)?;
        notes.extend(others.note(&tree));
        let (train, val) = self.hold_out.divide(tree.root(), &classes, items)?;
        let origin = format!("Caltech-{}", self.edition.classes());
        Ok(Inventory::new(tree.root(), classes, [train, val], origin).held_out(Some(self.hold_out)).notes(notes))
    }
}

impl Caltech {
    /// The tree that has the class folders at its top.
    fn tree(&self, scratch: &Path) -> Result<Tree> {
        let folder = self.edition.folder();
        let tree = Tree::open(&self.path, scratch)?;
        if self.path.is_dir() && self.path.file_name().is_some_and(|name| name == folder) {
            return Ok(tree);
        }
        let archives = [format!("{folder}.tar.gz"), format!("{folder}.tgz"), format!("{folder}.tar")];
        let archive = tree.files("").iter().find(|entry| archives.iter().any(|name| name == last_part(&entry.name)));
        let archive = archive.map(|entry| tree.path(&entry.name));
        let missing = || Error::format(&self.path, format!("has no folder {folder}, nor an archive of that name"));
        if let Some(tree) = tree.around(folder) {
            return Ok(tree.below(folder));
        }
        Ok(Tree::open(&archive.ok_or_else(missing)?, scratch)?.around(folder).ok_or_else(missing)?.below(folder))
    }
}
