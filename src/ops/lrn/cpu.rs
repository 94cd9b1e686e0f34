//! Normalisation on the CPU: row by row, vectorised along the channels.
//!
//! The squares of a row stand in a scratch row with zeros on both sides, so the
//! clipped window becomes a sum of n shifted slices without a branch. Sums are
//! taken afresh at each channel, in one order: a sliding sum would drift.
//!
//! `powf` costs more than all the rest, and the exponents in use need none:
//! with r = 1/sqrt(s), s^-0.5 = r and s^-0.75 = r sqrt(r).

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{Lrn, LrnOp};
use crate::error::Result;
use crate::ops::cpu::{lead, lead_mut};
use crate::ops::{Cpu, Real};

/// Rows that one task takes at a time: enough to pay for fetching its scratch rows.
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
        match lrn.beta {
            0.5 => forward(arch, &window, power_half, a, b),
            0.75 => forward(arch, &window, power_three_quarters, a, b),
            1.0 => forward(arch, &window, power_one, a, b),
            beta => forward(arch, &window, |s| s.powf(T::of(-beta)), a, b),
        }
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
        match lrn.beta {
            0.5 => backward(arch, &window, power_half, a, db, da),
            0.75 => backward(arch, &window, power_three_quarters, a, db, da),
            1.0 => backward(arch, &window, power_one, a, db, da),
            beta => backward(arch, &window, |s| s.powf(T::of(-beta)), a, db, da),
        }
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

/// Spreads the rows over threads; `power` computes s^-beta.
fn forward<T: Real, F: Fn(T) -> T + Sync>(arch: Arch, window: &Window<T>, power: F, a: &[T], b: &mut [T]) {
    let (block, power) = ((ROWS * window.C).max(1), &power);
    b.par_chunks_mut(block).zip(a.par_chunks(block)).for_each_init(
        || Scratch::new(window),
        |scratch, (b, a)| arch.dispatch(Forward { window, power, scratch, a, b }),
    );
}

/// Spreads the rows over threads; `power` computes s^-beta.
fn backward<T: Real, F: Fn(T) -> T + Sync>(arch: Arch, window: &Window<T>, power: F, a: &[T], db: &[T], da: &mut [T]) {
    let (block, power) = ((ROWS * window.C).max(1), &power);
    da.par_chunks_mut(block).zip(a.par_chunks(block)).zip(db.par_chunks(block)).for_each_init(
        || Scratch::new(window),
        |scratch, ((da, a), db)| arch.dispatch(Backward { window, power, scratch, a, db, da }),
    );
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

    /// s = k + scale times the window's sum of squares, for one row.
    #[inline(always)]
    fn normaliser(&self, a: &[T], squares: &mut [T], s: &mut [T]) {
        for (square, &a) in squares[self.below..].iter_mut().zip(a) {
            *square = a * a;
        }
        self.sums(squares, s);
        s.iter_mut().for_each(|s| *s = self.k + self.scale * *s);
    }

    /// `sums[c]` = padded[c] + padded[c + 1] + ... over the whole window, in that order.
    #[inline(always)]
    fn sums(&self, padded: &[T], sums: &mut [T]) {
        sums.copy_from_slice(&padded[..self.C]);
        for tap in 1..=self.below + self.above {
            for (sum, &v) in sums.iter_mut().zip(&padded[tap..]) {
                *sum += v;
            }
        }
    }
}

/// Working rows of one task.
struct Scratch<T> {
    /// Squares, with `below` zeros before and `above` behind.
    squares: Vec<T>,
    /// g b / s, with `above` zeros before and `below` behind: the mirrored window.
    terms: Vec<T>,
    /// s, then sums of terms.
    s: Vec<T>,
    /// s^-beta.
    powers: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(window: &Window<T>) -> Self {
        let padded = vec![T::ZERO; window.below + window.C + window.above];
        let row = vec![T::ZERO; window.C];
        Scratch { squares: padded.clone(), terms: padded, s: row.clone(), powers: row }
    }
}

/// Some rows, forward.
struct Forward<'a, T, F> {
    window: &'a Window<T>,
    power: &'a F,
    scratch: &'a mut Scratch<T>,
    a: &'a [T],
    b: &'a mut [T],
}

impl<T: Real, F: Fn(T) -> T> WithSimd for Forward<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Forward { window, power, scratch: Scratch { squares, s, .. }, a, b } = self;
        for (a, b) in a.chunks_exact(window.C).zip(b.chunks_exact_mut(window.C)) {
            window.normaliser(a, squares, s);
            for ((b, &a), &s) in b.iter_mut().zip(a).zip(s.iter()) {
                *b = a * power(s);
            }
        }
    }
}

/// Some rows, backward.
struct Backward<'a, T, F> {
    window: &'a Window<T>,
    power: &'a F,
    scratch: &'a mut Scratch<T>,
    a: &'a [T],
    db: &'a [T],
    da: &'a mut [T],
}

impl<T: Real, F: Fn(T) -> T> WithSimd for Backward<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Backward { window, power, scratch: Scratch { squares, terms, s, powers }, a, db, da } = self;
        let C = window.C;
        for ((a, db), da) in a.chunks_exact(C).zip(db.chunks_exact(C)).zip(da.chunks_exact_mut(C)) {
            window.normaliser(a, squares, s);
            let inner = &mut terms[window.above..][..C];
            for ((((t, p), &s), &a), &g) in inner.iter_mut().zip(powers.iter_mut()).zip(s.iter()).zip(a).zip(db) {
                *p = power(s);
                *t = g * a * *p / s;
            }
            window.sums(terms, s);
            for ((((da, &a), &g), &p), &sum) in da.iter_mut().zip(a).zip(db).zip(powers.iter()).zip(s.iter()) {
                *da = g * p - window.slope * a * sum;
            }
        }
    }
}
