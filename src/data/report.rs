//! What a pack tells while it runs, and what it has to say at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::data::packed::Manifest;

/// Something that happens during a pack.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The pack begins; so many images lie before it.
    Begin(usize),
    /// So many of them were dealt with by an earlier pack, which this one continues.
    Continued(usize),
    /// One image has been dealt with. Comes from any thread.
    Image,
    /// A file could not be decoded and was left out. Comes in file order.
    Bad(&'a Path, &'a str),
    /// Something that a person should know.
    Note(&'a str),
}

/// Hears the events of a pack.
pub type Listener<'a> = &'a (dyn Fn(Event) + Sync);

/// The end of a pack.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What stands in `dataset.json`.
    pub manifest: Manifest,
    /// How many images could not be decoded, for each reason.
    pub skipped: BTreeMap<String, usize>,
    /// Images that were left out because a list names them.
    pub excluded: usize,
    /// Images that stood there already, from an earlier pack.
    pub continued: usize,
    /// Wall time.
    pub time: Duration,
}

impl Summary {
    /// Of a pack that began at `start` and left nothing out.
    pub(crate) fn new(manifest: Manifest, start: Instant) -> Self {
        Summary { manifest, skipped: BTreeMap::new(), excluded: 0, continued: 0, time: start.elapsed() }
    }

    /// Images that could not be decoded.
    pub fn skipped(&self) -> usize {
        self.skipped.values().sum()
    }

    /// Images in both splits.
    pub fn images(&self) -> usize {
        self.manifest.train.images + self.manifest.val.images
    }

    /// Bytes of the shards.
    pub fn bytes(&self) -> u64 {
        self.manifest.train.shards.iter().chain(&self.manifest.val.shards).map(|shard| shard.bytes).sum()
    }

    /// Images packed in a second, of those that this pack dealt with.
    pub fn images_per_s(&self) -> f64 {
        (self.images() - self.continued) as f64 / self.time.as_secs_f64().max(1e-9)
    }
}
