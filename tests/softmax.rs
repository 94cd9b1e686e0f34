use zfnet::device::Device;
use zfnet::ops::softmax::{LossSums, SoftmaxOp};
use zfnet::ops::{Cpu, Gpu, Real, Role};

use crate::common::compare::{
    Tolerance, assert_close, assert_refused, assert_same_bits, assert_thread_independent, roundoff,
};
use crate::common::finite_difference::assert_gradient;
use crate::common::goldens::cases;
use crate::common::gpu::{filled, filled_ints, on_gpus, poisoned, representable, store_roundoff, written};
use crate::common::on_cpu;
use crate::common::values::{cast, normal, poison, whole};

/// Sums, and dz.
fn loss<T: Real>(C: usize, z: &Vec<T>, labels: &Vec<i32>) -> (LossSums, Vec<T>) {
    let N = labels.len();
    let mut dz = poison::<T>(N * C + 3);
    let [mut sums, mut without] = [LossSums::default(); 2];
    Cpu::new().softmax_loss(N, C, z, labels, Some(&mut dz), &mut sums).unwrap();
    assert!(dz.split_off(N * C).iter().all(|v| v.is_nan()), "wrote past the end");
    Cpu::new().softmax_loss(N, C, z, labels, None, &mut without).unwrap();
    assert_same_bits("loss without the gradient", &[without.loss], &[sums.loss]);
    assert_eq!((without.top1, without.top5), (sums.top1, sums.top5));
    (sums, dz)
}

fn softmax<T: Real>(N: usize, C: usize, z: &Vec<T>) -> Vec<T> {
    let mut p = poison::<T>(N * C);
    Cpu::new().softmax(N, C, z, &mut p).unwrap();
    p
}

fn goldens<T: Real>() {
    for case in cases("ce").unwrap_or_default() {
        let &[N, C] = case.tensor("z").shape.as_slice() else { panic!("{}: shape of z", case.name) };
        let z = case.values::<T>("z");
        let labels: Vec<i32> = case.tensor("target").values.iter().map(|t| *t as i32).collect();
        let check = |name: &str, values: &[f64]| {
            assert_close(
                &format!("{}/{name}", case.name),
                values,
                &case.tensor(name).values,
                case.tolerance::<T>(name),
            );
        };
        let (sums, dz) = loss(C, &z, &labels);
        check("loss_sum", &[sums.loss]);
        check("loss_mean", &[sums.loss / N as f64]);
        let what = format!("{}/gz_mean", case.name);
        assert_close(&what, &dz, &case.tensor("gz_mean").values, case.tolerance::<T>("gz_mean"));
        let what = format!("{}/softmax", case.name);
        assert_close(&what, &softmax(N, C, &z), &case.tensor("softmax").values, case.tolerance::<T>("softmax"));
        // One image at a time: its own loss, and the gradient of the sum.
        let singles = z.chunks(C).zip(&labels).map(|(z, t)| loss(C, &z.to_vec(), &vec![*t]));
        let (losses, rows): (Vec<f64>, Vec<Vec<T>>) = singles.map(|(sums, dz)| (sums.loss, dz)).unzip();
        check("per_sample", &losses);
        let what = format!("{}/gz_sum", case.name);
        assert_close(&what, &rows.concat(), &case.tensor("gz_sum").values, case.tolerance::<T>("gz_sum"));
    }
}

/// Logits of +-1e4 overflow an exponential, and must not.
fn extreme_logits<T: Real>() {
    let z: Vec<T> = [1e4, -1e4, 0.0, -1e4, -1e4, 1e4].map(T::of).to_vec();
    let (sums, dz) = loss(3, &z, &vec![1, 2]);
    assert_eq!((sums.loss, sums.top1, sums.top5), (20_000.0, 1, 2));
    assert_close("dz", &dz, &[0.5, -0.5, 0.0, 0.0, 0.0, 0.0], Tolerance::EXACT);
    assert_close("p", &softmax(2, 3, &z), &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0], Tolerance::EXACT);
}

/// An untrained network knows nothing: loss ln C.
fn equal_logits<T: Real>() {
    let (sums, dz) = loss(1000, &vec![T::of(3.25); 2000], &vec![0, 999]);
    assert_close("loss", &[sums.loss / 2.0], &[6.9078], Tolerance::abs(0.5e-4));
    assert_eq!((sums.top1, sums.top5), (1, 1), "ties count the first class as larger");
    let gradient = |i: usize| (0.001 - f64::from(i == 0 || i == 1999)) / 2.0;
    let expected: Vec<f64> = (0..2000).map(gradient).collect();
    assert_close("dz", &dz, &expected, Tolerance { rel: 2.0 * roundoff::<T>(), abs: 1e-15 });
}

on_cpu!(goldens, extreme_logits, equal_logits);

