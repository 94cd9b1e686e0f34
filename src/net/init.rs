//! Initial weights.

use crate::philox::{Purpose, Stream};
use rayon::prelude::*;

/// Fills `weights` with draws from N(0, std^2): element i of lane `lane` depends
/// on (seed, lane, i) alone, so every device starts from the same bits.
pub fn normal(seed: u64, lane: u32, std: f64, weights: &mut [f32]) {
    let stream = Stream::new(seed, Purpose::Init, lane);
    weights.par_iter_mut().enumerate().with_min_len(4096).for_each(|(i, w)| {
        *w = (std * stream.normal(0, i as u64)) as f32;
    });
}
