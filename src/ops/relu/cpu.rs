//! ReLU going down on the CPU: one pass, in place.
//!
//! An element is stopped where the tested value is `<= 0`, not where it fails to
//! be `> 0`: a NaN then travels on to where somebody looks for it.

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
        signal.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(signal, y)| {
            arch.dispatch(
                #[inline(always)]
                || match rule {
                    ReluRule::Gradient => stop(signal, y, |_, y| y <= T::ZERO),
                    ReluRule::Deconvnet => stop(signal, y, |s, _| s <= T::ZERO),
                    ReluRule::Guided => stop(signal, y, |s, y| (s <= T::ZERO) | (y <= T::ZERO)),
                },
            );
        });
        Ok(())
    }
}

/// Zeroes the elements for which `stopped(signal, y)` holds.
#[inline(always)]
fn stop<T: Real>(signal: &mut [T], y: &[T], stopped: impl Fn(T, T) -> bool) {
    for (s, &y) in signal.iter_mut().zip(y) {
        *s = if stopped(*s, y) { T::ZERO } else { *s };
    }
}
