use zfnet::device::Device;
use zfnet::ops::keep::{ANY, KeepOp};
use zfnet::ops::{Cpu, Gpu, Real, Role};
use zfnet::tensor::Extent;

use crate::common::compare::{assert_refused, assert_same_bits};
use crate::common::gpu::{filled, filled_ints, on_gpus, poisoned, representable, written};
use crate::common::on_cpu;
use crate::common::values::{normal, poison};

/// More maps than a block has threads in one, an only place in the other.
const BLOBS: [Extent; 2] = [Extent { H: 3, W: 2, C: 259 }, Extent { H: 1, W: 1, C: 37 }];

/// One unit (the first, the last, one between), maps, rows and columns, all, and none.
fn units(blob: Extent) -> Vec<[i32; 3]> {
    let [P, Q, K] = [blob.H, blob.W, blob.C].map(|v| v as i32 - 1);
    vec![
        [0, 0, 0],
        [P, Q, K],
        [P / 2, Q / 2, K / 2],
        [ANY, ANY, 5],
        [P, ANY, K],
        [ANY, 0, ANY],
        [ANY, ANY, ANY],
        [P + 1, 0, 0],
        [0, 0, K + 1],
    ]
}

/// What the formula says.
fn expected<T: Real>(blob: Extent, y: &[T]) -> Vec<T> {
    let units = units(blob);
    let matches = |unit: i32, i: usize| unit == ANY || unit == i as i32;
    let at = |(i, &y): (usize, &T)| {
        let (k, q, p) = (i % blob.C, i / blob.C % blob.W, i / blob.C / blob.W % blob.H);
        let unit = units[i / blob.len()];
        if matches(unit[0], p) && matches(unit[1], q) && matches(unit[2], k) { y } else { T::ZERO }
    };
    y.iter().enumerate().map(at).collect()
}

fn matches_formula<T: Real>() {
    for blob in BLOBS {
        let units = units(blob);
        let y = normal::<T>(1, units.len() * blob.len());
        let mut signal = poison::<T>(y.len() + 3);
        Cpu::new().keep(blob, units.len(), &y, &units.concat(), &mut signal).unwrap();
        assert!(signal.split_off(y.len()).iter().all(|v| v.is_nan()), "wrote past the end");
        assert_same_bits("signal", &signal, &expected(blob, &y));
    }
}

on_cpu!(matches_formula);

fn gpu_matches_formula(gpu: &mut Gpu<impl Device>) {
    for blob in BLOBS {
        let units = units(blob);
        let y = representable(gpu, &normal::<f32>(1, units.len() * blob.len()));
        let expected = expected(blob, &y);
        let (y, at) = (filled(gpu, Role::Activation, &y), filled_ints(gpu, &units.concat()));
        let mut signal = poisoned(gpu, Role::Activation, expected.len());
        gpu.keep(blob, units.len(), &y, &at, &mut signal).unwrap();
        assert_same_bits("signal", &written(gpu, &signal, expected.len()), &expected);
    }
}

fn gpu_refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    let whole = [37, 3, 37];
    for (short, reason) in ["y needs 37", "units needs 12", "signal needs 37"].iter().enumerate() {
        let [y, units, signal] = [0, 1, 2].map(|i| whole[i] - usize::from(i == short));
        let [y, mut signal] = [y, signal].map(|len| filled(gpu, Role::Activation, &vec![0.0; len]));
        let units = filled_ints(gpu, &vec![0; units]);
        assert_refused(gpu.keep(BLOBS[1], 1, &y, &units, &mut signal), "keep", reason);
    }
}

on_gpus!(gpu_matches_formula, gpu_refuses_short_buffers);

#[test]
fn wrong_arguments_are_refused() {
    let run = |y: usize, units: usize, signal: usize| {
        Cpu::<f32>::new().keep(BLOBS[1], 1, &vec![0.0; y], &vec![0; units], &mut vec![0.0; signal])
    };
    run(37, 3, 37).unwrap();
    assert_refused(run(36, 3, 37), "keep", "y needs 37 elements");
    assert_refused(run(37, 2, 37), "keep", "units needs 3 elements");
    assert_refused(run(37, 3, 36), "keep", "signal needs 37 elements");
}
