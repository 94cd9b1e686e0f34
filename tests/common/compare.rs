//! Comparisons. They fail on NaN, on a missing element and on a wrong length.

use bytemuck::NoUninit;
use zfnet::error::{Error, Result};
use zfnet::ops::Real;

/// `|actual - expected| <= abs + rel |expected|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub abs: f64,
    pub rel: f64,
}

impl Tolerance {
    /// Nothing may differ.
    pub const EXACT: Tolerance = Tolerance { abs: 0.0, rel: 0.0 };

    pub fn rel(rel: f64) -> Self {
        Tolerance { abs: 0.0, rel }
    }

    pub fn abs(abs: f64) -> Self {
        Tolerance { abs, rel: 0.0 }
    }

    /// As much, and `abs` more.
    pub fn and_abs(self, abs: f64) -> Self {
        Tolerance { abs: self.abs + abs, ..self }
    }
}

/// The relative error of one rounding in T: 2^-24 or 2^-53.
pub fn roundoff<T: Real>() -> f64 {
    if size_of::<T>() == 4 { f64::from(f32::EPSILON) / 2.0 } else { f64::EPSILON / 2.0 }
}

/// Every element within `tolerance`; reports the worst one.
#[track_caller]
pub fn assert_close<T: Real>(what: &str, actual: &[T], expected: &[f64], tolerance: Tolerance) {
    assert_close_by(what, actual, expected, |i| tolerance.abs + tolerance.rel * expected[i].abs());
}

/// Every element within its own `bound(index)`; reports the worst one.
#[track_caller]
pub fn assert_close_by<T: Real>(what: &str, actual: &[T], expected: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of elements");
    // NaN counts as the worst of all.
    let excess = |i: usize| {
        let over = (actual[i].f64() - expected[i]).abs() - bound(i);
        if over.is_nan() { f64::INFINITY } else { over }
    };
    if let Some(worst) = (0..actual.len()).max_by(|a, b| excess(*a).total_cmp(&excess(*b))) {
        let (a, e, bound) = (actual[worst].f64(), expected[worst], bound(worst));
        let diff = (a - e).abs();
        assert!(diff <= bound, "{what}: element {worst} is {a:e}, expected {e:e}; {diff:e} apart, {bound:e} allowed");
    }
}

/// Bit for bit the same, so that 0 differs from -0 and a NaN equals itself.
#[track_caller]
pub fn assert_same_bits<E: NoUninit>(what: &str, a: &[E], b: &[E]) {
    assert_eq!(a.len(), b.len(), "{what}: number of elements");
    let differs = a.iter().zip(b).position(|(a, b)| bytemuck::bytes_of(a) != bytemuck::bytes_of(b));
    assert_eq!(differs, None, "{what}: index of the first element whose bits differ");
}

/// The same bits from one thread and from three.
#[track_caller]
pub fn assert_thread_independent<E: NoUninit + Send>(what: &str, run: impl Fn() -> Vec<E> + Sync) {
    let on = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&run);
    assert_same_bits(what, &on(1), &on(3));
}

/// A refusal by operation `op` that says `reason`.
#[track_caller]
pub fn assert_refused<V>(result: Result<V>, op: &str, reason: &str) {
    match result {
        Err(Error::Shape { op: by, reason: because }) => {
            assert!(by == op && because.contains(reason), "refused by {by}: {because}; expected {op}: ..{reason}..");
        }
        Err(other) => panic!("expected a refusal by {op}, got: {other}"),
        Ok(_) => panic!("expected a refusal by {op} because of: {reason}"),
    }
}

#[test]
fn comparisons_can_fail() {
    let fails = |f: fn()| std::panic::catch_unwind(f).is_err();
    assert!(fails(|| assert_close("nan", &[f64::NAN], &[1.0], Tolerance::rel(1.0))));
    assert!(fails(|| assert_close("nan expected", &[1.0], &[f64::NAN], Tolerance::abs(1.0))));
    assert!(fails(|| assert_close("one too many", &[1.0, 2.0], &[1.0], Tolerance::abs(1.0))));
    assert!(fails(|| assert_close("just over", &[0.0, 1.5, 0.0], &[0.0, 1.0, 0.0], Tolerance::abs(0.499))));
    assert!(fails(|| assert_same_bits("sign of zero", &[0.0_f32], &[-0.0])));
    assert!(fails(|| assert_refused(Ok(()), "pool", "")));
    assert_close("just under", &[1.5], &[1.0], Tolerance { abs: 0.25, rel: 0.25 });
}