/// Sums, and dz, from a GPU; twice, and once without the gradient: the same bits.
fn gpu_loss(gpu: &mut Gpu<impl Device>, C: usize, z: &[f32], labels: &[i32]) -> (LossSums, Vec<f32>) {
    let N = labels.len();
    let (z, labels) = (filled(gpu, Role::Activation, z), filled_ints(gpu, labels));
    let mut run = |with_gradient: bool| {
        let mut dz = poisoned(gpu, Role::Activation, N * C);
        let mut tally = gpu.alloc_tally().unwrap();
        gpu.softmax_loss(N, C, &z, &labels, with_gradient.then_some(&mut dz), &mut tally).unwrap();
        let posted = gpu.post_tally(&tally).unwrap();
        (gpu.read_tally(posted).unwrap(), written(gpu, &dz, N * C))
    };
    let ((sums, dz), (again, dz_again), (without, untouched)) = (run(true), run(true), run(false));
    assert_same_bits("dz", &dz, &dz_again);
    for other in [again, without] {
        assert_same_bits("loss", &[other.loss], &[sums.loss]);
        assert_eq!((other.top1, other.top5), (sums.top1, sums.top5));
    }
    assert!(untouched.iter().all(|v| v.is_nan()));
    (sums, dz)
}

fn gpu_softmax(gpu: &mut Gpu<impl Device>, N: usize, C: usize, z: &[f32]) -> Vec<f32> {
    let z = filled(gpu, Role::Activation, z);
    let mut p = poisoned(gpu, Role::Activation, N * C);
    gpu.softmax(N, C, &z, &mut p).unwrap();
    written(gpu, &p, N * C)
}

/// Half a unit in the last place of f32, then of bf16 where results are stored so.
fn stored(gpu: &Gpu<impl Device>) -> f64 {
    roundoff::<f32>() + store_roundoff(gpu) * 1.01
}

/// All is computed in f64. exp and log err by a unit in the last place, a sum of C terms by C half units, so L
/// and the logarithm of a probability by less than this.
fn log_error(C: usize) -> f64 {
    (C as f64 + 8.0) * roundoff::<f64>()
}

/// Against the CPU in f64: random logits, and whole ones with many ties.
fn gpu_agrees_with_oracle(gpu: &mut Gpu<impl Device>) {
    for (N, C) in [(1, 7), (5, 33), (67, 11), (3, 1003)] {
        let random = representable(gpu, &normal::<f32>(1, N * C).iter().map(|v| 3.0 * v).collect::<Vec<_>>());
        let ties = cast::<f64, f32>(&whole(2, N * C, 2));
        let labels: Vec<i32> = (0..N).map(|n| (n * 29 % C) as i32).collect();
        for z in [random, ties] {
            let z64 = cast::<f32, f64>(&z);
            let ((sums, dz), (expected, expected_dz)) = (gpu_loss(gpu, C, &z, &labels), loss(C, &z64, &labels));
            assert_eq!((sums.top1, sums.top5), (expected.top1, expected.top5), "{N} images, {C} classes");
            // N losses, added in any order.
            let allowed = Tolerance { rel: 2.0 * N as f64 * roundoff::<f64>(), abs: 2.0 * N as f64 * log_error(C) };
            assert_close("loss", &[sums.loss], &[expected.loss], allowed);
            let tolerance = Tolerance { rel: stored(gpu), abs: 2.0 * log_error(C) };
            assert_close("dz", &dz, &expected_dz, tolerance);
            let tolerance = Tolerance::rel(stored(gpu) + 2.0 * log_error(C));
            assert_close("p", &gpu_softmax(gpu, N, C, &z), &softmax(N, C, &z64), tolerance);
        }
    }
}

/// As on the CPU: [`extreme_logits`] and [`nan_is_not_hidden`].
fn gpu_takes_any_logits(gpu: &mut Gpu<impl Device>) {
    let z = [1e4, -1e4, 0.0, -1e4, -1e4, 1e4];
    let largest = f64::from(representable(gpu, &[1e4])[0]);
    let (sums, dz) = gpu_loss(gpu, 3, &z, &[1, 2]);
    assert_eq!((sums.loss, sums.top1, sums.top5), (2.0 * largest, 1, 2));
    assert_close("dz", &dz, &[0.5, -0.5, 0.0, 0.0, 0.0, 0.0], Tolerance::EXACT);
    assert_close("p", &gpu_softmax(gpu, 2, 3, &z), &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0], Tolerance::EXACT);
    for (bad, label) in [(f32::NAN, 0), (f32::NAN, 1), (f32::INFINITY, 1), (f32::INFINITY, 2)] {
        let (sums, dz) = gpu_loss(gpu, 3, &[0.0, bad, 1.0, 3.0, 2.0, 1.0], &[label, 0]);
        assert!(!sums.loss.is_finite(), "label {label}: loss {}", sums.loss);
        assert_eq!((sums.top1, sums.top5), (1, 1), "label {label}: the second image alone is right");
        assert!(dz[..3].iter().any(|v| v.is_nan()) && dz[3..].iter().all(|v| v.is_finite()));
    }
    for label in [-1, 3, i32::MAX] {
        assert!(gpu_loss(gpu, 3, &[1.0, 2.0, 3.0], &[label]).0.loss.is_nan(), "label {label}");
    }
}

