//! Dropout on the CPU: in place, four elements for each block of random words.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Dropout, DropoutOp};
use crate::error::Result;
use crate::ops::cpu::{CHUNK, lead_mut};
use crate::ops::{Cpu, Real, StepScalars};

/// Words in a block of the generator.
const WORDS: usize = 4;
const _: () = assert!(CHUNK.is_multiple_of(WORDS), "a chunk must start at a block");

impl<T: Real> DropoutOp for Cpu<T> {
    fn dropout(&mut self, dropout: &Dropout, scalars: &StepScalars, len: usize, x: &mut Vec<T>) -> Result<()> {
        let step = scalars.step;
        let x = lead_mut("dropout", "x", x, len)?;
        let arch = self.arch;
        x.par_chunks_mut(CHUNK).enumerate().for_each(|(i, x)| {
            arch.dispatch(Chunk { dropout, step, block: (i * (CHUNK / WORDS)) as u64, x });
        });
        Ok(())
    }
}

/// Elements that start at a block of the generator.
struct Chunk<'a, T> {
    dropout: &'a Dropout,
    step: u64,
    block: u64,
    x: &'a mut [T],
}

impl<T: Real> WithSimd for Chunk<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (threshold, scale) = (self.dropout.threshold(), T::of(self.dropout.scale()));
        for (block, x) in (self.block..).zip(self.x.chunks_mut(WORDS)) {
            let words = self.dropout.stream.block(self.step, block);
            for (x, word) in x.iter_mut().zip(words) {
                *x = if word >= threshold { *x * scale } else { T::ZERO };
            }
        }
    }
}
