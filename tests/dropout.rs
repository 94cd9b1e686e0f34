use zfnet::device::Device;
use zfnet::ops::dropout::{Dropout, DropoutOp};
use zfnet::ops::{Cpu, Gpu, Real, Role, StepScalars, Storage};
use zfnet::philox::{Purpose, Stream};

use crate::common::compare::{Tolerance, assert_close, assert_refused, assert_same_bits, assert_thread_independent};
use crate::common::finite_difference::assert_gradient;
use crate::common::goldens::cases;
use crate::common::gpu::{SLACK, filled, on_gpus, representable, written};
use crate::common::on_cpu;
use crate::common::values::{dot, normal};

const SEED: u64 = 20_130_901;
const LAYER: u32 = 6;

fn apply<T: Real>(dropout: &Dropout, step: u64, x: &[T]) -> Vec<T> {
    let mut x = x.to_vec();
    Cpu::new().dropout(dropout, &StepScalars { step, ..StepScalars::default() }, x.len(), &mut x).unwrap();
    x
}

/// Which elements are kept, read from the operation itself.
fn mask(dropout: &Dropout, step: u64, len: usize) -> Vec<bool> {
    apply(dropout, step, &vec![1.0_f32; len]).iter().map(|v| *v != 0.0).collect()
}

/// Where our mask keeps what PyTorch's kept, the results are the same, forward
/// and backward; what either drops is 0. Steps follow until every element that
/// PyTorch kept has been compared.
fn goldens<T: Real>() {
    for case in cases("dropout").unwrap_or_default() {
        let dropout = Dropout::new(case.number("p"), SEED, LAYER).unwrap();
        let ours = [dropout.scale()];
        assert_close("scale", &ours, &[case.number("scale")], Tolerance::rel(f64::EPSILON));
        let kept: Vec<bool> = case.tensor("mask").values.iter().map(|m| *m != 0.0).collect();
        let mut compared = vec![false; kept.len()];
        for step in 0..64 {
            let own = mask(&dropout, step, kept.len());
            for (input, output) in [("x", "y"), ("gy", "gx")] {
                let result = apply(&dropout, step, &case.values::<T>(input));
                let mut expected = case.tensor(output).values.clone();
                for i in (0..kept.len()).filter(|i| own[*i] != kept[*i]) {
                    let scaled = case.tensor(input).values[i] * case.number("scale");
                    expected[i] = if own[i] { scaled } else { 0.0 };
                }
                assert_close(&case.name, &result, &expected, case.tolerance::<T>(output));
            }
            (0..kept.len()).for_each(|i| compared[i] |= own[i] || !kept[i]);
        }
        assert!(compared.iter().all(|c| *c), "{}: an element was never kept in 64 steps", case.name);
        assert_eq!(case.tensor("y_eval").values, case.tensor("x").values, "evaluation uses the layer as it is");
    }
}

/// The documented rule, one word at a time; sizes that do not fill a block or a task.
fn follows_the_stream<T: Real>() {
    for (p, len) in [(0.5, 40_003), (0.3, 1), (0.9, 1022), (0.0, 517)] {
        let dropout = Dropout::new(p, SEED, LAYER).unwrap();
        let x = normal::<T>(1, len);
        let stream = Stream::new(SEED, Purpose::Dropout, LAYER);
        let kept = |e: usize| f64::from(stream.word(9, e as u64)) >= (p * 4_294_967_296.0).floor();
        let scale = T::of(1.0 / (1.0 - p));
        let expected: Vec<T> = (0..len).map(|e| if kept(e) { x[e] * scale } else { T::ZERO }).collect();
        assert_same_bits("y", &apply(&dropout, 9, &x), &expected);
    }
}

on_cpu!(goldens, follows_the_stream);

