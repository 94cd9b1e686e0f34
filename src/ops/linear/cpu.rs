//! Fully connected layers on the CPU.
//!
//! At the batch sizes of training the weights dwarf everything else (fc6: 151 MB
//! in f32 against 1 MB of activations), so each direction is arranged to read or
//! write them once, where they lie, in long runs; what is reordered is small.
//! The products are the register tiles of convolution:
//!
//! ```text
//! fprop  rows are outputs o: w[o, i] is broadcast over panels of images of x^T
//! dgrad  rows are images n: dy[n, o] is broadcast over panels of inputs of w, block by block
//! wgrad  rows are outputs o: dy[n, o] is broadcast over panels of inputs of x
//! ```

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::error::Result;
use crate::ops::Real;
use crate::ops::cpu::{Cpu, lead, lead_mut, room};
use crate::ops::linear::{Linear, LinearOp};
use crate::ops::tile::{self, Lines, Row, Taps, even};

/// Inputs whose panel of images stays in the L2 cache in fprop.
const FPROP_INPUTS: usize = 2048;
/// Outputs of one task of fprop.
const FPROP_OUTPUTS: usize = 104;
/// Inputs of one task of dgrad: 2 KB of each row of w.
const DGRAD_INPUTS: usize = 512;
/// Outputs in the block of w that dgrad holds in the L2 cache.
const DGRAD_OUTPUTS: usize = 128;
/// Outputs of one task of wgrad: one tile of AVX-512, two of AVX2.
const WGRAD_OUTPUTS: usize = 12;

impl<T: Real> LinearOp for Cpu<T> {
    fn linear_fprop(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Vec<T>,    // (N, in)
        w: &Vec<T>,    // (out, in)
        bias: &Vec<T>, // (out)
        relu: bool,
        y: &mut Vec<T>, // (N, out)
    ) -> Result<()> {
        let Linear { inputs, outputs } = *linear;
        let x = lead("linear_fprop", "x", x, N * inputs)?;
        let w = lead("linear_fprop", "w", w, linear.weights())?;
        let bias = lead("linear_fprop", "bias", bias, outputs)?;
        let y = lead_mut("linear_fprop", "y", y, N * outputs)?;
        let width = self.panel_width();
        let images = N.next_multiple_of(width);
        let x = transpose(x, inputs, width, &mut self.scratch.panels);
        let sums = room(&mut self.scratch.sums, outputs * images);
        let arch = self.arch;
        sums.par_chunks_mut(FPROP_OUTPUTS * images).zip(w.par_chunks(FPROP_OUTPUTS * inputs)).for_each(|(sums, w)| {
            arch.dispatch(Fprop { inputs, images, x, w, sums });
        });
        let sums = &*sums;
        y.par_chunks_mut(outputs).enumerate().for_each(|(n, y)| {
            for ((y, sum), b) in y.iter_mut().zip(sums[n..].iter().step_by(images)).zip(bias) {
                *y = *sum + *b;
                if relu && *y < T::ZERO {
                    *y = T::ZERO;
                }
            }
        });
        Ok(())
    }

    fn linear_dgrad(
        &mut self,
        linear: &Linear,
        N: usize,
        dy: &Vec<T>,     // (N, out)
        w: &Vec<T>,      // (out, in)
        dx: &mut Vec<T>, // (N, in)
    ) -> Result<()> {
        let Linear { inputs, outputs } = *linear;
        let dy = lead("linear_dgrad", "dy", dy, N * outputs)?;
        let w = lead("linear_dgrad", "w", w, linear.weights())?;
        let dx = lead_mut("linear_dgrad", "dx", dx, N * inputs)?;
        let arch = self.arch;
        // Blocks of inputs, each (N, DGRAD_INPUTS): a task owns one.
        let sums = room(&mut self.scratch.sums, inputs.div_ceil(DGRAD_INPUTS) * N * DGRAD_INPUTS);
        sums.par_chunks_mut(N * DGRAD_INPUTS).enumerate().for_each(|(block, sums)| {
            arch.dispatch(Dgrad { linear, dy, w, first: block * DGRAD_INPUTS, sums });
        });
        let sums = &*sums;
        dx.par_chunks_mut(inputs).enumerate().for_each(|(n, dx)| {
            for (dx, sums) in dx.chunks_mut(DGRAD_INPUTS).zip(sums.chunks(N * DGRAD_INPUTS)) {
                dx.copy_from_slice(&sums[n * DGRAD_INPUTS..][..dx.len()]);
            }
        });
        Ok(())
    }

    fn linear_wgrad(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Vec<T>,         // (N, in)
        dy: &Vec<T>,        // (N, out)
        dw: &mut Vec<T>,    // (out, in)
        dbias: &mut Vec<T>, // (out)
    ) -> Result<()> {
        let Linear { inputs, outputs } = *linear;
        let x = lead("linear_wgrad", "x", x, N * inputs)?;
        let dy = lead("linear_wgrad", "dy", dy, N * outputs)?;
        let dw = lead_mut("linear_wgrad", "dw", dw, linear.weights())?;
        let dbias = lead_mut("linear_wgrad", "dbias", dbias, outputs)?;
        let x = tile::pack(x, inputs, 0..inputs, self.panel_width(), &mut self.scratch.panels);
        let arch = self.arch;
        dw.par_chunks_mut(WGRAD_OUTPUTS * inputs).enumerate().for_each(|(task, dw)| {
            arch.dispatch(Wgrad { linear, N, x, dy: &dy[task * WGRAD_OUTPUTS..], dw });
        });
        dbias.fill(T::ZERO);
        for dy in dy.chunks_exact(outputs) {
            dbias.iter_mut().zip(dy).for_each(|(db, dy)| *db += *dy);
        }
        Ok(())
    }
}

