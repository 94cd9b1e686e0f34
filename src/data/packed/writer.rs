//! Writes a packed data set whole or not at all.
//!
//! Everything goes to `.OUT.packing`, a hidden sibling of OUT, so that the last
//! step is one rename within a file system. A pack that was killed leaves that
//! folder behind; the next one to the same OUT goes on in it, if it keeps a
//! journal and nothing has changed, or takes it away.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::Dtype;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::journal::{JOURNAL, Journal};
use super::manifest::{FORMAT, MANIFEST, Manifest, ShardEntry, SplitEntry, VERSION};
use super::shard::{self, NEW_LINE, Tensor, shard_images};
use super::target::{LOCK, MEAN, check_target, clear, lock_folder, parent, sibling, sync_folder};
use super::{Split, presence};
use crate::error::{Error, Result};

/// What is known about a data set before its images are.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Class names; labels index them.
    pub classes: Vec<String>,
    /// Side S of the square records, in pixels.
    pub size: usize,
    /// Whether each image comes with a mask.
    pub masks: bool,
    /// Whether an image may show several classes.
    pub multi_label: bool,
    /// Where the images come from.
    pub source: String,
    /// What is done to them.
    pub preprocessing: String,
}

/// The classes of the images of a shard.
#[derive(Clone, Copy, Debug)]
pub enum Labels<'a> {
    /// One each: (n).
    One(&'a [u16]),
    /// What is known of each class ([`presence`]): (n, C). The one label is [`presence::label`].
    Several(&'a [u8]),
}

/// How [`PackWriter::resume`] began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start<T> {
    /// There was nothing to go on from.
    Afresh,
    /// What an earlier pack left could not be used, for this reason.
    Discarded(String),
    /// An earlier pack had come so far.
    Continued(T),
}

/// A data set being written. Dropped before [`PackWriter::finish`] or
/// [`PackWriter::suspend`], it removes what it wrote.
pub struct PackWriter {
    out: PathBuf,
    temp: PathBuf,
    manifest: Manifest,
    sum: Vec<u64>, // (S, S, 3), over the training images: exact, so the mean depends on no order
    force: bool,
    /// Of settings and source; empty where no journal is kept.
    fingerprint: String,
    /// Whether the working folder stays when this is dropped.
    keep: bool,
    /// Held for as long as this process writes.
    _lock: File,
}

impl PackWriter {
    /// Starts a data set that will stand at `out`. A data set that stands there
    /// already is refused, or with `force` replaced at the end; any other
    /// folder with something in it is always refused.
    pub fn create(out: &Path, recipe: Recipe, force: bool) -> Result<Self> {
        let writer = PackWriter::open(out, recipe, force, "")?;
        writer.clear_all()?;
        Ok(writer)
    }

    /// The same, or goes on behind the last [`PackWriter::save`] of an earlier
    /// pack to `out` that was killed or suspended. `fingerprint` stands for all
    /// that makes the shards what they are: an earlier pack with another one is
    /// taken away.
    pub fn resume<T: DeserializeOwned>(
        out: &Path,
        recipe: Recipe,
        force: bool,
        fingerprint: &str,
    ) -> Result<(Self, Start<T>)> {
        let mut writer = PackWriter::open(out, recipe, force, fingerprint)?;
        let read = Journal::read(&writer.temp, &writer.manifest, fingerprint).and_then(|journal| {
            let Some(Journal { manifest, sum, progress }) = journal else { return Ok(None) };
            let progress: T = serde_json::from_value(progress).map_err(|e| format!("its journal is damaged: {e}"))?;
            Ok(Some((manifest, sum, progress)))
        });
        let start = match read {
            Ok(Some((manifest, sum, progress))) => {
                (writer.manifest, writer.sum) = (manifest, sum);
                writer.clear_unfinished()?;
                return Ok((writer, Start::Continued(progress)));
            }
            Ok(None) => Start::Afresh,
            Err(reason) => Start::Discarded(reason),
        };
        writer.clear_all()?;
        Ok((writer, start))
    }

    /// Takes the working folder of `out`, whatever is in it.
    fn open(out: &Path, recipe: Recipe, force: bool, fingerprint: &str) -> Result<Self> {
        let Recipe { classes, size, masks, multi_label, source, preprocessing } = recipe;
        let entry = SplitEntry { per_class: vec![0; classes.len()], ..SplitEntry::default() };
        let manifest = Manifest {
            format: FORMAT.into(),
            version: VERSION,
            classes,
            size,
            mean: MEAN.into(),
            masks,
            multi_label,
            source,
            preprocessing,
            train: entry.clone(),
            val: entry,
        };
        manifest.check_ranges().map_err(Error::Usage)?;
        check_target(out, force)?;
        let temp = sibling(out, "packing")?;
        fs::create_dir_all(&temp).map_err(Error::io("create", &temp))?;
        let lock = lock_folder(&temp, out)?;
        let (out, sum, fingerprint) = (out.to_path_buf(), vec![0; size * size * 3], fingerprint.to_string());
        Ok(PackWriter { out, temp, manifest, sum, force, fingerprint, keep: false, _lock: lock })
    }

