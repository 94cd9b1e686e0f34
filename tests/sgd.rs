use zfnet::error::Result;
use zfnet::ops::sgd::{SgdOp, SgdTensor};
use zfnet::ops::{Cpu, Real, StepScalars};

use crate::common::compare::{
    Tolerance, assert_close, assert_refused, assert_same_bits, assert_thread_independent, roundoff,
};
use crate::common::goldens::cases;
use crate::common::on_cpu;
use crate::common::values::{cast, dot, normal};

/// One step of the first `len` values of one tensor, all of which decay.
fn update<T: Real>(scalars: &StepScalars, len: usize, g: &Vec<T>, v: &mut Vec<T>, w: &mut Vec<T>) -> Result<()> {
    let tensor = SgdTensor { K: len, M: 1, decays: true, rms_clip: None, g, v, w };
    Cpu::new().sgd_step(scalars, &mut [tensor])
}

/// Three steps, weights and momentum after each. In the case whose rate drops,
/// Caffe's form of momentum would give other weights: the test tells them apart.
fn goldens<T: Real>() {
    let mut told_apart = false;
    for case in cases("sgd").unwrap_or_default() {
        let mut w = case.values::<T>("p0");
        let mut v = vec![T::ZERO; w.len()];
        for (j, lr) in (1..).zip(case.numbers("lr")) {
            let step = StepScalars {
                step: 0,
                lr,
                momentum: case.number("momentum"),
                weight_decay: case.number("weight_decay"),
            };
            update(&step, w.len(), &case.values(&format!("g{j}")), &mut v, &mut w).unwrap();
            let (p, velocity) = (format!("p{j}"), format!("v{j}"));
            // Each step adds four roundings of values no larger than the largest.
            let tolerance = |name: &str| {
                let roundings = 4.0 * f64::from(j) * roundoff::<T>();
                case.tolerance::<T>(name).and_abs(roundings * case.largest(name).max(1.0))
            };
            assert_close(&format!("{}/{p}", case.name), &w, &case.tensor(&p).values, tolerance(&p));
            // PyTorch keeps no buffer if there is no momentum.
            if step.momentum != 0.0 {
                let expected = &case.tensor(&velocity).values;
                assert_close(&format!("{}/{velocity}", case.name), &v, expected, tolerance(&velocity));
            }
            let caffe = &case.tensor(&format!("{p}_caffe")).values;
            let apart = w.iter().zip(caffe).any(|(w, c)| (w.f64() - c).abs() > 1e-3);
            assert_eq!(apart, j == 3 && case.numbers("lr")[2] != case.numbers("lr")[0], "{}/{p}_caffe", case.name);
            told_apart |= apart;
        }
    }
    assert!(told_apart || cases("sgd").is_none(), "no case drops the rate");
}

/// The formula, over more elements than a task takes at a time.
fn one_step<T: Real>() {
    let len = 40_001;
    let (g, v0, w0) = (normal::<T>(1, len), normal::<T>(2, len), normal::<T>(3, len));
    let (mut v, mut w) = (v0.clone(), w0.clone());
    let step = StepScalars { step: 0, lr: 0.5, momentum: 0.75, weight_decay: 0.125 };
    update(&step, len - 1, &g, &mut v, &mut w).unwrap();
    let expected = (0..len - 1).map(|i| {
        let v = 0.75 * v0[i].f64() + g[i].f64() + 0.125 * w0[i].f64();
        (v, w0[i].f64() - 0.5 * v)
    });
    let (expected_v, expected_w): (Vec<f64>, Vec<f64>) = expected.unzip();
    // The terms are below 8; four roundings each.
    let tolerance = Tolerance::abs(4.0 * 8.0 * roundoff::<T>());
    assert_close("v", &v[..len - 1], &expected_v, tolerance);
    assert_close("w", &w[..len - 1], &expected_w, tolerance);
    assert_same_bits("past the end", &[v[len - 1], w[len - 1]], &[v0[len - 1], w0[len - 1]]);
}

