//! Parameter updates on the CPU.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{SgdOp, SgdTensor};
use crate::error::Result;
use crate::ops::cpu::{CHUNK, lead, lead_mut};
use crate::ops::{Cpu, Real, StepScalars};

impl<T: Real> SgdOp for Cpu<T> {
    fn sgd_step(&mut self, scalars: &StepScalars, tensors: &mut [SgdTensor<'_, Vec<T>>]) -> Result<()> {
        let arch = self.arch;
        for tensor in tensors {
            let &mut SgdTensor { K, M, decays, rms_clip: radius, .. } = tensor;
            let g = lead("sgd", "g", tensor.g, K * M)?;
            let v = lead_mut("sgd", "v", tensor.v, K * M)?;
            let w = lead_mut("sgd", "w", tensor.w, K * M)?;
            let decay = if decays { scalars.weight_decay } else { 0.0 };
            // A filter is clipped as soon as it is updated, while it is in the cache.
            let chunk = if radius.is_some() { M.max(1) } else { CHUNK };
            let chunks = w.par_chunks_mut(chunk).zip(v.par_chunks_mut(chunk)).zip(g.par_chunks(chunk));
            chunks.for_each(|((w, v), g)| arch.dispatch(Update { scalars, decay, radius, g, v, w }));
        }
        Ok(())
    }
}

/// One chunk of a tensor; with a radius, one filter.
struct Update<'a, T> {
    scalars: &'a StepScalars,
    decay: f64,
    radius: Option<f64>,
    g: &'a [T],
    v: &'a mut [T],
    w: &'a mut [T],
}

impl<T: Real> WithSimd for Update<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let StepScalars { lr, momentum, .. } = *self.scalars;
        let (lr, momentum, decay) = (T::of(lr), T::of(momentum), T::of(self.decay));
        for ((w, v), &g) in self.w.iter_mut().zip(self.v).zip(self.g) {
            *v = momentum * *v + (g + decay * *w);
            *w = *w - lr * *v;
        }
        if let Some(radius) = self.radius {
            clip(radius, self.w);
        }
    }
}

#[inline(always)]
fn clip<T: Real>(radius: f64, filter: &mut [T]) {
    let rms = (sum_of_squares(filter) / filter.len() as f64).sqrt();
    if rms > radius {
        let factor = radius / rms;
        filter.iter_mut().for_each(|w| *w = T::of(w.f64() * factor));
    }
}

/// In f64, as eight interleaved sums that fill a vector register and are then
/// added in order.
#[inline(always)]
fn sum_of_squares<T: Real>(values: &[T]) -> f64 {
    let mut sums = [0.0; 8];
    let (blocks, rest) = values.as_chunks::<8>();
    for block in blocks {
        for (sum, v) in sums.iter_mut().zip(block) {
            *sum += v.f64() * v.f64();
        }
    }
    for (sum, v) in sums.iter_mut().zip(rest) {
        *sum += v.f64() * v.f64();
    }
    sums.iter().sum()
}
