//! Max pooling and unpooling on the CPU, vectorised along the channels.
//!
//! A task is one row of the result. The C results of one position take in one
//! tap (or one window) after the other; they stay in the nearest cache meanwhile,
//! and memory sees each input and each result once. The inner loops are plain
//! ones over slices: held in fixed arrays the channels were unrolled into scalar
//! code with a branch each, four times slower.
//!
//! A NaN beats every number and stays the maximum of its window (of several the
//! last is recorded): pooling must not hide that a value above it has diverged.

use std::hint::select_unpredictable;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Pool, PoolOp, UnpoolMode};
use crate::error::Result;
use crate::ops::cpu::{lead, lead_mut};
use crate::ops::{Cpu, Real};

impl<T: Real> PoolOp for Cpu<T> {
    fn pool_forward(
        &mut self,
        pool: &Pool,
        N: usize,
        x: &Vec<T>,             // (N, H, W, C)
        y: &mut Vec<T>,         // (N, P, Q, C)
        switches: &mut Vec<u8>, // (N, P, Q, C)
    ) -> Result<()> {
        let (image, map) = (pool.input().len(), pool.output().len());
        let x = lead("pool", "x", x, N * image)?;
        let y = lead_mut("pool", "y", y, N * map)?;
        let switches = lead_mut("pool", "switches", switches, N * map)?;
        let arch = self.arch;
        let row = pool.Q * pool.C;
        y.par_chunks_mut(row).zip(switches.par_chunks_mut(row)).enumerate().for_each(|(i, (y, switches))| {
            let x = &x[i / pool.P * image..][..image];
            arch.dispatch(PoolRow { pool, p: i % pool.P, x, y, switches });
        });
        Ok(())
    }

    fn unpool(
        &mut self,
        pool: &Pool,
        N: usize,
        mode: UnpoolMode,
        y: &Vec<T>,         // (N, P, Q, C)
        switches: &Vec<u8>, // (N, P, Q, C)
        x: &mut Vec<T>,     // (N, H, W, C)
    ) -> Result<()> {
        let (image, map) = (pool.input().len(), pool.output().len());
        let y = lead("unpool", "y", y, N * map)?;
        let switches = lead("unpool", "switches", switches, N * map)?;
        let x = lead_mut("unpool", "x", x, N * image)?;
        let arch = self.arch;
        x.par_chunks_mut(pool.W * pool.C).enumerate().for_each(|(i, x)| {
            let n = i / pool.H;
            let (y, switches) = (&y[n * map..][..map], &switches[n * map..][..map]);
            arch.dispatch(UnpoolRow { pool, mode, h: i % pool.H, y, switches, x });
        });
        Ok(())
    }
}

/// Row `p` of the pooled map.
struct PoolRow<'a, T> {
    pool: &'a Pool,
    p: usize,
    x: &'a [T],             // (H, W, C)
    y: &'a mut [T],         // (Q, C)
    switches: &'a mut [u8], // (Q, C)
}

impl<T: Real> WithSimd for PoolRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let &Pool { H, W, C, R, stride, .. } = self.pool;
        for (q, (y, switches)) in self.y.chunks_exact_mut(C).zip(self.switches.chunks_exact_mut(C)).enumerate() {
            let (h, w) = (self.p * stride, q * stride);
            let window = &self.x[(h * W + w) * C..];
            y.copy_from_slice(&window[..C]);
            switches.fill(0);
            for r in 0..R.min(H - h) {
                for s in 0..R.min(W - w) {
                    take_larger(&window[(r * W + s) * C..][..C], (r * R + s) as u8, y, switches);
                }
            }
        }
    }
}

/// Where the tap with switch `code` exceeds the maximum so far, it becomes the maximum.
#[inline(always)]
fn take_larger<T: Real>(tap: &[T], code: u8, y: &mut [T], switches: &mut [u8]) {
    for ((y, switch), &v) in y.iter_mut().zip(switches).zip(tap) {
        let wins = (v > *y) | v.is_nan();
        *y = if wins { v } else { *y };
        *switch = if wins { code } else { *switch };
    }
}

/// Row `h` of the unpooled image.
struct UnpoolRow<'a, T> {
    pool: &'a Pool,
    mode: UnpoolMode,
    h: usize,
    y: &'a [T],         // (P, Q, C)
    switches: &'a [u8], // (P, Q, C)
    x: &'a mut [T],     // (W, C)
}

impl<T: Real> WithSimd for UnpoolRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let &Pool { C, R, stride, P, Q, .. } = self.pool;
        for (w, x) in self.x.chunks_exact_mut(C).enumerate() {
            x.fill(T::ZERO);
            for p in covering(self.pool, self.h, P) {
                for q in covering(self.pool, w, Q) {
                    let here = ((self.h - p * stride) * R + (w - q * stride)) as u8;
                    let at = (p * Q + q) * C;
                    let (y, switches) = (&self.y[at..][..C], &self.switches[at..][..C]);
                    match self.mode {
                        UnpoolMode::Add => receive(y, switches, here, x, |sum, v| sum + v),
                        UnpoolMode::Set => receive(y, switches, here, x, |_, v| v),
                    }
                }
            }
        }
    }
}

/// Merges the values whose switch points `here` into what has arrived before.
#[inline(always)]
fn receive<T: Real>(y: &[T], switches: &[u8], here: u8, x: &mut [T], merge: impl Fn(T, T) -> T) {
    for ((x, &v), &switch) in x.iter_mut().zip(y).zip(switches) {
        *x = select_unpredictable(switch == here, merge(*x, v), *x);
    }
}

/// The windows, of `count` along one axis, that cover position `i`.
#[inline(always)]
fn covering(pool: &Pool, i: usize, count: usize) -> Range<usize> {
    (i + 1).saturating_sub(pool.R).div_ceil(pool.stride)..count.min(i / pool.stride + 1)
}
