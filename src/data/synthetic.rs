//! A drawn data set in which it is known what tells the classes apart, and where.
//!
//! Every image has one *badge*: a rimmed disc whose texture is the class
//! ([`Texture`]), at a random place, size, tilt and colour, drawn over a random
//! background among pieces of many shapes and fillings that all classes share,
//! some as large and as contrasted as a badge. Only the badge's texture carries
//! the class; hue, polarity, place, contrast and surroundings do not. The badge's
//! pixels are the image's mask, so that a visualisation can be scored against the
//! truth.
//!
//! Textures keep their class when the image is mirrored, and the tilt stays
//! below what would turn one into another. Image `index` of a split is a pure
//! function of (seed, split, index): any number of threads draws the same set.

use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;

use crate::data::packed::{PackWriter, Recipe, Split, shard_images};
use crate::data::report::{Event, Listener, Summary};
use crate::error::{Error, Result};

mod canvas;
mod draws;
mod scene;
mod texture;

pub use texture::Texture;

/// How to draw a synthetic data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Number of classes, 2 to 10: so many of [`Texture::ALL`], from `first` on.
    pub classes: usize,
    /// The first of them, counted from 0.
    pub first: usize,
    /// Number of training images.
    pub train: usize,
    /// Number of validation images.
    pub val: usize,
    /// Side of the square records, in pixels, 32 or more.
    pub size: usize,
    /// Keys every draw.
    pub seed: u64,
    /// Whether to replace a data set that stands at the target.
    pub force: bool,
}

impl Default for Synthetic {
    fn default() -> Self {
        Synthetic { classes: 8, first: 0, train: 6000, val: 400, size: 72, seed: 1, force: false }
    }
}

/// One drawn image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Pixels: (S, S, 3).
    pub image: Vec<u8>,
    /// 255 on the badge, 0 elsewhere: (S, S).
    pub mask: Vec<u8>,
    /// Which class it is.
    pub label: usize,
}

/// Smallest records in which every texture can still be told.
const MIN_SIZE: usize = 32;

impl Synthetic {
    /// Refuses settings that cannot be drawn.
    fn check(&self) -> Result<()> {
        let most = Texture::ALL.len();
        let wrong = |reason: String| Err(Error::Usage(format!("synthetic data: {reason}")));
        if !(2..=most).contains(&self.classes) {
            return wrong(format!("{} classes: expected 2 to {most}", self.classes));
        }
        if self.first > most - self.classes {
            let (classes, first) = (self.classes, self.first);
            return wrong(format!("{classes} classes from class {first} on: there are {most}, counted from 0"));
        }
        if self.size < MIN_SIZE {
            return wrong(format!("records of {} px: expected {MIN_SIZE} or more", self.size));
        }
        if self.train < self.classes || self.val < self.classes {
            return wrong(format!(
                "{} training and {} validation images: expected at least one a class, {}",
                self.train, self.val, self.classes
            ));
        }
        Ok(())
    }

    /// Image `index` of `split`: pixels, mask and label.
    pub fn draw(&self, split: Split, index: usize) -> Drawing {
        let S = self.size;
        let mut drawing = Drawing { image: vec![0; S * S * 3], mask: vec![0; S * S], label: index % self.classes };
        self.draw_into(split, index, &mut drawing.image, &mut drawing.mask);
        drawing
    }

    fn draw_into(
        &self,
        split: Split,
        index: usize,
        image: &mut [u8], // (S, S, 3)
        mask: &mut [u8],  // (S, S)
    ) {
        let texture = Texture::ALL[self.first + index % self.classes];
        let draws = draws::Draws::new(self.seed, split, index);
        scene::paint(draws, texture, self.size, image, mask);
    }

    /// Draws the data set and packs it to `out`, with masks.
    pub fn pack(&self, out: &Path, listener: Listener) -> Result<Summary> {
        let start = Instant::now();
        self.check()?;
        let mut writer = PackWriter::create(out, self.recipe(), self.force)?;
        listener(Event::Begin(self.train + self.val));
        for (split, n) in [(Split::Train, self.train), (Split::Val, self.val)] {
            let full = shard_images(self.size);
            for first in (0..n).step_by(full) {
                self.pack_shard(&mut writer, split, first, full.min(n - first), listener)?;
            }
        }
        Ok(Summary::new(writer.finish()?, start))
    }

    fn pack_shard(
        &self,
        writer: &mut PackWriter,
        split: Split,
        first: usize,
        n: usize,
        listener: Listener,
    ) -> Result<()> {
        let pixels = self.size * self.size;
        let (mut images, mut masks) = (vec![0; n * pixels * 3], vec![0; n * pixels]);
        images.par_chunks_exact_mut(pixels * 3).zip(masks.par_chunks_exact_mut(pixels)).enumerate().for_each(
            |(i, (image, mask))| {
                self.draw_into(split, first + i, image, mask);
                listener(Event::Image);
            },
        );
        let labels: Vec<u16> = (first..first + n).map(|index| (index % self.classes) as u16).collect();
        writer.write_shard(split, &images, &labels, Some(&masks))
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            classes: Texture::ALL[self.first..][..self.classes]
                .iter()
                .map(|texture| texture.name().to_string())
                .collect(),
            size: self.size,
            masks: true,
            multi_label: false,
            source: format!("synthetic, seed {}", self.seed),
            preprocessing: format!("drawn at {0} x {0}", self.size),
        }
    }
}
