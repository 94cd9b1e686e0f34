//! An inventory to shards: the one way in which every source is packed.
//!
//! A shard's worth of items at a time is read, decoded and resized by all
//! threads, and written; so one shard is in memory at most, and what a shard
//! holds depends on no thread. After each shard the journal says how far the
//! pack has come, and a later run goes on there.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::exclude::exclude;
use super::{Coding, Inventory, Item, Source};
use crate::data::decode::{Rgb, decode};
use crate::data::packed::{self, Labels, PackWriter, Recipe, Split, Start, shard_images};
use crate::data::report::{Event, Listener, Summary};
use crate::data::resize::centre_square;
use crate::error::{Error, Result};

/// What can be chosen for every source.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Side of the square records, in pixels.
    pub size: usize,
    /// Whether to replace a data set that stands at the target.
    pub force: bool,
    /// File with the names of images to leave out, one a line.
    pub exclude: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options { size: 256, force: false, exclude: None }
    }
}

/// How far a pack has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Items dealt with, of train and val.
    taken: [usize; 2],
    /// How many of them were left out, for each reason.
    skipped: BTreeMap<String, usize>,
}

/// Packs `source` to `out`. Images that cannot be decoded are reported, counted
/// and left out. Goes on behind the last whole shard of an earlier pack that
/// was killed or stopped, if settings and source are what they were then.
///
/// # Errors
/// What the source finds wrong; a class of which nothing can be decoded; what
/// [`PackWriter`] refuses. Nothing is left behind then, except by
/// [`Error::Interrupted`], the answer to `stop`, after which the same call goes on.
pub fn pack(
    source: &dyn Source,
    options: &Options,
    out: &Path,
    listener: Listener,
    stop: &AtomicBool,
) -> Result<Summary> {
    let start = Instant::now();
    packed::check_target(out, options.force)?;
    let folder = packed::parent(out);
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut inventory = source.read(folder)?;
    let excluded = options.exclude.as_ref().map_or(Ok(0), |list| exclude(&mut inventory, list))?;
    inventory.check()?;
    inventory.notes.iter().for_each(|note| listener(Event::Note(note)));

    let recipe = recipe(&inventory, options.size, excluded);
    let fingerprint = fingerprint(&inventory, &recipe);
    let (writer, begun) = PackWriter::resume(out, recipe, options.force, &fingerprint)?;
    let progress: Progress = match begun {
        Start::Continued(progress) => progress,
        Start::Afresh => Progress::default(),
        Start::Discarded(reason) => {
            listener(Event::Note(&format!("an unfinished pack is not continued: {reason}")));
            Progress::default()
        }
    };
    listener(Event::Begin(inventory.len()));
    let continued = writer.images();
    if continued > 0 {
        listener(Event::Continued(progress.taken.iter().sum()));
    }
    let mut packing = Packing { inventory: &inventory, S: options.size, writer, progress, listener, stop };
    for split in Split::ALL {
        if packing.split(split)? == Ended::Stopped {
            return Err(packing.interrupted());
        }
    }
    let (manifest, skipped) = (packing.writer.finish()?, packing.progress.skipped);
    Ok(Summary { skipped, excluded, continued, ..Summary::new(manifest, start) })
}

fn recipe(inventory: &Inventory, S: usize, excluded: usize) -> Recipe {
    let mut preprocessing =
        format!("upright, transparency over white, shorter side to {S} (antialiased bilinear), centre {S} x {S}");
    if let Some(hold_out) = &inventory.held_out {
        preprocessing += &format!("; {hold_out}");
    }
    if excluded > 0 {
        preprocessing += &format!("; {excluded} images excluded");
    }
    let (classes, source) = (inventory.classes.clone(), inventory.origin.clone());
    Recipe { classes, size: S, masks: false, multi_label: inventory.multi_label, source, preprocessing }
}

/// A number that changes when the shards would: with this program's version,
/// the recipe, and every item's name, label, length and time of change.
fn fingerprint(inventory: &Inventory, recipe: &Recipe) -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    format!("{recipe:?}").hash(&mut hasher);
    for split in Split::ALL {
        let items = inventory.split(split);
        items.len().hash(&mut hasher);
        let stamps: Vec<[u64; 3]> = items.par_iter().map(|item| item.place.stamp()).collect();
        for (item, stamp) in items.iter().zip(stamps) {
            (&item.name, item.label, &item.presence, item.coding, stamp).hash(&mut hasher);
        }
    }
    format!("{:016x}", hasher.finish())
}