    /// Empties the working folder.
    fn clear_all(&self) -> Result<()> {
        clear(&self.temp)?;
        for split in Split::ALL {
            let folder = self.temp.join(split.name());
            fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        }
        Ok(())
    }

    /// Removes shards that were being written when the pack before this one ended.
    fn clear_unfinished(&self) -> Result<()> {
        for split in Split::ALL {
            let folder = self.temp.join(split.name());
            let shards = &self.manifest.split(split).shards;
            for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
                let path = entry.map_err(Error::io("read", &folder))?.path();
                if !shards.iter().any(|shard| self.temp.join(&shard.file) == path) {
                    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
            }
        }
        Ok(())
    }

    /// Notes in the journal that everything so far is whole, and the caller's
    /// `progress`. Only for a writer that [`PackWriter::resume`] gave.
    pub fn save<T: Serialize>(&self, progress: &T) -> Result<()> {
        let progress = serde_json::to_value(progress)
            .map_err(|e| Error::format(self.temp.join(JOURNAL), format!("cannot be written: {e}")))?;
        let journal = Journal { manifest: self.manifest.clone(), sum: self.sum.clone(), progress };
        journal.write(&self.temp, &self.fingerprint)
    }

    /// Ends here, and leaves what was saved for a later [`PackWriter::resume`].
    pub fn suspend(mut self) {
        self.keep = true;
    }

    /// Appends a shard of n images to a split; an empty one is left out.
    pub fn write_shard(
        &mut self,
        split: Split,
        images: &[u8],        // (n, S, S, 3)
        labels: &[u16],       // (n)
        masks: Option<&[u8]>, // (n, S, S)
    ) -> Result<()> {
        self.append(split, images, labels, masks, None, None)
    }

    /// The same for images that have names, and may show several classes.
    pub fn write_named_shard(
        &mut self,
        split: Split,
        images: &[u8], // (n, S, S, 3)
        labels: Labels,
        names: &[&str], // (n)
    ) -> Result<()> {
        match labels {
            Labels::One(labels) => self.append(split, images, labels, None, None, Some(names)),
            Labels::Several(presence) => {
                let rows = presence.chunks_exact(self.manifest.classes.len()).enumerate();
                let label = |(row, presence): (usize, &[u8])| {
                    let label = presence::label(presence).and_then(|label| u16::try_from(label).ok());
                    label.ok_or_else(|| Error::shape("pack", format!("image {row} of a shard shows no class")))
                };
                let labels = rows.map(label).collect::<Result<Vec<u16>>>()?;
                self.append(split, images, &labels, None, Some(presence), Some(names))
            }
        }
    }

    fn append(
        &mut self,
        split: Split,
        images: &[u8],           // (n, S, S, 3)
        labels: &[u16],          // (n)
        masks: Option<&[u8]>,    // (n, S, S)
        presence: Option<&[u8]>, // (n, C)
        names: Option<&[&str]>,  // (n)
    ) -> Result<()> {
        let (n, S, C) = (labels.len(), self.manifest.size, self.manifest.classes.len());
        let fits = images.len() == n * S * S * 3
            && masks.map(<[u8]>::len) == self.manifest.masks.then_some(n * S * S)
            && presence.map(<[u8]>::len) == self.manifest.multi_label.then_some(n * C)
            && names.is_none_or(|names| names.len() == n && !names.iter().any(|name| name.contains(NEW_LINE)))
            && n <= shard_images(S)
            && labels.iter().all(|&label| usize::from(label) < C);
        if !fits {
            return Err(Error::shape("pack", format!("a shard of {n} images does not fit the data set's recipe")));
        }
        if n == 0 {
            return Ok(());
        }
        let file = format!("{split}/shard-{:05}.safetensors", self.manifest.split(split).shards.len());
        let label_bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        let names = names.map(|names| names.join(NEW_LINE));
        let tensor = |name, dtype, shape, bytes| Tensor { name, dtype, shape, bytes };
        let mut tensors = vec![
            tensor("labels", Dtype::U16, vec![n], &label_bytes[..]),
            tensor("images", Dtype::U8, vec![n, S, S, 3], images),
        ];
        tensors.extend(masks.map(|masks| tensor("masks", Dtype::U8, vec![n, S, S], masks)));
        tensors.extend(presence.map(|presence| tensor("presence", Dtype::U8, vec![n, C], presence)));
        tensors.extend(names.as_ref().map(|names| tensor("names", Dtype::U8, vec![names.len()], names.as_bytes())));
        let (bytes, crc32) = shard::write(&self.temp.join(&file), &tensors)?;

        if split == Split::Train {
            self.add_to_sum(images);
        }
        let entry = self.manifest.split_mut(split);
        entry.images += n;
        match presence {
            None => labels.iter().for_each(|&label| entry.per_class[usize::from(label)] += 1),
            Some(presence) => presence
                .iter()
                .enumerate()
                .filter(|(_, value)| **value == presence::PRESENT)
                .for_each(|(i, _)| entry.per_class[i % C] += 1),
        }
        entry.shards.push(ShardEntry { file, images: n, bytes, crc32 });
        Ok(())
    }

