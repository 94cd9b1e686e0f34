//! ReLU going down on the CPU: one pass, in place.
//!
//! An element is stopped where the tested value is `<= 0`, not where it fails to
//! be `> 0`: a NaN then travels on to where somebody looks for it.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{ReluOp, ReluRule};
use crate::error::Result;
use crate::ops::cpu::{CHUNK, lead, lead_mut};
use crate::ops::{Cpu, Real};

impl<T: Real> ReluOp for Cpu<T> {
    fn relu_backward(&mut self, rule: ReluRule, len: usize, y: &Vec<T>, signal: &mut Vec<T>) -> Result<()> {
        let y = lead("relu", "y", y, len)?;
        let signal = lead_mut("relu", "signal", signal, len)?;
        let arch = self.arch;
        let chunks = signal.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK));
        chunks.for_each(|(signal, y)| arch.dispatch(Mask { rule, y, signal }));
        Ok(())
    }
}

/// One chunk.
struct Mask<'a, T> {
    rule: ReluRule,
    y: &'a [T],
    signal: &'a mut [T],
}

impl<T: Real> WithSimd for Mask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let pairs = self.signal.iter_mut().zip(self.y);
        let keep = |stopped: bool, s: T| if stopped { T::ZERO } else { s };
        match self.rule {
            ReluRule::Gradient => pairs.for_each(|(s, y)| *s = keep(*y <= T::ZERO, *s)),
            ReluRule::Deconvnet => pairs.for_each(|(s, _)| *s = keep(*s <= T::ZERO, *s)),
            ReluRule::Guided => pairs.for_each(|(s, y)| *s = keep((*s <= T::ZERO) | (*y <= T::ZERO), *s)),
        }
    }
}
