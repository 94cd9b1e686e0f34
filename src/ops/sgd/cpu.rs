//! Parameter updates on the CPU.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{SgdOp, SgdStep};
use crate::error::Result;
use crate::ops::cpu::{CHUNK, lead, lead_mut};
use crate::ops::{Cpu, Real};

impl<T: Real> SgdOp for Cpu<T> {
    fn sgd_step(
        &mut self,
        step: &SgdStep,
        len: usize,
        g: &Vec<T>,     // (len)
        v: &mut Vec<T>, // (len)
        w: &mut Vec<T>, // (len)
    ) -> Result<()> {
        let g = lead("sgd", "g", g, len)?;
        let v = lead_mut("sgd", "v", v, len)?;
        let w = lead_mut("sgd", "w", w, len)?;
        let arch = self.arch;
        let chunks = w.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)).zip(g.par_chunks(CHUNK));
        chunks.for_each(|((w, v), g)| arch.dispatch(Update { step, g, v, w }));
        Ok(())
    }

    fn rms_clip(
        &mut self,
        radius: f64,
        K: usize,
        M: usize,
        w: &mut Vec<T>, // (K, M)
    ) -> Result<()> {
        let w = lead_mut("rms clip", "w", w, K * M)?;
        let arch = self.arch;
        w.par_chunks_mut(M.max(1)).for_each(|filter| arch.dispatch(Clip { radius, filter }));
        Ok(())
    }
}

/// One chunk of a tensor.
struct Update<'a, T> {
    step: &'a SgdStep,
    g: &'a [T],
    v: &'a mut [T],
    w: &'a mut [T],
}

impl<T: Real> WithSimd for Update<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let SgdStep { lr, momentum, weight_decay } = *self.step;
        let (lr, momentum, decay) = (T::of(lr), T::of(momentum), T::of(weight_decay));
        for ((w, v), &g) in self.w.iter_mut().zip(self.v).zip(self.g) {
            *v = momentum * *v + (g + decay * *w);
            *w = *w - lr * *v;
        }
    }
}

/// One filter.
struct Clip<'a, T> {
    radius: f64,
    filter: &'a mut [T], // (M)
}

impl<T: Real> WithSimd for Clip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rms = (sum_of_squares(self.filter) / self.filter.len() as f64).sqrt();
        if rms > self.radius {
            let factor = self.radius / rms;
            self.filter.iter_mut().for_each(|w| *w = T::of(w.f64() * factor));
        }
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
