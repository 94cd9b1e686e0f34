//! The limits of a CPU, all threads of the current rayon pool together.

use std::hint::black_box;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{ATTEMPTS, Roof, RoofOp};
use crate::error::Result;
use crate::ops::{Cpu, Real};

/// Rounds of multiply-adds in one attempt: some 20 ms with AVX-512.
const ROUNDS: usize = 3 << 20;

/// Elements of each array that is streamed, of 4 bytes: beyond any cache.
const STREAMED: usize = 64 << 20;

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 16;

impl<T: Real> RoofOp for Cpu<T> {
    fn roof(&mut self) -> Result<Roof> {
        Ok(Roof { flops: arithmetic::<T>(self.arch), bandwidth: bandwidth() })
    }
}

/// Peak of multiply-adds in T on all threads, in floating-point operations a second.
fn arithmetic<T: Real>(arch: Arch) -> f64 {
    let attempt = || {
        let start = Instant::now();
        let done: usize = rayon::broadcast(|_| arch.dispatch(MulAdds::<T>(std::marker::PhantomData))).iter().sum();
        2.0 * done as f64 / start.elapsed().as_secs_f64()
    };
    (0..ATTEMPTS).map(|_| attempt()).fold(0.0, f64::max)
}

/// Independent sums in registers, each multiplied and added to in every round;
/// gives how many multiply-adds that were.
struct MulAdds<T>(std::marker::PhantomData<T>);

impl<T: Real> WithSimd for MulAdds<T> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        // As many as hide the latency of the instruction, and fit beside two operands.
        if S::REGISTER_COUNT >= 32 { rounds::<T, S, 24>(simd) } else { rounds::<T, S, 12>(simd) }
    }
}

#[inline(always)]
fn rounds<T: Real, S: Simd, const SUMS: usize>(simd: S) -> usize {
    // Converges to 1, whatever the number of rounds: no infinities, no denormals.
    // Each is opaque to the compiler, which would else compute equal sums once.
    let half = || T::splat(simd, T::of(black_box(0.5)));
    let (a, b) = (half(), half());
    let mut sums: [T::Lanes<S>; SUMS] = std::array::from_fn(|_| half());
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = T::mul_add(simd, *sum, a, b);
        }
    }
    black_box(sums);
    ROUNDS * SUMS * (std::mem::size_of::<T::Lanes<S>>() / std::mem::size_of::<T>())
}

/// Bytes read and written a second by y += x.
fn bandwidth() -> f64 {
    let x = vec![1f32; STREAMED];
    let mut y = vec![0f32; STREAMED];
    let mut attempt = || {
        let start = Instant::now();
        y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
        });
        black_box(&mut y);
        3.0 * (STREAMED * std::mem::size_of::<f32>()) as f64 / start.elapsed().as_secs_f64()
    };
    (0..ATTEMPTS).map(|_| attempt()).fold(0.0, f64::max)
}
