//! Pictures of 32 x 32 grey pixels, a KiB each.
//!
//! Correlation ignores brightness and contrast, so each thumbnail is stored stretched
//! to the whole range of a byte. Rounding then costs a
//! relative error of about 1/(255 sqrt(12) s), s the standard deviation of the stretched
//! values in units of the range: 0.006 for s = 0.2, and, being noise over
//! 1024 pixels, two hundredths of that in a correlation.

use std::ops::Range;
use std::time::Instant;

use rayon::prelude::*;

use crate::error::Result;
use crate::transfer::duplicates::grey::Grey;
use crate::transfer::duplicates::pictures::{Pictures, View};

/// Side of a thumbnail, in pixels.
pub const SIDE: usize = 32;

/// Pixels of a thumbnail: the depth of the product.
pub const PIXELS: usize = SIDE * SIDE;

/// Pictures that are read in parallel between two reports.
const CHUNK: usize = 256;

/// Pictures that are read to measure how long all of them take.
const SAMPLE: usize = 64;

/// The thumbnails of a set of pictures.
#[derive(Debug, Default)]
pub struct Thumbnails {
    values: Vec<u8>,    // (n, SIDE, SIDE), each stretched to 0..=255
    pictures: Vec<u32>, // (n) which picture each is of, in ascending order
    /// Pictures that are flat.
    pub flat: Vec<usize>,
    /// Pictures that cannot be read, and why.
    pub bad: Vec<(usize, String)>,
}

impl Thumbnails {
    /// Reads every one of `pictures`; `done` hears how many.
    pub fn of(pictures: &Pictures, view: View, done: &mut dyn FnMut(usize)) -> Self {
        let mut all = Thumbnails::default();
        all.values.reserve_exact(pictures.len() * PIXELS);
        for start in (0..pictures.len()).step_by(CHUNK) {
            let chunk = start..(start + CHUNK).min(pictures.len());
            let end = chunk.end;
            let read = |i| thumbnail(&pictures.grey(i, view)?);
            let thumbnails: Vec<Result<Option<Vec<u8>>>> = chunk.clone().into_par_iter().map(read).collect();
            for (i, thumbnail) in chunk.zip(thumbnails) {
                match thumbnail {
                    Ok(Some(values)) => {
                        all.values.extend(values);
                        all.pictures.push(i as u32);
                    }
                    Ok(None) => all.flat.push(i),
                    Err(error) => all.bad.push((i, error.to_string())),
                }
            }
            done(end);
        }
        all
    }

    /// `n` of the given values, to measure with.
    pub(super) fn sample<V: Iterator<Item = u8>>(n: usize, values: impl Fn(usize) -> V) -> Self {
        let values = (0..n).flat_map(values).collect();
        Thumbnails { values, pictures: (0..n as u32).collect(), ..Thumbnails::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// Which picture thumbnail `row` is of.
    pub fn picture(&self, row: usize) -> u32 {
        self.pictures[row]
    }

    /// Writes some of them, mirrored or not, mean removed and of length 1.
    pub fn unit(
        &self,
        rows: Range<usize>,
        mirrored: bool,
        out: &mut [f32], // (rows, PIXELS)
    ) {
        let values = &self.values[rows.start * PIXELS..rows.end * PIXELS];
        out.par_chunks_exact_mut(PIXELS).zip(values.par_chunks_exact(PIXELS)).for_each(|(out, values)| {
            // Whole numbers below 2^8 * 2^10: exact.
            let mean = values.iter().map(|&v| u32::from(v)).sum::<u32>() as f32 / PIXELS as f32;
            let squares: f32 = values.iter().map(|&v| (f32::from(v) - mean).powi(2)).sum();
            let scale = 1.0 / squares.sqrt();
            for (out, values) in out.chunks_exact_mut(SIDE).zip(values.chunks_exact(SIDE)) {
                out.iter_mut().zip(values).for_each(|(out, &v)| *out = (f32::from(v) - mean) * scale);
                if mirrored {
                    out.reverse();
                }
            }
        });
    }
}

/// Pictures a second that are read and made into thumbnails, from a sample spread over the set.
pub fn measure_reading(pictures: &Pictures, view: View) -> f64 {
    let step = pictures.len().div_ceil(SAMPLE);
    let sample: Vec<usize> = (0..pictures.len()).step_by(step).collect();
    let start = Instant::now();
    sample.par_iter().for_each(|&i| {
        // What cannot be read takes its time, too, and is reported when it is its turn.
        let _ = pictures.grey(i, view).and_then(|grey| thumbnail(&grey));
    });
    sample.len() as f64 / start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
}

/// The thumbnail (SIDE, SIDE) of a picture; `None` of a flat one.
fn thumbnail(grey: &Grey) -> Result<Option<Vec<u8>>> {
    let small = grey.resized(SIDE, SIDE)?;
    if small.is_flat() {
        return Ok(None);
    }
    let least = small.pixels.iter().copied().fold(f32::INFINITY, f32::min);
    let most = small.pixels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Not flat: the range is above 0.
    let scale = 255.0 / (most - least);
    Ok(Some(small.pixels.iter().map(|&p| ((p - least) * scale).round() as u8).collect()))
}