/// x (N, in) as panels of images (panels, in, width), with zeros for images that are not there.
fn transpose<'a, T: Real>(x: &[T], inputs: usize, width: usize, buffer: &'a mut Vec<T>) -> &'a [T] {
    let images = x.len() / inputs;
    let packed = room(buffer, images.div_ceil(width) * inputs * width);
    packed.par_chunks_mut(inputs * width).zip(x.par_chunks(width * inputs)).for_each(|(packed, x)| {
        packed.fill(T::ZERO);
        for (n, x) in x.chunks_exact(inputs).enumerate() {
            packed[n..].iter_mut().step_by(width).zip(x).for_each(|(to, from)| *to = *from);
        }
    });
    packed
}

/// sums[o, n] = sum_i w[o, i] x[i, n] for some outputs.
struct Fprop<'a, T> {
    inputs: usize,
    images: usize,
    x: &'a [T],        // (panels, in, width)
    w: &'a [T],        // (outputs, in)
    sums: &'a mut [T], // (outputs, images)
}

impl<T: Real> WithSimd for Fprop<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Fprop { inputs, images, x, w, sums } = self;
        let width = tile::panel_width::<T, S>();
        sums.fill(T::ZERO);
        for block in even(inputs, FPROP_INPUTS) {
            for panel in 0..images / width {
                let x = &x[(panel * inputs + block.start) * width..(panel * inputs + block.end) * width];
                let x = tile::panels::<T, S>(x);
                for rows in even(w.len() / inputs, tile::tile_rows::<S>()) {
                    tile::of_rows!(S, rows.len(), MR => {
                        let at: [Row; MR] = std::array::from_fn(|m| Row {
                            source: (rows.start + m) * inputs + block.start,
                            target: (rows.start + m) * images + panel * width,
                        });
                        let taps = Taps { offsets: &[0], run: block.len() };
                        let part = tile::gather::<T, S, MR>(simd, w, &at, taps, x, tile::zero::<T, S>(simd));
                        tile::add(simd, &part, &at, sums);
                    });
                }
            }
        }
    }
}

/// sums[n, i] = sum_o dy[n, o] w[o, first + i] for a block of inputs.
struct Dgrad<'a, T> {
    linear: &'a Linear,
    dy: &'a [T], // (N, out)
    w: &'a [T],  // (out, in)
    first: usize,
    sums: &'a mut [T], // (N, DGRAD_INPUTS)
}

impl<T: Real> WithSimd for Dgrad<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Dgrad { linear: &Linear { inputs, outputs }, dy, w, first, sums } = self;
        let width = tile::panel_width::<T, S>();
        let columns = DGRAD_INPUTS.min(inputs - first);
        let mut packed = vec![T::ZERO; columns.next_multiple_of(width) * DGRAD_OUTPUTS];
        sums.fill(T::ZERO);
        for block in even(outputs, DGRAD_OUTPUTS) {
            let depth = block.len();
            for (k, o) in block.clone().enumerate() {
                let row = &w[o * inputs + first..][..columns];
                for (panel, from) in row.chunks(width).enumerate() {
                    packed[(panel * depth + k) * width..][..from.len()].copy_from_slice(from);
                }
            }
            for (panel, w) in packed.chunks_exact(depth * width).take(columns.div_ceil(width)).enumerate() {
                let w = tile::panels::<T, S>(w);
                for rows in even(dy.len() / outputs, tile::tile_rows::<S>()) {
                    tile::of_rows!(S, rows.len(), MR => {
                        let at: [Row; MR] = std::array::from_fn(|m| Row {
                            source: (rows.start + m) * outputs + block.start,
                            target: (rows.start + m) * DGRAD_INPUTS + panel * width,
                        });
                        let taps = Taps { offsets: &[0], run: depth };
                        let part = tile::gather::<T, S, MR>(simd, dy, &at, taps, w, tile::zero::<T, S>(simd));
                        tile::add(simd, &part, &at, sums);
                    });
                }
            }
        }
    }
}

/// dw[o, i] = sum_n dy[n, o] x[n, i] for some outputs.
struct Wgrad<'a, T> {
    linear: &'a Linear,
    N: usize,
    x: &'a [T],      // (panels, N, width)
    dy: &'a [T],     // (N, out) from the first output on
    dw: &'a mut [T], // (outputs, in)
}

impl<T: Real> WithSimd for Wgrad<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Wgrad { linear: &Linear { inputs, outputs }, N, x, dy, dw } = self;
        let width = tile::panel_width::<T, S>();
        let lines = Lines { Q: N, step: outputs, line: 0 };
        for rows in even(dw.len() / inputs, tile::tile_rows::<S>()) {
            for (panel, x) in x.chunks_exact(N * width).enumerate() {
                let x = tile::panels::<T, S>(x);
                let columns = width.min(inputs - panel * width);
                tile::of_rows!(S, rows.len(), MR => {
                    let sums = tile::outer::<T, S, MR>(simd, &dy[rows.start..], lines, x);
                    for (m, sums) in sums.iter().enumerate() {
                        let dw = &mut dw[(rows.start + m) * inputs + panel * width..][..columns];
                        tile::store::<T, S>(sums, dw);
                    }
                });
            }
        }
    }
}