#[derive(PartialEq, Eq)]
enum Ended {
    Done,
    Stopped,
}

/// A pack under way.
struct Packing<'a> {
    inventory: &'a Inventory,
    S: usize,
    writer: PackWriter,
    progress: Progress,
    listener: Listener<'a>,
    stop: &'a AtomicBool,
}

impl Packing<'_> {
    /// Packs what remains of one split.
    fn split(&mut self, split: Split) -> Result<Ended> {
        let (items, full) = (self.inventory.split(split), shard_images(self.S));
        let rest = &items[self.progress.taken[split as usize].min(items.len())..];
        let mut images = vec![0; rest.len().min(full) * self.S * self.S * 3];
        for items in rest.chunks(full) {
            if self.shard(split, items, &mut images)? == Ended::Stopped {
                return Ok(Ended::Stopped);
            }
        }
        if let Some(class) = self.writer.missing_class(split).filter(|_| !items.is_empty()) {
            let reason = format!("no file of class \"{class}\" in {split} could be decoded");
            return Err(Error::format(&self.inventory.root, reason));
        }
        Ok(Ended::Done)
    }

    /// Packs the images of one shard.
    fn shard(
        &mut self,
        split: Split,
        items: &[Item],
        images: &mut [u8], // (n or more, S, S, 3)
    ) -> Result<Ended> {
        let record = self.S * self.S * 3;
        let (S, listener, stop) = (self.S, self.listener, self.stop);
        let results: Vec<Result<()>> = images
            .par_chunks_exact_mut(record)
            .zip(items)
            .map(|(record, item)| {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let result = fill(item, S, record);
                listener(Event::Image);
                result
            })
            .collect();
        if stop.load(Ordering::Relaxed) {
            return Ok(Ended::Stopped);
        }
        // Moves the images that there are to the front, over those that there are not.
        let mut kept: Vec<&Item> = Vec::with_capacity(items.len());
        for (i, (item, result)) in items.iter().zip(results).enumerate() {
            match result {
                Ok(()) => {
                    images.copy_within(i * record..(i + 1) * record, kept.len() * record);
                    kept.push(item);
                }
                Err(error) => {
                    let reason = reason(error);
                    listener(Event::Bad(&self.inventory.root.join(&item.name), &reason));
                    *self.progress.skipped.entry(reason).or_default() += 1;
                }
            }
        }
        let images = &images[..kept.len() * record];
        let names: Vec<&str> = kept.iter().map(|item| item.name.as_str()).collect();
        let (presence, one): (Vec<u8>, Vec<u16>);
        let labels = if self.inventory.multi_label {
            presence = kept.iter().flat_map(|item| item.presence.iter().copied()).collect();
            Labels::Several(&presence)
        } else {
            one = kept.iter().map(|item| item.label).collect();
            Labels::One(&one)
        };
        self.writer.write_named_shard(split, images, labels, &names)?;
        self.progress.taken[split as usize] += items.len();
        self.writer.save(&self.progress)?;
        Ok(Ended::Done)
    }

    /// Leaves the working folder as it is, if there is anything in it.
    fn interrupted(self) -> Error {
        let (taken, all): (usize, _) = (self.progress.taken.iter().sum(), self.inventory.len());
        if taken > 0 {
            self.writer.suspend();
        }
        Error::Interrupted(format!("{taken} of {all} images are dealt with; the same command again goes on from there"))
    }
}

/// Makes the record of one item.
fn fill(
    item: &Item,
    S: usize,
    record: &mut [u8], // (S, S, 3)
) -> Result<()> {
    let bytes = item.place.read()?;
    let image = match item.coding {
        Coding::File => decode(&bytes).map_err(|reason| Error::format(&item.name, reason))?,
        Coding::Planes(side) => interleaved(&bytes, side),
    };
    centre_square(&image, S, record)
}

/// Three planes to pixels.
fn interleaved(
    planes: &[u8], // (3, side, side)
    side: usize,
) -> Rgb {
    let n = side * side;
    let pixels = (0..n).flat_map(|i| [planes[i], planes[n + i], planes[2 * n + i]]).collect();
    Rgb { H: side, W: side, pixels }
}

/// The error without the path, which the event has already.
fn reason(error: Error) -> String {
    match error {
        Error::Format { reason, .. } => reason,
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
