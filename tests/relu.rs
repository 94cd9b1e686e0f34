use zfnet::ops::relu::{ReluOp, ReluRule};
use zfnet::ops::{Cpu, Real};

use crate::common::compare::{assert_refused, assert_same_bits};
use crate::common::finite_difference::assert_gradient;
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
