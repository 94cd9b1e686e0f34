//! Where test values come from.

use zfnet::ops::Real;
use zfnet::philox::{Purpose, Stream};

/// `len` standard normal draws, the same for every T: rounded to f32, then widened.
/// Each `lane` is a different sequence.
pub fn normal<T: Real>(lane: u32, len: usize) -> Vec<T> {
    let stream = Stream::new(20_130_901, Purpose::Test, lane);
    (0..len as u64).map(|i| T::of(f64::from(stream.normal(0, i) as f32))).collect()
}

/// The numbers 0..len in an order drawn from `lane`, times `spacing`: no two closer than that.
pub fn distinct<T: Real>(lane: u32, len: usize, spacing: f64) -> Vec<T> {
    let draws = normal::<f64>(lane, len);
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by(|a, b| draws[*a].total_cmp(&draws[*b]));
    order.into_iter().map(|rank| T::of(rank as f64 * spacing)).collect()
}

/// Whole numbers in -range..=range: sums and products of a few thousand are exact in f64.
pub fn whole(lane: u32, len: usize, range: u32) -> Vec<f64> {
    let stream = Stream::new(7, Purpose::Test, lane);
    (0..len as u64).map(|i| f64::from(stream.below(0, i, 2 * range + 1)) - f64::from(range)).collect()
}

/// A buffer of NaN: an operation that leaves an element out, or reads what it should write, is caught.
pub fn poison<T: Real>(len: usize) -> Vec<T> {
    vec![T::of(f64::NAN); len]
}

/// The same values in another type.
pub fn cast<A: Real, B: Real>(values: &[A]) -> Vec<B> {
    values.iter().map(|v| B::of(v.f64())).collect()
}

/// Scalar product.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Every instruction set of this machine that the CPU backend can use.
pub fn archs() -> Vec<pulp::Arch> {
    #[cfg(target_arch = "x86_64")]
    {
        let v3 = pulp::x86::V3::try_new().map(pulp::Arch::V3);
        let v4 = pulp::x86::V4::try_new().map(pulp::Arch::V4);
        [Some(pulp::Arch::Scalar), v3, v4].into_iter().flatten().collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    vec![pulp::Arch::Scalar, pulp::Arch::new()]
}