/// A step at rate 0: only the clip changes anything.
fn clip<T: Real>(radius: f64, K: usize, w: &[T]) -> Vec<T> {
    let (g, mut v, mut w) = (vec![T::ZERO; w.len()], vec![T::ZERO; w.len()], w.to_vec());
    let M = w.len() / K;
    let tensor = SgdTensor { K, M, decays: false, rms_clip: Some(radius), g: &g, v: &mut v, w: &mut w };
    Cpu::new().sgd_step(&StepScalars::default(), &mut [tensor]).unwrap();
    w
}

fn norm<T: Real>(w: &[T]) -> f64 {
    w.iter().map(|v| v.f64() * v.f64()).sum::<f64>().sqrt()
}

/// The paper's radius on the filters of conv1 to conv5: the caps on their L2 norms.
fn rms_clip_caps<T: Real>() {
    let filters = [(7 * 7 * 3, 1.2124), (5 * 5 * 96, 4.8990), (3 * 3 * 256, 4.8000), (3 * 3 * 384, 5.8788)];
    for (M, cap) in filters {
        let w = normal::<T>(M as u32, 3 * M);
        let clipped = clip(0.1, 3, &w);
        for (before, after) in w.chunks(M).zip(clipped.chunks(M)) {
            assert_close("norm", &[norm(after)], &[cap], Tolerance::abs(0.5e-4));
            let (before, after) = (cast::<T, f64>(before), cast::<T, f64>(after));
            let cosine = dot(&before, &after) / (norm(&before) * norm(&after));
            // The three sums round as well, at most once a term.
            let tolerance = Tolerance::abs(4.0 * roundoff::<T>() + 3.0 * M as f64 * roundoff::<f64>());
            assert_close("direction", &[cosine], &[1.0], tolerance);
        }
        // In f32 a clipped filter misses the radius by less than its elements can
        // show. In f64 the sum's own roundings (eight interleaved ones) remain.
        let again = clip(0.1, 3, &clipped);
        let roundings = if size_of::<T>() == 4 { 0.0 } else { M as f64 / 8.0 + 12.0 };
        assert_close("idempotent", &again, &cast(&clipped), Tolerance::rel(roundings * roundoff::<T>()));
    }
}

/// Only filters above the radius change: others keep their bits, also exactly at it.
fn rms_clip_keeps_what_is_within<T: Real>() {
    let M = 19;
    let small = normal::<T>(1, M).into_iter().map(|v| v * T::of(0.01));
    let exact = [T::of(0.5), T::of(-0.5)].into_iter().cycle().take(M);
    let large = normal::<T>(2, M).into_iter().map(|v| v + T::of(3.0));
    let w: Vec<T> = small.chain(exact).chain(large).collect();
    let clipped = clip(0.5, 3, &w);
    assert_same_bits("within", &clipped[..2 * M], &w[..2 * M]);
    let (rms, expected) = ([norm(&clipped[2 * M..]) / (M as f64).sqrt()], [0.5]);
    assert_close("rms", &rms, &expected, Tolerance::rel(2.0 * roundoff::<T>()));
    assert!(clip(0.5, 1, &[T::of(f64::NAN), T::ZERO])[0].is_nan(), "NaN is not hidden");
}

on_cpu!(goldens, one_step, rms_clip_caps, rms_clip_keeps_what_is_within);

#[test]
fn does_not_depend_on_threads() {
    let len = 70_001;
    let (g, w) = (normal::<f32>(1, len), normal::<f32>(2, len));
    assert_thread_independent("w", || {
        let (mut v, mut w) = (vec![0.0; len], w.clone());
        let step = StepScalars { step: 0, lr: 0.01, momentum: 0.9, weight_decay: 5e-4 };
        (0..2).for_each(|_| update(&step, len, &g, &mut v, &mut w).unwrap());
        w
    });
    assert_thread_independent("clipped", || clip(0.1, 7, &w[..7 * 9001]));
}

#[test]
fn short_buffers_are_refused() {
    let step = StepScalars { step: 0, lr: 0.01, momentum: 0.9, weight_decay: 0.0 };
    for (short, name) in [(0, "g"), (1, "v"), (2, "w")] {
        let [g, mut v, mut w] = [0, 1, 2].map(|i| vec![0.0_f32; 11 - usize::from(i == short)]);
        let refusal = update(&step, 11, &g, &mut v, &mut w);
        assert_refused(refusal, "sgd", &format!("{name} needs 11 elements but its buffer holds 10"));
    }
}