    /// Images written so far, also by the packs that this one goes on from.
    pub fn images(&self) -> usize {
        self.manifest.train.images + self.manifest.val.images
    }

    /// A class of which `split` has no image yet.
    pub fn missing_class(&self, split: Split) -> Option<&str> {
        let empty = self.manifest.split(split).per_class.iter().position(|&n| n == 0)?;
        Some(&self.manifest.classes[empty])
    }

    /// Adds each of the images to the sum; threads share out the pixels. A
    /// shard's own sum fits 32 bits, which doubles the speed.
    fn add_to_sum(&mut self, images: &[u8]) {
        const PIECE: usize = 4096;
        let record = self.sum.len();
        self.sum.par_chunks_mut(PIECE).enumerate().for_each(|(piece, sum)| {
            let mut partial = [0u32; PIECE];
            let partial = &mut partial[..sum.len()];
            for image in images.chunks_exact(record) {
                let values = &image[piece * PIECE..][..partial.len()];
                partial.iter_mut().zip(values).for_each(|(sum, &value)| *sum += u32::from(value));
            }
            sum.iter_mut().zip(partial).for_each(|(sum, &mut partial)| *sum += u64::from(partial));
        });
    }

    /// Writes the mean image and, last, the manifest, and puts the data set in its place.
    pub fn finish(mut self) -> Result<Manifest> {
        let (n, S) = (self.manifest.train.images, self.manifest.size);
        if n == 0 {
            return Err(Error::format(&self.out, "no training image was packed, so there is no mean image"));
        }
        let mean: Vec<u8> = self.sum.iter().flat_map(|&sum| ((sum as f64 / n as f64) as f32).to_le_bytes()).collect();
        let tensor = Tensor { name: "mean", dtype: Dtype::F32, shape: vec![S, S, 3], bytes: &mean };
        shard::write(&self.temp.join(MEAN), &[tensor])?;
        self.write_manifest()?;
        for folder in [self.temp.join("train"), self.temp.join("val"), self.temp.clone()] {
            sync_folder(&folder)?;
        }
        self.put_in_place()?;
        self.keep = true;
        Ok(self.manifest.clone())
    }

    fn write_manifest(&self) -> Result<()> {
        let path = self.temp.join(MANIFEST);
        let partial = self.temp.join("dataset.json.partial");
        let text = serde_json::to_string_pretty(&self.manifest)
            .map_err(|e| Error::format(&path, format!("cannot be written: {e}")))?;
        let mut file = File::create(&partial).map_err(Error::io("create", &partial))?;
        writeln!(file, "{text}").map_err(Error::io("write", &partial))?;
        file.sync_all().map_err(Error::io("sync", &partial))?;
        fs::rename(&partial, &path).map_err(Error::io("rename to", &path))
    }

    /// Renames the finished folder to OUT, moving an older data set aside first.
    fn put_in_place(&self) -> Result<()> {
        check_target(&self.out, self.force)?;
        let old = sibling(&self.out, "old")?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(Error::io("remove", &old))?;
        }
        if self.out.exists() {
            fs::rename(&self.out, &old).map_err(Error::io("rename", &self.out))?;
        }
        fs::rename(&self.temp, &self.out).map_err(Error::io("rename to", &self.out))?;
        // Only now: without its lock the working folder would be free for the taking.
        for file in [self.out.join(JOURNAL), self.out.join(LOCK)] {
            if file.exists() {
                fs::remove_file(&file).map_err(Error::io("remove", &file))?;
            }
        }
        if old.exists() {
            fs::remove_dir_all(&old).map_err(Error::io("remove", &old))?;
        }
        sync_folder(parent(&self.out))
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now is removed by the next pack.
            let _ = fs::remove_dir_all(&self.temp);
        }
    }
}
