//! The packed data set: what training reads.
//!
//! ```text
//! OUT/dataset.json                      classes, counts, shards with checksums ([`Manifest`])
//! OUT/mean.safetensors                  `mean` F32 [S,S,3]: per-pixel mean of the training split
//! OUT/train/shard-00000.safetensors     `images` U8 [n,S,S,3], `labels` U16 [n], n <= 1024
//! OUT/val/shard-00000.safetensors       and, for synthetic data, `masks` U8 [n,S,S];
//!                                       where images show several classes, `presence` U8 [n,C] ([`presence`]);
//!                                       where they have names, `names` U8 [..], one a line
//! ```
//!
//! [`PackWriter`] writes it: into a hidden sibling of OUT that is renamed at
//! the end, so OUT is whole or absent whenever the machine stops.
//! [`Dataset::open`] maps the shards and checks everything that can go wrong
//! later (missing and truncated files, types, shapes, labels), so that reading
//! a record cannot fail.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{Error, Result};

mod journal;
mod manifest;
pub mod presence;
mod select;
mod shard;
mod target;
mod writer;

pub use manifest::{FORMAT, MANIFEST, MAX_CLASSES, MAX_SIZE, Manifest, ShardEntry, SplitEntry, VERSION};
pub use shard::shard_images;
pub(crate) use target::{check_target, parent};
pub use writer::{Labels, PackWriter, Recipe, Start};

use shard::Shard;

/// The two parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// The images to learn from.
    Train,
    /// The images to judge by.
    Val,
}

impl Split {
    /// Both.
    pub const ALL: [Split; 2] = [Split::Train, Split::Val];

    /// The folder's and the manifest's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Split::ALL
            .into_iter()
            .find(|split| split.name() == name)
            .ok_or_else(|| Error::Usage(format!("no split is called \"{name}\": it is train or val")))
    }
}

/// A packed data set, mapped into memory.
#[derive(Debug)]
pub struct Dataset {
    root: PathBuf,
    manifest: Manifest,
    mean: Vec<f32>, // (S, S, 3)
    train: Records,
    val: Records,
}

impl Dataset {
    /// Maps the data set in `dir`. Checksums are not read here, for that would
    /// read every byte: see [`Dataset::verify`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let root = dir.as_ref().to_path_buf();
        let manifest = Manifest::read(&root)?;
        let mean = shard::read_mean(&shard::inside(&root, &manifest.mean)?, manifest.size)?;
        let train = Records::open(&root, &manifest, Split::Train)?;
        let val = Records::open(&root, &manifest, Split::Val)?;
        Ok(Dataset { root, manifest, mean, train, val })
    }

    /// The folder it was opened from.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What `dataset.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Class names; labels index them.
    pub fn classes(&self) -> &[String] {
        &self.manifest.classes
    }

    /// Side S of the square records, in pixels.
    pub fn size(&self) -> usize {
        self.manifest.size
    }

    /// Per-pixel mean of the training images, (S, S, 3), in 0..=255.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The images of one split.
    pub fn split(&self, split: Split) -> &Records {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
        }
    }

    /// What tells the images of `split` from others: a checksum of its shards' checksums.
    pub fn fingerprint(&self, split: Split) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        self.manifest.split(split).shards.iter().for_each(|shard| crc.update(shard.crc32.as_bytes()));
        crc.finalize()
    }

    /// Reads every shard and compares it with its checksum.
    pub fn verify(&self) -> Result<()> {
        let entries: Vec<&ShardEntry> =
            Split::ALL.iter().flat_map(|&split| &self.manifest.split(split).shards).collect();
        entries.par_iter().try_for_each(|entry| {
            let path = shard::inside(&self.root, &entry.file)?;
            let found = shard::checksum(&path)?;
            if found != entry.crc32 {
                return Err(Error::format(
                    &path,
                    format!("its CRC-32 is {found} but dataset.json says {}: pack the data set again", entry.crc32),
                ));
            }
            Ok(())
        })
    }
}

/// The images of one split, in the order in which they were packed or selected.
#[derive(Debug)]
pub struct Records {
    size: usize,
    classes: usize,
    shards: Vec<Arc<Shard>>,
    /// Shard and row of each image.
    places: Vec<(u32, u32)>,
    labels: Vec<u16>,
}

impl Records {
    fn open(root: &Path, manifest: &Manifest, split: Split) -> Result<Self> {
        let (mut shards, mut places, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for (s, entry) in manifest.split(split).shards.iter().enumerate() {
            let (shard, shard_labels) = Shard::open(root, entry, manifest)?;
            places.extend((0..shard_labels.len()).map(|row| (s as u32, row as u32)));
            labels.extend(shard_labels);
            shards.push(Arc::new(shard));
        }
        Ok(Records { size: manifest.size, classes: manifest.classes.len(), shards, places, labels })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True if the split has no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Side S of the square records, in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Pixels of image `i` (below [`Records::len`]): (S, S, 3).
    pub fn record(&self, i: usize) -> &[u8] {
        let (shard, row) = self.place(i);
        let len = self.size * self.size * 3;
        &shard.images()[row * len..(row + 1) * len]
    }

    /// Class of image `i`, below the number of classes.
    pub fn label(&self, i: usize) -> usize {
        usize::from(self.labels[i])
    }

    /// Mask of image `i` if the data set has masks: (S, S), 255 on the part
    /// that tells the class, 0 elsewhere.
    pub fn mask(&self, i: usize) -> Option<&[u8]> {
        let (shard, row) = self.place(i);
        let len = self.size * self.size;
        shard.masks().map(|masks| &masks[row * len..(row + 1) * len])
    }

    /// What is known of each class in image `i`, if images may show several:
    /// (C), 0 absent, 1 present, 2 difficult ([`presence`]).
    pub fn presence(&self, i: usize) -> Option<&[u8]> {
        let (shard, row) = self.place(i);
        let len = self.classes;
        shard.presence().map(|presence| &presence[row * len..(row + 1) * len])
    }

    /// The name of every image, relative to the data set it was packed from, as
    /// `zfnet pack --exclude` takes them; none if they were packed without.
    pub fn names(&self) -> Option<Vec<&str>> {
        let of_shards: Vec<Vec<&str>> =
            self.shards.iter().map(|shard| Some(shard.names()?.collect())).collect::<Option<_>>()?;
        self.places.iter().map(|&(shard, row)| of_shards[shard as usize].get(row as usize).copied()).collect()
    }

    fn place(&self, i: usize) -> (&Shard, usize) {
        let (shard, row) = self.places[i];
        (&self.shards[shard as usize], row as usize)
    }
}
