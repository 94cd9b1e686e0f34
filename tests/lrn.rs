use proptest::prelude::*;
use zfnet::device::Device;
use zfnet::ops::lrn::{Lrn, LrnOp};
use zfnet::ops::{Cpu, Gpu, Real, Role};

use crate::common::compare::{
    Tolerance, assert_close, assert_close_by, assert_refused, assert_thread_independent, roundoff,
};
use crate::common::finite_difference::assert_gradient;
use crate::common::goldens::cases;
use crate::common::gpu::{filled, on_gpus, poisoned, representable, store_roundoff, written};
use crate::common::on_cpu;
use crate::common::values::{cast, dot, normal, poison};

const SLACK: usize = 5;

fn forward<T: Real>(lrn: &Lrn, rows: usize, C: usize, a: &Vec<T>) -> Vec<T> {
    let mut b = poison::<T>(rows * C + SLACK);
    Cpu::new().lrn_forward(lrn, rows, C, a, &mut b).unwrap();
    assert!(b.split_off(rows * C).iter().all(|v| v.is_nan()), "wrote past the end");
    b
}

fn backward<T: Real>(lrn: &Lrn, rows: usize, C: usize, a: &Vec<T>, db: &Vec<T>) -> Vec<T> {
    let mut da = poison::<T>(rows * C + SLACK);
    Cpu::new().lrn_backward(lrn, rows, C, a, db, &mut da).unwrap();
    assert!(da.split_off(rows * C).iter().all(|v| v.is_nan()), "wrote past the end");
    da
}

fn goldens<T: Real>() {
    for case in cases("lrn").unwrap_or_default() {
        let [N, C, H, W] = case.tensor("x").shape4();
        let lrn = Lrn::new(case.count("n"), case.number("k"), case.number("alpha"), case.number("beta"), true).unwrap();
        let (a, db) = (case.channels_last::<T>("x"), case.channels_last::<T>("gy"));
        let b = forward(&lrn, N * H * W, C, &a);
        assert_close(&case.name, &b, &case.channels_last("y"), case.tolerance::<T>("y"));
        let da = backward(&lrn, N * H * W, C, &a, &db);
        assert_close(&case.name, &da, &case.channels_last("gx"), case.tolerance::<T>("gx"));
    }
}

on_cpu!(goldens);

/// From the definition; backward through the full Jacobian of a row.
pub mod naive {
    use super::*;

    fn window(lrn: &Lrn, C: usize, c: usize) -> std::ops::Range<usize> {
        let (below, above) = (lrn.n / 2, (lrn.n - 1) / 2);
        c.saturating_sub(below)..(c + above + 1).min(C)
    }

    fn s(lrn: &Lrn, a: &[f64], c: usize) -> f64 {
        let scale = if lrn.divide_alpha { lrn.alpha / lrn.n as f64 } else { lrn.alpha };
        lrn.k + scale * window(lrn, a.len(), c).map(|j| a[j] * a[j]).sum::<f64>()
    }

    pub fn forward(lrn: &Lrn, C: usize, a: &[f64]) -> Vec<f64> {
        a.chunks(C).flat_map(|a| (0..C).map(|c| a[c] * s(lrn, a, c).powf(-lrn.beta))).collect()
    }

    /// da, and for each component the sum of its terms' magnitudes: what rounding errors are relative to.
    pub fn backward(lrn: &Lrn, C: usize, a: &[f64], db: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let scale = if lrn.divide_alpha { lrn.alpha / lrn.n as f64 } else { lrn.alpha };
        let (mut da, mut magnitude) = (vec![], vec![]);
        for (a, g) in a.chunks(C).zip(db.chunks(C)) {
            for i in 0..C {
                let direct = g[i] * s(lrn, a, i).powf(-lrn.beta);
                // db[j]/da[i] for the windows of j that hold i.
                let through = (0..C)
                    .filter(|j| window(lrn, C, *j).contains(&i))
                    .map(|j| -g[j] * a[j] * lrn.beta * s(lrn, a, j).powf(-lrn.beta - 1.0) * 2.0 * scale * a[i]);
                da.push(direct + through.clone().sum::<f64>());
                magnitude.push(direct.abs() + through.map(f64::abs).sum::<f64>());
            }
        }
        (da, magnitude)
    }
}

