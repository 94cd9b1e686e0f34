//! Dropout on the CPU: in place, four elements for each block of random words.

use rayon::prelude::*;

use super::{Dropout, DropoutOp};
use crate::error::Result;
use crate::ops::cpu::{CHUNK, lead_mut};
use crate::ops::{Cpu, Real};

/// Words in a block of the generator.
const WORDS: usize = 4;
const _: () = assert!(CHUNK.is_multiple_of(WORDS), "a chunk must start at a block");

impl<T: Real> DropoutOp for Cpu<T> {
    fn dropout(&mut self, dropout: &Dropout, step: u64, len: usize, x: &mut Vec<T>) -> Result<()> {
        let x = lead_mut("dropout", "x", x, len)?;
        let (threshold, scale) = (dropout.threshold(), T::of(dropout.scale()));
        let arch = self.arch;
        x.par_chunks_mut(CHUNK).enumerate().for_each(|(i, x)| {
            let first = (i * (CHUNK / WORDS)) as u64;
            arch.dispatch(
                #[inline(always)]
                || {
                    for (block, x) in (first..).zip(x.chunks_mut(WORDS)) {
                        for (x, word) in x.iter_mut().zip(dropout.stream.block(step, block)) {
                            *x = if word >= threshold { *x * scale } else { T::ZERO };
                        }
                    }
                },
            );
        });
        Ok(())
    }
}
