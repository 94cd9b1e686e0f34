//! A folder of photographs, one subfolder a class, to a packed data set.
//!
//! With `train/` and `val/` inside, each of them holds the class folders;
//! otherwise the class folders stand in DIR itself and a seeded share of every
//! class becomes the validation split. Classes and files are sorted by name and
//! packed in that order, so the result is the same, byte for byte, on every
//! machine and with any number of threads.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;

use crate::data::decode::decode_file;
use crate::data::packed::{PackWriter, Recipe, Split, shard_images};
use crate::data::report::{Event, Listener, Summary};
use crate::data::resize::centre_square;
use crate::error::{Error, Result};

mod scan;

/// How to pack a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageFolder {
    /// Side of the square records, in pixels.
    pub size: usize,
    /// Share of each class to hold out for validation where there is no `val/`, in 0..1.
    pub val_fraction: f64,
    /// Keys the choice of what is held out.
    pub seed: u64,
    /// Whether to replace a data set that stands at the target.
    pub force: bool,
}

impl Default for ImageFolder {
    fn default() -> Self {
        ImageFolder { size: 256, val_fraction: 0.1, seed: 0, force: false }
    }
}

/// A file and its class.
type Labelled = (PathBuf, u16);

impl ImageFolder {
    /// Packs the images below `dir` to `out`. Files that cannot be decoded are
    /// reported, counted and left out; a class of which nothing is left is an error.
    pub fn pack(&self, dir: &Path, out: &Path, listener: Listener) -> Result<Summary> {
        let start = Instant::now();
        let found = scan::scan(dir, self.val_fraction, self.seed)?;
        found.notes.iter().for_each(|note| listener(Event::Note(note)));
        let mut writer = PackWriter::create(out, self.recipe(dir, &found), self.force)?;
        listener(Event::Begin(found.train.len() + found.val.len()));
        let mut skipped = 0;
        for (split, files) in [(Split::Train, &found.train), (Split::Val, &found.val)] {
            skipped += self.pack_split(&mut writer, split, files, listener)?;
            if let Some(class) = writer.missing_class(split).filter(|_| !files.is_empty()) {
                return Err(Error::format(dir, format!("no file of class \"{class}\" in {split} could be decoded")));
            }
        }
        Ok(Summary::new(writer.finish()?, skipped, start))
    }

    fn recipe(&self, dir: &Path, found: &scan::Found) -> Recipe {
        let S = self.size;
        let name = dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
        let held_out = if found.own_val {
            String::new()
        } else {
            format!("; {} of each class held out for val with seed {}", self.val_fraction, self.seed)
        };
        Recipe {
            classes: found.classes.clone(),
            size: S,
            masks: false,
            source: format!("imagefolder {}", name.unwrap_or_default()),
            preprocessing: format!(
                "upright, transparency over white, shorter side to {S} (antialiased bilinear), centre {S} x {S}{held_out}"
            ),
        }
    }

    /// Packs one split, a shard's worth of files at a time; gives the number of files left out.
    fn pack_split(
        &self,
        writer: &mut PackWriter,
        split: Split,
        files: &[Labelled],
        listener: Listener,
    ) -> Result<usize> {
        let record = self.size * self.size * 3;
        let full = shard_images(self.size);
        let mut images = vec![0; files.len().min(full) * record];
        let mut skipped = 0;
        for files in files.chunks(full) {
            let results: Vec<Result<()>> = images
                .par_chunks_exact_mut(record)
                .zip(files)
                .map(|(record, (path, _))| {
                    let result = decode_file(path).and_then(|image| centre_square(&image, self.size, record));
                    listener(Event::Image);
                    result
                })
                .collect();
            // Moves the images that there are to the front, over those that there are not.
            let mut labels = Vec::with_capacity(files.len());
            for (i, ((path, label), result)) in files.iter().zip(results).enumerate() {
                match result {
                    Ok(()) => {
                        images.copy_within(i * record..(i + 1) * record, labels.len() * record);
                        labels.push(*label);
                    }
                    Err(error) => {
                        skipped += 1;
                        listener(Event::Bad(path, &reason(error)));
                    }
                }
            }
            writer.write_shard(split, &images[..labels.len() * record], &labels, None)?;
        }
        Ok(skipped)
    }
}

/// The error without the path, which the event has already.
fn reason(error: Error) -> String {
    match error {
        Error::Format { reason, .. } => reason,
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
