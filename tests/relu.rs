use zfnet::device::Device;
use zfnet::ops::relu::{ReluOp, ReluRule};
use zfnet::ops::{Cpu, Gpu, Real, Role};

use crate::common::compare::{assert_refused, assert_same_bits};
use crate::common::finite_difference::assert_gradient;
use crate::common::gpu::{SLACK, filled, on_gpus, poisoned, representable, written};
use crate::common::on_cpu;
use crate::common::values::{dot, normal};

fn backward<T: Real>(rule: ReluRule, y: &Vec<T>, signal: &[T]) -> Vec<T> {
    let mut signal = signal.to_vec();
    Cpu::new().relu_backward(rule, y.len(), y, &mut signal).unwrap();
    signal
}

/// Every combination of signs, over more elements than a task takes at a time.
fn rules<T: Real>() {
    let len = 40_001;
    let y: Vec<T> = normal::<T>(1, len).into_iter().map(|v| if v < T::ZERO { T::ZERO } else { v }).collect();
    let signal = normal::<T>(2, len);
    let expected = |keep: fn(T, T) -> bool| -> Vec<T> {
        y.iter().zip(&signal).map(|(y, r)| if keep(*y, *r) { *r } else { T::ZERO }).collect()
    };
    assert_same_bits("gradient", &backward(ReluRule::Gradient, &y, &signal), &expected(|y, _| y > T::ZERO));
    assert_same_bits("deconvnet", &backward(ReluRule::Deconvnet, &y, &signal), &expected(|_, r| r > T::ZERO));
    assert_same_bits("guided", &backward(ReluRule::Guided, &y, &signal), &expected(|y, r| y > T::ZERO && r > T::ZERO));
}

fn nan_travels_on<T: Real>() {
    let (nan, one) = (T::of(f64::NAN), T::of(1.0));
    assert!(backward(ReluRule::Deconvnet, &vec![T::ZERO], &[nan])[0].is_nan());
    assert!(backward(ReluRule::Gradient, &vec![one], &[nan])[0].is_nan());
    assert!(backward(ReluRule::Guided, &vec![nan], &[nan])[0].is_nan());
    assert_eq!(backward(ReluRule::Gradient, &vec![T::ZERO], &[nan])[0], T::ZERO, "stopped by y = 0");
}

on_cpu!(rules, nan_travels_on);

const RULES: [ReluRule; 3] = [ReluRule::Gradient, ReluRule::Deconvnet, ReluRule::Guided];

/// Bits as the CPU's, zeros' signs and NaNs included, for lengths that fill no vector, one, or not the last.
fn gpu_has_the_bits_of_the_cpu(gpu: &mut Gpu<impl Device>) {
    for (rule, len) in RULES.into_iter().flat_map(|rule| [1, 8, 1027].map(|len| (rule, len))) {
        let mut y = representable(gpu, &normal::<f32>(1, len));
        let mut signal = representable(gpu, &normal::<f32>(2, len));
        y.iter_mut().for_each(|v| *v = v.max(0.0));
        (0..len).step_by(13).for_each(|i| signal[i] = -0.0);
        let expected = backward(rule, &y, &signal);
        signal.resize(len + SLACK, f32::NAN);
        let (y, mut signal) = (filled(gpu, Role::Activation, &y), filled(gpu, Role::Activation, &signal));
        gpu.relu_backward(rule, len, &y, &mut signal).unwrap();
        assert_same_bits(&format!("{rule:?}, {len}"), &written(gpu, &signal, len), &expected);
    }
}

fn nan_travels_on_on_a_gpu(gpu: &mut Gpu<impl Device>) {
    let mut backward = |rule, y: [f32; 9], signal: [f32; 9]| {
        let signal = [&signal[..], &[f32::NAN; SLACK]].concat();
        let (y, mut signal) = (filled(gpu, Role::Activation, &y), filled(gpu, Role::Activation, &signal));
        gpu.relu_backward(rule, 9, &y, &mut signal).unwrap();
        written(gpu, &signal, 9)
    };
    let (nan, one, zero) = ([f32::NAN; 9], [1.0; 9], [0.0; 9]);
    let travels = |signal: Vec<f32>| assert!(signal.iter().all(|v| v.is_nan()), "{signal:?}");
    travels(backward(ReluRule::Deconvnet, zero, nan));
    travels(backward(ReluRule::Gradient, one, nan));
    travels(backward(ReluRule::Guided, nan, nan));
    assert_eq!(backward(ReluRule::Gradient, nan, one), one, "y is NaN, the signal passes as on the CPU");
    assert_eq!(backward(ReluRule::Gradient, zero, nan), zero, "stopped by y = 0");
}

fn gpu_refuses_short_buffers(gpu: &mut Gpu<impl Device>) {
    let (y, mut signal) = (poisoned(gpu, Role::Activation, 4), poisoned(gpu, Role::Activation, 3));
    assert_refused(gpu.relu_backward(ReluRule::Guided, 10, &y, &mut signal), "relu", "y needs 10 elements");
    assert_refused(gpu.relu_backward(ReluRule::Guided, 9, &y, &mut signal), "relu", "signal needs 9 elements");
}

on_gpus!(gpu_has_the_bits_of_the_cpu, nan_travels_on_on_a_gpu, gpu_refuses_short_buffers);

#[test]
fn gradient() {
    // Away from the kink by more than the stencil reaches.
    let x: Vec<f64> = normal::<f64>(3, 101).iter().map(|v| v + 0.01_f64.copysign(*v)).collect();
    let relu = |x: &[f64]| -> Vec<f64> { x.iter().map(|v| v.max(0.0)).collect() };
    let r = normal::<f64>(4, x.len());
    assert_gradient("relu", &x, &backward(ReluRule::Gradient, &relu(&x), &r), |x| dot(&r, &relu(x)));
}

#[test]
fn only_the_leading_elements_are_used() {
    let (y, mut signal) = (vec![0.0_f32; 9], vec![1.0_f32; 9]);
    Cpu::new().relu_backward(ReluRule::Gradient, 7, &y, &mut signal).unwrap();
    assert_eq!(signal, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    let refusal = Cpu::new().relu_backward(ReluRule::Gradient, 10, &y, &mut vec![0.0; 10]);
    assert_refused(refusal, "relu", "y needs 10 elements but its buffer holds 9");
    let refusal = Cpu::new().relu_backward(ReluRule::Gradient, 9, &y, &mut vec![0.0; 8]);
    assert_refused(refusal, "relu", "signal needs 9 elements but its buffer holds 8");
}
