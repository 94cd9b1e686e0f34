//! The pictures of a data set, one after another: a folder's, or a packed data set's.

use std::path::{Path, PathBuf};

use crate::data::decode::{Rgb, decode_file};
use crate::data::packed::{Dataset, MANIFEST, Split};
use crate::data::sources::image_files;
use crate::error::{Error, Result};
use crate::transfer::duplicates::grey::Grey;

/// Which part of a picture is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All of it.
    Whole,
    /// The centred square, which is all that packing keeps.
    Square,
}

impl View {
    /// What two sets can be compared by: all of the pictures, unless one of the sets has only their squares.
    pub fn common(a: &Pictures, b: &Pictures) -> Self {
        if a.is_packed() || b.is_packed() { View::Square } else { View::Whole }
    }
}

/// The packed data set's splits that are looked at, or a folder's files.
#[derive(Debug)]
pub struct Pictures {
    root: PathBuf,
    store: Store,
}

#[derive(Debug)]
enum Store {
    /// Files, relative to the root, in ascending order.
    Files(Vec<String>),
    /// A packed data set, and the names of its pictures where it has kept them.
    Packed(Box<Dataset>, Part, Option<Vec<String>>),
}

/// Which images of a packed data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those of both splits, first train, then val.
    Both,
    /// Those of one.
    One(Split),
}

impl Pictures {
    /// The pictures of the packed data set at `root`, or of all image files below it.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are none; [`Error::Io`]; what is wrong with a packed data set.
    pub fn open(root: &Path, part: Part) -> Result<Self> {
        let store = match root.join(MANIFEST).is_file() {
            true => packed(root, part)?,
            false => Store::Files(files(root)?),
        };
        let pictures = Pictures { root: root.to_path_buf(), store };
        if pictures.is_empty() {
            return Err(Error::Usage(format!("{} holds no pictures: name a folder of images", root.display())));
        }
        if u32::try_from(pictures.len()).is_err() {
            return Err(Error::Usage(format!("{} holds more than 2^32 pictures: name parts of it", root.display())));
        }
        Ok(pictures)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether they are squares already.
    pub fn is_packed(&self) -> bool {
        matches!(self.store, Store::Packed(..))
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        match &self.store {
            Store::Files(files) => files.len(),
            Store::Packed(data, Part::Both, _) => Split::ALL.iter().map(|&split| data.split(split).len()).sum(),
            Store::Packed(data, Part::One(split), _) => data.split(*split).len(),
        }
    }

    /// True without pictures.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of picture `i`: its path from the root on, in a packed data set that of the one it was
    /// packed from, or else split and number: `val/17`.
    pub fn name(&self, i: usize) -> String {
        match &self.store {
            Store::Files(files) => files[i].clone(),
            Store::Packed(_, _, Some(names)) => names[i].clone(),
            Store::Packed(data, part, None) => {
                let (split, row) = place(data, *part, i);
                format!("{split}/{row}")
            }
        }
    }

    /// Picture `i` in colour.
    ///
    /// # Errors
    /// Those of [`decode_file`].
    pub fn rgb(&self, i: usize) -> Result<Rgb> {
        match &self.store {
            Store::Files(files) => decode_file(&self.root.join(&files[i])),
            Store::Packed(data, part, _) => {
                let (split, row) = place(data, *part, i);
                Ok(Rgb { H: data.size(), W: data.size(), pixels: data.split(split).record(row).to_vec() })
            }
        }
    }

    /// What is compared of picture `i`.
    ///
    /// # Errors
    /// Those of [`decode_file`].
    pub fn grey(&self, i: usize, view: View) -> Result<Grey> {
        let grey = Grey::of(&self.rgb(i)?);
        Ok(if view == View::Square { grey.centre_square() } else { grey })
    }
}

/// Split and row of image `i`.
fn place(data: &Dataset, part: Part, i: usize) -> (Split, usize) {
    let train = data.split(Split::Train).len();
    match part {
        Part::One(split) => (split, i),
        Part::Both if i < train => (Split::Train, i),
        Part::Both => (Split::Val, i - train),
    }
}

/// The packed data set at `root`, with its names if all of its pictures have one.
fn packed(root: &Path, part: Part) -> Result<Store> {
    let data = Dataset::open(root)?;
    let splits = Split::ALL.into_iter().filter(|&split| part == Part::Both || part == Part::One(split));
    let of = |split: Split| Some(data.split(split).names()?.into_iter().map(str::to_owned));
    let names: Option<Vec<_>> = splits.map(of).collect();
    let names = names.map(|names| names.into_iter().flatten().collect());
    Ok(Store::Packed(Box::new(data), part, names))
}

/// Image files below `root`, by their path from there on.
fn files(root: &Path) -> Result<Vec<String>> {
    let names = image_files(root)?;
    match names.iter().find(|name| name.contains(['\n', '\r'])) {
        None => Ok(names),
        Some(name) => Err(Error::format(root, format!("{name:?} cannot stand in a list of names: rename it"))),
    }
}
