//! Kept activations on the CPU: an image is a task.

use rayon::prelude::*;

use super::{ANY, KeepOp};
use crate::error::Result;
use crate::ops::cpu::{lead, lead_mut};
use crate::ops::{Cpu, Real};
use crate::tensor::Extent;

impl<T: Real> KeepOp for Cpu<T> {
    fn keep(
        &mut self,
        blob: Extent,
        N: usize,
        y: &Vec<T>,          // (N, P, Q, K)
        units: &Vec<i32>,    // (N, 3)
        signal: &mut Vec<T>, // (N, P, Q, K)
    ) -> Result<()> {
        let (P, Q, K) = (blob.H, blob.W, blob.C);
        let y = lead("keep", "y", y, N * blob.len())?;
        let units = lead("keep", "units", units, N * 3)?;
        let signal = lead_mut("keep", "signal", signal, N * blob.len())?;
        let images = signal.par_chunks_exact_mut(blob.len().max(1)).zip(y.par_chunks_exact(blob.len().max(1)));
        images.zip(units.par_chunks_exact(3)).for_each(|((signal, y), unit)| {
            signal.fill(T::ZERO);
            for (p, q) in matching(unit[0], P).flat_map(|p| matching(unit[1], Q).map(move |q| (p, q))) {
                matching(unit[2], K).map(|k| (p * Q + q) * K + k).for_each(|i| signal[i] = y[i]);
            }
        });
        Ok(())
    }
}

/// The indices below `len` that `unit` matches.
fn matching(unit: i32, len: usize) -> std::ops::Range<usize> {
    match usize::try_from(unit) {
        Ok(i) => i.min(len)..(i + 1).min(len),
        Err(_) if unit == ANY => 0..len,
        Err(_) => 0..0,
    }
}
