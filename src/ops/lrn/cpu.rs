//! Normalisation on the CPU: row by row, vectorised along the channels.
//!
//! The squares of a row stand in a scratch row with zeros on both sides, so the
//! clipped window becomes a sum of n shifted slices without a branch. Sums are
//! taken afresh at each channel, in one order: a sliding sum would drift.
//!
//! `powf` costs more than all the rest, and the exponents in use need none:
//! with r = 1/sqrt(s), s^-0.5 = r and s^-0.75 = r sqrt(r).

use rayon::prelude::*;

use super::{Lrn, LrnOp};
use crate::error::Result;
use crate::ops::cpu::{lead, lead_mut};
use crate::ops::{Cpu, Real};

/// Rows that one task takes at a time: enough to pay for fetching the scratch rows.
const ROWS: usize = 64;

impl<T: Real> LrnOp for Cpu<T> {
    fn lrn_forward(
        &mut self,
        lrn: &Lrn,
        rows: usize,
        C: usize,
        a: &Vec<T>,     // (rows, C)
        b: &mut Vec<T>, // (rows, C)
    ) -> Result<()> {
        let a = lead("lrn", "a", a, rows * C)?;
        let b = lead_mut("lrn", "b", b, rows * C)?;
        let (arch, window) = (self.arch, Window::new(lrn, C));
        let block = (ROWS * C).max(1);
        b.par_chunks_mut(block).zip(a.par_chunks(block)).for_each_init(
            || Scratch::new(&window),
            |scratch, (b, a)| {
                arch.dispatch(
                    #[inline(always)]
                    || {
                        if lrn.beta == 0.75 {
                            forward(&window, a, b, scratch, power_three_quarters);
                        } else if lrn.beta == 0.5 {
                            forward(&window, a, b, scratch, power_half);
                        } else if lrn.beta == 1.0 {
                            forward(&window, a, b, scratch, power_one);
                        } else {
                            let exponent = T::of(-lrn.beta);
                            forward(&window, a, b, scratch, |s| s.powf(exponent));
                        }
                    },
                );
            },
        );
        Ok(())
    }

    fn lrn_backward(
        &mut self,
        lrn: &Lrn,
        rows: usize,
        C: usize,
        a: &Vec<T>,      // (rows, C)
        db: &Vec<T>,     // (rows, C)
        da: &mut Vec<T>, // (rows, C)
    ) -> Result<()> {
        let a = lead("lrn", "a", a, rows * C)?;
        let db = lead("lrn", "db", db, rows * C)?;
        let da = lead_mut("lrn", "da", da, rows * C)?;
        let (arch, window) = (self.arch, Window::new(lrn, C));
        let block = (ROWS * C).max(1);
        da.par_chunks_mut(block).zip(a.par_chunks(block).zip(db.par_chunks(block))).for_each_init(
            || Scratch::new(&window),
            |scratch, (da, (a, db))| {
                arch.dispatch(
                    #[inline(always)]
                    || {
                        if lrn.beta == 0.75 {
                            backward(&window, a, db, da, scratch, power_three_quarters);
                        } else if lrn.beta == 0.5 {
                            backward(&window, a, db, da, scratch, power_half);
                        } else if lrn.beta == 1.0 {
                            backward(&window, a, db, da, scratch, power_one);
                        } else {
                            let exponent = T::of(-lrn.beta);
                            backward(&window, a, db, da, scratch, |s| s.powf(exponent));
                        }
                    },
                );
            },
        );
        Ok(())
    }
}

#[inline(always)]
fn power_half<T: Real>(s: T) -> T {
    T::of(1.0) / s.sqrt()
}

#[inline(always)]
fn power_three_quarters<T: Real>(s: T) -> T {
    let r = power_half(s);
    r * r.sqrt()
}

#[inline(always)]
fn power_one<T: Real>(s: T) -> T {
    T::of(1.0) / s
}

