//! Max pooling and unpooling on the CPU, vectorised along the channels.
//!
//! A task is one row of the result. A block of channels runs through all its
//! taps (or windows) with the running result in registers, so that every result
//! is written once and the input's overlap between windows is read from cache.
//!
//! A NaN beats every number and stays the maximum of its window (of several the
//! last is recorded): pooling must not hide that a value above it has diverged.

use std::ops::Range;

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
            let (n, p) = (i / pool.P, i % pool.P);
            let x = &x[n * image..][..image];
            arch.dispatch(
                #[inline(always)]
                || pool_row(pool, p, x, y, switches),
            );
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
            let (n, h) = (i / pool.H, i % pool.H);
            let y = &y[n * map..][..map];
            let switches = &switches[n * map..][..map];
            arch.dispatch(
                #[inline(always)]
                || match mode {
                    UnpoolMode::Add => unpool_row(pool, h, y, switches, x, |sum, v| sum + v),
                    UnpoolMode::Set => unpool_row(pool, h, y, switches, x, |_, v| v),
                },
            );
        });
        Ok(())
    }
}

/// Row `p` of the pooled map.
#[inline(always)]
fn pool_row<T: Real>(
    pool: &Pool,
    p: usize,
    x: &[T],             // (H, W, C)
    y: &mut [T],         // (Q, C)
    switches: &mut [u8], // (Q, C)
) {
    let C = pool.C;
    let h = p * pool.stride;
    let rows = pool.R.min(pool.H - h);
    for (q, (y, switches)) in y.chunks_exact_mut(C).zip(switches.chunks_exact_mut(C)).enumerate() {
        let w = q * pool.stride;
        let columns = pool.R.min(pool.W - w);
        let window = &x[(h * pool.W + w) * C..];
        let mut c = 0;
        c = pool_channels::<T, 16>(pool, window, rows, columns, c, y, switches);
        c = pool_channels::<T, 4>(pool, window, rows, columns, c, y, switches);
        pool_channels::<T, 1>(pool, window, rows, columns, c, y, switches);
    }
}

/// One window, as many blocks of `L` channels from `c` on as there are; returns
/// the first channel left over.
#[inline(always)]
fn pool_channels<T: Real, const L: usize>(
    pool: &Pool,
    window: &[T], // x from the window's first element on
    rows: usize,
    columns: usize,
    mut c: usize,
    y: &mut [T],         // (C)
    switches: &mut [u8], // (C)
) -> usize {
    while c + L <= pool.C {
        let mut best = [T::ZERO; L];
        best.copy_from_slice(&window[c..c + L]);
        let mut found = [0_u32; L];
        for r in 0..rows {
            for s in 0..columns {
                let at = (r * pool.W + s) * pool.C + c;
                let tap = &window[at..at + L];
                let code = (r * pool.R + s) as u32;
                for l in 0..L {
                    let wins = (tap[l] > best[l]) | tap[l].is_nan();
                    best[l] = if wins { tap[l] } else { best[l] };
                    found[l] = if wins { code } else { found[l] };
                }
            }
        }
        y[c..c + L].copy_from_slice(&best);
        for (switch, found) in switches[c..c + L].iter_mut().zip(found) {
            *switch = found as u8;
        }
        c += L;
    }
    c
}

/// The windows along one axis that cover position `i`.
fn covering(i: usize, pool: &Pool, windows: usize) -> Range<usize> {
    (i + 1).saturating_sub(pool.R).div_ceil(pool.stride)..windows.min(i / pool.stride + 1)
}

/// Row `h` of the unpooled image; `merge(so far, new)` decides where windows overlap.
#[inline(always)]
fn unpool_row<T: Real>(
    pool: &Pool,
    h: usize,
    y: &[T],         // (P, Q, C)
    switches: &[u8], // (P, Q, C)
    x: &mut [T],     // (W, C)
    merge: impl Fn(T, T) -> T + Copy,
) {
    let rows = covering(h, pool, pool.P);
    for (w, x) in x.chunks_exact_mut(pool.C).enumerate() {
        let columns = covering(w, pool, pool.Q);
        let mut c = 0;
        c = unpool_channels::<T, 16>(pool, (h, w), (&rows, &columns), y, switches, c, x, merge);
        c = unpool_channels::<T, 4>(pool, (h, w), (&rows, &columns), y, switches, c, x, merge);
        unpool_channels::<T, 1>(pool, (h, w), (&rows, &columns), y, switches, c, x, merge);
    }
}

/// One position, as many blocks of `L` channels from `c` on as there are;
/// returns the first channel left over.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn unpool_channels<T: Real, const L: usize>(
    pool: &Pool,
    (h, w): (usize, usize),
    (rows, columns): (&Range<usize>, &Range<usize>),
    y: &[T],         // (P, Q, C)
    switches: &[u8], // (P, Q, C)
    mut c: usize,
    x: &mut [T], // (C)
    merge: impl Fn(T, T) -> T + Copy,
) -> usize {
    while c + L <= pool.C {
        let mut sum = [T::ZERO; L];
        for p in rows.clone() {
            for q in columns.clone() {
                let at = (p * pool.Q + q) * pool.C + c;
                let (y, switches) = (&y[at..at + L], &switches[at..at + L]);
                let here = ((h - p * pool.stride) * pool.R + (w - q * pool.stride)) as u8;
                for l in 0..L {
                    sum[l] = if switches[l] == here { merge(sum[l], y[l]) } else { sum[l] };
                }
            }
        }
        x[c..c + L].copy_from_slice(&sum);
        c += L;
    }
    c
}
