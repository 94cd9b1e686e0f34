//! What a pack tells while it runs, and what it has to say at the end.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::data::packed::Manifest;

/// Something that happens during a pack.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The pack begins; so many images lie before it.
    Begin(usize),
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
    /// Files that could not be decoded.
    pub skipped: usize,
    /// Wall time.
    pub time: Duration,
}

impl Summary {
    pub(crate) fn new(manifest: Manifest, skipped: usize, start: Instant) -> Self {
        Summary { manifest, skipped, time: start.elapsed() }
    }

    /// Images in both splits.
    pub fn images(&self) -> usize {
        self.manifest.train.images + self.manifest.val.images
    }

    /// Bytes of the shards.
    pub fn bytes(&self) -> u64 {
        self.manifest.train.shards.iter().chain(&self.manifest.val.shards).map(|shard| shard.bytes).sum()
    }

    /// Images packed in a second.
    pub fn images_per_s(&self) -> f64 {
        self.images() as f64 / self.time.as_secs_f64().max(1e-9)
    }
}
