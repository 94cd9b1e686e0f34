//! The random numbers of one image, one after another.

use crate::data::packed::Split;
use crate::philox::{Purpose, Stream, unit};

/// Draws for image `index` of a split: the same whoever asks.
pub(super) struct Draws {
    stream: Stream,
    index: u64,
    next: u64,
    words: [u32; 4],
}

impl Draws {
    pub(super) fn new(seed: u64, split: Split, index: usize) -> Self {
        let stream = Stream::new(seed, Purpose::Synthetic, split as u32);
        Draws { stream, index: index as u64, next: 0, words: [0; 4] }
    }

    fn word(&mut self) -> u32 {
        let place = (self.next % 4) as usize;
        if place == 0 {
            self.words = self.stream.block(self.index, self.next / 4);
        }
        self.next += 1;
        self.words[place]
    }

    /// Uniform in [low, high).
    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * unit(self.word())
    }

    /// Uniform in 0..bound.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.word()) * bound as u64) >> 32) as usize
    }

    /// True half of the time.
    pub(super) fn coin(&mut self) -> bool {
        self.word() >> 31 == 1
    }

    /// Roughly normal with mean 0 and variance 1: the sum of a word's four
    /// bytes. Pixel noise needs no better tails, and it takes a quarter of the draws.
    pub(super) fn grain(&mut self) -> f32 {
        let sum: u32 = self.word().to_le_bytes().into_iter().map(u32::from).sum();
        // Mean 4 * 127.5, variance 4 * (256^2 - 1) / 12.
        (sum as f32 - 510.0) / 147.80
    }
}