fn gpu_refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    for (z, labels, dz, reason) in [(9, 2, 10, "z needs 10"), (10, 1, 10, "labels needs 8"), (10, 2, 9, "dz needs 10")]
    {
        let labels = filled_ints(gpu, &vec![0; labels]);
        let [z, mut dz] = [z, dz].map(|len| filled(gpu, Role::Activation, &vec![0.0; len]));
        let mut tally = gpu.alloc_tally().unwrap();
        assert_refused(gpu.softmax_loss(2, 5, &z, &labels, Some(&mut dz), &mut tally), "softmax", reason);
    }
}

on_gpus!(gpu_agrees_with_oracle, gpu_takes_any_logits, gpu_refuses_short_buffers);

#[test]
fn gradient() {
    let (N, C) = (3, 7);
    let (z, labels) = (normal::<f64>(1, N * C), vec![6, 0, 3]);
    let (_, dz) = loss(C, &z, &labels);
    assert_gradient("softmax", &z, &dz, |z| loss(C, &z.to_vec(), &labels).0.loss / N as f64);
}

#[test]
fn rows_of_probabilities_sum_to_one() {
    let (N, C) = (5, 33);
    let z = normal::<f64>(2, N * C);
    let (_, dz) = loss(C, &z, &vec![0, 32, 7, 7, 1]);
    let sums: Vec<f64> = softmax(N, C, &z).chunks(C).chain(dz.chunks(C)).map(|row| row.iter().sum()).collect();
    assert_close("sums", &sums, &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], Tolerance::abs(1e-15));
    let shifted: Vec<f64> = z.iter().map(|v| v + 8192.0).collect();
    assert_close("a constant changes nothing", &softmax(N, C, &shifted), &softmax(N, C, &z), Tolerance::rel(1e-11));
}

#[test]
fn ranks() {
    let row = [0.5, 2.0, 1.0, 2.0, -1.0, 0.75, 0.25_f32];
    // In falling order, the first of equals ahead: 1, 3, 2, 5, 0, 6, 4.
    for (label, place) in [(1, 1), (3, 2), (2, 3), (5, 4), (0, 5), (6, 6), (4, 7)] {
        let (sums, _) = loss(7, &row.to_vec(), &vec![label]);
        assert_eq!((sums.top1, sums.top5), (usize::from(place == 1), usize::from(place <= 5)), "class {label}");
    }
}

/// Whatever the label, an image with such a logit is wrong and the loss tells.
#[test]
fn nan_is_not_hidden() {
    for bad in [f32::NAN, f32::INFINITY] {
        for label in 0..3 {
            let (sums, dz) = loss(3, &vec![0.0, bad, 1.0, 3.0, 2.0, 1.0], &vec![label, 0]);
            assert!(!sums.loss.is_finite(), "label {label}: loss {}", sums.loss);
            assert_eq!((sums.top1, sums.top5), (1, 1), "label {label}: the second image alone is right");
            assert!(dz[..3].iter().any(|v| v.is_nan()) && dz[3..].iter().all(|v| v.is_finite()));
        }
    }
}

#[test]
fn does_not_depend_on_threads() {
    let (N, C) = (37, 51);
    let z = normal::<f32>(3, N * C);
    let labels: Vec<i32> = (0..N as i32).collect();
    assert_thread_independent("loss", || vec![loss(C, &z, &labels).0.loss]);
    assert_thread_independent("dz", || loss(C, &z, &labels).1);
    let one_by_one = z.chunks(C).zip(&labels).map(|(z, t)| loss(C, &z.to_vec(), &vec![*t]).0.loss);
    assert_same_bits("summed in order", &[one_by_one.sum::<f64>()], &[loss(C, &z, &labels).0.loss]);
}

#[test]
fn wrong_arguments_are_refused() {
    let run = |z: usize, labels: Vec<i32>, dz: usize| {
        Cpu::<f32>::new().softmax_loss(2, 5, &vec![0.0; z], &labels, Some(&mut vec![0.0; dz]), &mut LossSums::default())
    };
    run(10, vec![0, 4], 10).unwrap();
    assert_refused(run(10, vec![0, 5], 10), "softmax", "label 5 of image 1 is not in 0..5");
    assert_refused(run(10, vec![-1, 4], 10), "softmax", "label -1 of image 0 is not in 0..5");
    assert_refused(run(9, vec![0, 4], 10), "softmax", "z needs 10 elements");
    assert_refused(run(10, vec![0], 10), "softmax", "labels needs 2 elements");
    assert_refused(run(10, vec![0, 4], 9), "softmax", "dz needs 10 elements");
    assert_refused(
        Cpu::<f32>::new().softmax(2, 5, &vec![0.0; 10], &mut vec![0.0; 9]),
        "softmax",
        "p needs 10 elements",
    );
}