/// Roundings that a result can collect, each at most one `roundoff` of its
/// magnitude: n + 4 in s, which the exponent multiplies (beta + 1 in backward);
/// that of the exponent itself, times ln s, below 11 here; five in the power and
/// its factors, n in the second sum, four around it.
fn roundings(lrn: &Lrn, C: usize) -> f64 {
    let n = lrn.n.min(2 * C) as f64;
    (lrn.beta + 1.0) * (n + 4.0) + 11.0 * lrn.beta + n + 9.0
}

fn agrees_with_definition<T: Real>(lrn: &Lrn, rows: usize, C: usize, lane: u32) {
    // Large enough for the sum of squares to matter beside k.
    let a: Vec<T> = normal::<T>(lane, rows * C).into_iter().map(|v| v * T::of(4.0)).collect();
    let db = normal::<T>(lane + 1, rows * C);
    let (a64, db64) = (cast::<T, f64>(&a), cast::<T, f64>(&db));
    let allowed = roundings(lrn, C) * roundoff::<T>();
    // The definition in f64 rounds as well.
    let allowed = if size_of::<T>() == 8 { 2.0 * allowed } else { allowed };
    assert_close("b", &forward(lrn, rows, C, &a), &naive::forward(lrn, C, &a64), Tolerance::rel(allowed));
    let (expected, magnitude) = naive::backward(lrn, C, &a64, &db64);
    assert_close_by("da", &backward(lrn, rows, C, &a, &db), &expected, |i| allowed * magnitude[i]);
}

proptest! {
    #[test]
    fn agrees_with_plain_loops(
        (n, C, rows) in (1_usize..=12, 1_usize..=37, 1_usize..=5),
        beta in prop_oneof![Just(0.5), Just(0.75), Just(1.0), 0.0..1.5],
        (k, alpha, divide) in (0.5..4.0, 0.0..2.0, any::<bool>()),
        lane in 0_u32..1000,
    ) {
        let lrn = Lrn::new(n, k, alpha, beta, divide).unwrap();
        agrees_with_definition::<f64>(&lrn, rows, C, lane);
        agrees_with_definition::<f32>(&lrn, rows, C, lane);
    }
}

/// The relative error of the kernels' results. A GPU's rsqrtf and powf err by up to 2 and 9 units in the
/// last place, in each of up to three powers.
pub fn gpu_error(gpu: &Gpu<impl Device>, lrn: &Lrn, C: usize) -> f64 {
    (roundings(lrn, C) + 3.0 * 18.0) * roundoff::<f32>() + store_roundoff(gpu)
}

/// The kernels against the definition.
fn gpu_agrees_with_definition(gpu: &mut Gpu<impl Device>) {
    for (n, C, rows, beta) in [(5, 45, 7, 0.75), (5, 3, 5, 0.75), (6, 33, 1, 0.5), (2, 1, 13, 1.3)] {
        let lrn = Lrn::new(n, 2.0, 0.3, beta, n == 5).unwrap();
        let spread = |lane, by: f32| normal::<f32>(lane, rows * C).into_iter().map(|v| v * by).collect::<Vec<_>>();
        let (a, db) = (representable(gpu, &spread(1, 4.0)), representable(gpu, &spread(2, 1.0)));
        let allowed = gpu_error(gpu, &lrn, C);
        let (expected_da, magnitude) = naive::backward(&lrn, C, &cast(&a), &cast(&db));
        let expected_b = naive::forward(&lrn, C, &cast(&a));

        let [a, db] = [a, db].map(|v| filled(gpu, Role::Activation, &v));
        let [mut b, mut da] = [0; 2].map(|_| poisoned(gpu, Role::Activation, rows * C));
        gpu.lrn_forward(&lrn, rows, C, &a, &mut b).unwrap();
        gpu.lrn_backward(&lrn, rows, C, &a, &db, &mut da).unwrap();
        assert_close("b", &written(gpu, &b, rows * C), &expected_b, Tolerance::rel(allowed));
        assert_close_by("da", &written(gpu, &da, rows * C), &expected_da, |i| allowed * magnitude[i]);
    }
}

on_gpus!(gpu_agrees_with_definition);

