//! `dataset.json`: what a packed data set holds. It is the last file written,
//! so a folder that has one is complete.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Split;
use crate::error::{Error, Result};

/// The manifest's file name.
pub const MANIFEST: &str = "dataset.json";

/// What the manifest's `format` says.
pub const FORMAT: &str = "zfnet-dataset";

/// The layout that this version of the crate writes and reads.
pub const VERSION: u32 = 1;

/// Largest side of a record.
pub const MAX_SIZE: usize = 4096;

/// Most classes, for labels are 16 bits wide.
pub const MAX_CLASSES: usize = 1 << 16;

/// The contents of `dataset.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// Always [`VERSION`].
    pub version: u32,
    /// Class names; a label is an index into them.
    pub classes: Vec<String>,
    /// Side of the square records, in pixels.
    pub size: usize,
    /// File with the mean image of the training split, relative to the folder.
    pub mean: String,
    /// Whether every shard has a mask for each image.
    pub masks: bool,
    /// Whether an image may show several classes, and every shard says of each which.
    #[serde(default)]
    pub multi_label: bool,
    /// Where the images came from.
    pub source: String,
    /// What was done to them.
    pub preprocessing: String,
    /// The images to learn from.
    pub train: SplitEntry,
    /// The images to judge by.
    pub val: SplitEntry,
}

/// One split's counts and files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitEntry {
    /// Number of images.
    pub images: usize,
    /// Images of each class; an image that shows several counts for each.
    pub per_class: Vec<usize>,
    /// Its files, in order.
    pub shards: Vec<ShardEntry>,
}

/// One shard as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// File name relative to the folder, e.g. `train/shard-00000.safetensors`.
    pub file: String,
    /// Number of images.
    pub images: usize,
    /// Length of the file.
    pub bytes: u64,
    /// CRC-32 (IEEE) of the whole file, eight hexadecimal digits.
    pub crc32: String,
}

impl Manifest {
    /// Reads `dir/dataset.json` and checks what can be checked without opening the shards.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST);
        if !path.exists() {
            let found = if dir.is_dir() { "the folder has no dataset.json" } else { "there is no such folder" };
            return Err(Error::format(
                dir,
                format!("not a packed data set: {found}; `zfnet pack imagefolder DIR -o OUT` makes one"),
            ));
        }
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let manifest: Manifest = serde_json::from_str(&text)
            .map_err(|e| Error::format(&path, format!("not a data set description: {e}; pack the data set again")))?;
        manifest.check().map_err(|reason| Error::format(&path, format!("{reason}; pack the data set again")))?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT || self.version != VERSION {
            return Err(format!(
                "it says {} version {}, and this program reads {FORMAT} version {VERSION}",
                self.format, self.version
            ));
        }
        self.check_ranges()?;
        for split in Split::ALL {
            let entry = self.split(split);
            let held: usize = entry.shards.iter().map(|shard| shard.images).sum();
            if held != entry.images {
                return Err(format!("{split} has {} images but its shards hold {held}", entry.images));
            }
            if entry.per_class.len() != self.classes.len() {
                return Err(format!("{split} counts {} classes of {}", entry.per_class.len(), self.classes.len()));
            }
        }
        Ok(())
    }

    /// Refuses sizes and class counts that no data set can have.
    pub(super) fn check_ranges(&self) -> Result<(), String> {
        if self.size == 0 || self.size > MAX_SIZE {
            return Err(format!("the records' size is {}: expected a side of 1 to {MAX_SIZE} pixels", self.size));
        }
        if self.classes.is_empty() || self.classes.len() > MAX_CLASSES {
            return Err(format!("there are {} classes: expected 1 to {MAX_CLASSES}", self.classes.len()));
        }
        Ok(())
    }

    /// The entry of one split.
    pub fn split(&self, split: Split) -> &SplitEntry {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
        }
    }

    pub(super) fn split_mut(&mut self, split: Split) -> &mut SplitEntry {
        match split {
            Split::Train => &mut self.train,
            Split::Val => &mut self.val,
        }
    }
}