/// The CPU's mask, and its bits; in bf16 the product in f32, rounded once. Lengths that fill no block, one, or
/// not the last; a step of more than 32 bits.
fn gpu_draws_the_mask_of_the_cpu(gpu: &mut Gpu<impl Device>) {
    for (p, len, step) in [(0.5, 1027, 9), (0.3, 3, 5 + (1 << 32)), (0.9, 512, u64::MAX), (0.0, 517, 0)] {
        let dropout = Dropout::new(p, SEED, LAYER).unwrap();
        let mut x = representable(gpu, &normal::<f32>(1, len));
        let expected = representable(gpu, &apply(&dropout, step, &x));
        x.resize(len + SLACK, f32::NAN);
        let mut x = filled(gpu, Role::Activation, &x);
        let mut scalars = gpu.alloc_scalars().unwrap();
        gpu.set_scalars(&StepScalars { step, ..StepScalars::default() }, &mut scalars).unwrap();
        gpu.dropout(&dropout, &scalars, len, &mut x).unwrap();
        assert_same_bits(&format!("p {p}, {len} elements"), &written(gpu, &x, len), &expected);
        assert_refused(gpu.dropout(&dropout, &scalars, len + SLACK + 1, &mut x), "dropout", "x needs");
    }
}

on_gpus!(gpu_draws_the_mask_of_the_cpu);

#[test]
fn keeps_the_expectation() {
    let len = 200_000;
    for p in [0.1, 0.5, 0.75] {
        let kept = mask(&Dropout::new(p, SEED, LAYER).unwrap(), 3, len).iter().filter(|k| **k).count();
        // Four standard deviations of a binomial count.
        let tolerance = 4.0 * (len as f64 * p * (1.0 - p)).sqrt();
        assert_close("kept", &[kept as f64], &[len as f64 * (1.0 - p)], Tolerance::abs(tolerance));
        let mean = apply(&Dropout::new(p, SEED, LAYER).unwrap(), 3, &vec![1.0; len]).iter().sum::<f64>() / len as f64;
        assert_close("mean", &[mean], &[1.0], Tolerance::abs(tolerance / (len as f64 * (1.0 - p))));
    }
}

/// Forward and backward of a step draw one mask; another step, layer or seed draws another.
#[test]
fn the_mask_belongs_to_seed_layer_and_step() {
    let len = 1001;
    let of = |seed, layer, step| mask(&Dropout::new(0.5, seed, layer).unwrap(), step, len);
    let first = of(SEED, LAYER, 5);
    assert_eq!(of(SEED, LAYER, 5), first);
    for other in [of(SEED + 1, LAYER, 5), of(SEED, LAYER + 1, 5), of(SEED, LAYER, 6), of(SEED, LAYER, 5 + (1 << 32))] {
        let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
        // Independent masks agree on half, give or take four standard deviations (63).
        assert!((same as f64 - 500.5).abs() <= 63.0, "{same} of {len} agree");
    }
    assert_eq!(of(SEED, LAYER, 5)[..77], first[..77], "an element's fate does not depend on the length");
}

#[test]
fn gradient() {
    let dropout = Dropout::new(0.4, SEED, LAYER).unwrap();
    let (x, r) = (normal::<f64>(1, 37), normal::<f64>(2, 37));
    assert_gradient("dropout", &x, &apply(&dropout, 2, &r), |x| dot(&r, &apply(&dropout, 2, x)));
}

#[test]
fn does_not_depend_on_threads() {
    let (dropout, x) = (Dropout::new(0.5, SEED, LAYER).unwrap(), normal::<f32>(1, 70_001));
    assert_thread_independent("y", || apply(&dropout, 1, &x));
}

#[test]
fn wrong_arguments_are_refused() {
    for p in [1.0, -0.1, 2.0, f64::NAN] {
        assert_refused(Dropout::new(p, SEED, LAYER), "dropout", "is not in [0, 1)");
    }
    let dropout = Dropout::new(0.5, SEED, LAYER).unwrap();
    let mut x = vec![1.0_f32; 12];
    assert_refused(Cpu::new().dropout(&dropout, &StepScalars::default(), 13, &mut x), "dropout", "x needs 13 elements");
    Cpu::new().dropout(&dropout, &StepScalars::default(), 0, &mut x).unwrap();
    assert_eq!(x, [1.0; 12], "only the leading elements are used");
}