#[test]
fn gradient() {
    let (rows, C) = (3, 7);
    for (n, beta, divide) in [
        (5, 0.75, true),
        (4, 0.75, false),
        (3, 0.5, true),
        (9, 1.0, true),
        (2, 0.3, false),
        (1, 0.75, true),
        (15, 1.2, true),
    ] {
        let lrn = Lrn::new(n, 1.5, 0.8, beta, divide).unwrap();
        let (a, r) = (normal::<f64>(n as u32, rows * C), normal::<f64>(100, rows * C));
        let da = backward(&lrn, rows, C, &a, &r);
        let what = format!("n {n}, beta {beta}");
        assert_gradient(&what, &a, &da, |a| dot(&r, &forward(&lrn, rows, C, &a.to_vec())));
    }
}

/// Five equal activations of 10: the published value, with alpha divided by n and without.
#[test]
fn five_equal_activations() {
    for (divide_alpha, expected) in [(true, 5.92384), (false, 5.83693)] {
        let lrn = Lrn { divide_alpha, ..Lrn::default() };
        let b = forward(&lrn, 1, 5, &vec![10.0_f64; 5]);
        assert_close("centre", &b[2..3], &[expected], Tolerance::abs(0.5e-5));
        assert!(b[0] > b[1] && b[1] > b[2], "fewer neighbours at the border, less suppression: {b:?}");
    }
}

/// An even window reaches one channel further down than up.
#[test]
fn an_even_window_reaches_down() {
    let lrn = Lrn::new(2, 1.0, 1.0, 1.0, false).unwrap();
    // s = 1 + a[c-1]^2 + a[c]^2.
    let b = forward(&lrn, 1, 3, &vec![1.0_f64, 0.0, 2.0]);
    assert_close("b", &b, &[0.5, 0.0, 0.4], Tolerance::rel(2.0 * roundoff::<f64>()));
}

#[test]
fn does_not_depend_on_threads() {
    // More rows than a task takes at a time.
    let (lrn, rows, C) = (Lrn::default(), 301, 19);
    let (a, db) = (normal::<f32>(1, rows * C), normal::<f32>(2, rows * C));
    assert_thread_independent("b", || forward(&lrn, rows, C, &a));
    assert_thread_independent("da", || backward(&lrn, rows, C, &a, &db));
}

#[test]
fn nan_is_not_hidden() {
    let mut a = normal::<f32>(1, 2 * 9);
    a[4] = f32::NAN;
    let b = forward(&Lrn::default(), 2, 9, &a);
    let hit: Vec<usize> = (0..18).filter(|i| b[*i].is_nan()).collect();
    assert_eq!(hit, [2, 3, 4, 5, 6], "the windows that hold channel 4 of row 0");
}

#[test]
fn wrong_constants_are_refused() {
    assert_refused(Lrn::new(0, 2.0, 1e-4, 0.75, true), "lrn", "n is 0");
    for k in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_refused(Lrn::new(5, k, 1e-4, 0.75, true), "lrn", "must be positive");
    }
    for (alpha, beta) in [(-1e-4, 0.75), (1e-4, -0.75), (f64::NAN, 0.75), (1e-4, f64::INFINITY)] {
        assert_refused(Lrn::new(5, 2.0, alpha, beta, true), "lrn", "must be finite and not negative");
    }
}

#[test]
fn short_buffers_are_refused() {
    let (lrn, rows, C) = (Lrn::default(), 3, 7);
    let buffers = |short: usize| [0, 1, 2].map(|i| vec![0.0_f32; rows * C - usize::from(i == short)]);
    for (short, name) in [(0, "a"), (1, "b")] {
        let [a, mut b, _] = buffers(short);
        let refusal = Cpu::new().lrn_forward(&lrn, rows, C, &a, &mut b);
        assert_refused(refusal, "lrn", &format!("{name} needs 21 elements but its buffer holds 20"));
    }
    for (short, name) in [(0, "a"), (1, "db"), (2, "da")] {
        let [a, db, mut da] = buffers(short);
        assert_refused(Cpu::new().lrn_backward(&lrn, rows, C, &a, &db, &mut da), "lrn", &format!("{name} needs 21"));
    }
}