/// A window's reach, no further than a row of C channels has neighbours, and the constants.
struct Window<T> {
    C: usize,
    /// Channels below its own: floor(n/2).
    below: usize,
    /// Channels above its own: floor((n-1)/2).
    above: usize,
    k: T,
    /// alpha/n, or alpha.
    scale: T,
    /// 2 scale beta, the gradient's factor.
    slope: T,
}

impl<T: Real> Window<T> {
    fn new(lrn: &Lrn, C: usize) -> Self {
        let reach = C.saturating_sub(1);
        Window {
            C,
            below: (lrn.n / 2).min(reach),
            above: ((lrn.n - 1) / 2).min(reach),
            k: T::of(lrn.k),
            scale: T::of(lrn.scale()),
            slope: T::of(2.0 * lrn.scale() * lrn.beta),
        }
    }
}

/// Working rows of one task.
struct Scratch<T> {
    /// Squares with `below` zeros before and `above` behind.
    squares: Vec<T>,
    /// g b / s with `above` zeros before and `below` behind: the mirrored window.
    terms: Vec<T>,
    /// s, then sums of terms.
    s: Vec<T>,
    /// s^-beta.
    power: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(window: &Window<T>) -> Self {
        let padded = vec![T::ZERO; window.below + window.C + window.above];
        let row = vec![T::ZERO; window.C];
        Scratch { squares: padded.clone(), terms: padded, s: row.clone(), power: row }
    }
}

#[inline(always)]
fn forward<T: Real>(window: &Window<T>, a: &[T], b: &mut [T], scratch: &mut Scratch<T>, power: impl Fn(T) -> T) {
    let Scratch { squares, s, .. } = scratch;
    for (a, b) in a.chunks_exact(window.C).zip(b.chunks_exact_mut(window.C)) {
        normaliser(window, a, squares, s);
        for ((b, &a), &s) in b.iter_mut().zip(a).zip(s.iter()) {
            *b = a * power(s);
        }
    }
}

#[inline(always)]
fn backward<T: Real>(
    window: &Window<T>,
    a: &[T],
    db: &[T],
    da: &mut [T],
    scratch: &mut Scratch<T>,
    power: impl Fn(T) -> T,
) {
    let Scratch { squares, terms, s, power: powers } = scratch;
    let C = window.C;
    for ((a, db), da) in a.chunks_exact(C).zip(db.chunks_exact(C)).zip(da.chunks_exact_mut(C)) {
        normaliser(window, a, squares, s);
        let row = &mut terms[window.above..][..C];
        for ((((t, p), &s), &a), &g) in row.iter_mut().zip(powers.iter_mut()).zip(s.iter()).zip(a).zip(db) {
            *p = power(s);
            *t = g * a * *p / s;
        }
        window_sums(window, terms, s);
        for ((((da, &a), &g), &p), &sum) in da.iter_mut().zip(a).zip(db).zip(powers.iter()).zip(s.iter()) {
            *da = g * p - window.slope * a * sum;
        }
    }
}

/// s = k + scale times the window's sum of squares, for one row.
#[inline(always)]
fn normaliser<T: Real>(window: &Window<T>, a: &[T], squares: &mut [T], s: &mut [T]) {
    for (square, &a) in squares[window.below..].iter_mut().zip(a) {
        *square = a * a;
    }
    window_sums(window, squares, s);
    for s in s.iter_mut() {
        *s = window.k + window.scale * *s;
    }
}

/// `sums[c]` = padded[c] + ... over the whole window, in ascending order.
#[inline(always)]
fn window_sums<T: Real>(window: &Window<T>, padded: &[T], sums: &mut [T]) {
    sums.copy_from_slice(&padded[..window.C]);
    for tap in 1..=window.below + window.above {
        for (sum, &v) in sums.iter_mut().zip(&padded[tap..]) {
            *sum += v;
        }
    }
}
