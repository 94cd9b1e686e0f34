//! Gradients against finite differences, in f64.
//!
//! The loss of an operation is a random projection of its output, `<r, f(x)>`;
//! its gradient by x is what backward returns for an upstream gradient r. Each coordinate's
//! derivative is the library's own, [`zfnet::check::difference`], which errs by about 1e-12:
//! five orders below the tolerance.

use zfnet::check::difference::{STEP, derivative_with};

/// Largest difference allowed, relative to the largest component of the gradient.
pub const TOLERANCE: f64 = 1e-7;

/// Checks every component of `gradient` = d loss / dx at `x`.
#[track_caller]
pub fn assert_gradient(what: &str, x: &[f64], gradient: &[f64], loss: impl FnMut(&[f64]) -> f64) {
    assert_gradient_at(what, x, gradient, 0..x.len(), STEP, loss);
}

/// Checks the components at `coordinates` only. Where the loss has kinks (ReLU,
/// pooling), `step` must be small enough that x +- 2 steps crosses none.
#[track_caller]
pub fn assert_gradient_at(
    what: &str,
    x: &[f64],
    gradient: &[f64],
    coordinates: impl IntoIterator<Item = usize>,
    step: f64,
    mut loss: impl FnMut(&[f64]) -> f64,
) {
    assert_eq!(x.len(), gradient.len(), "{what}: components of the gradient");
    let mut moved = x.to_vec();
    let (mut scale, mut worst) = (0.0_f64, (0.0, 0, 0.0, 0.0));
    for i in coordinates {
        let numeric = derivative_with(x[i], step, |at| {
            moved[i] = at;
            Ok(loss(&moved))
        })
        .unwrap();
        moved[i] = x[i];
        let error = (numeric - gradient[i]).abs();
        assert!(error.is_finite(), "{what}: component {i} is {}, numerically {numeric}", gradient[i]);
        scale = scale.max(numeric.abs()).max(gradient[i].abs());
        if error >= worst.0 {
            worst = (error, i, gradient[i], numeric);
        }
    }
    let (error, i, analytic, numeric) = worst;
    assert!(scale > 0.0, "{what}: the gradient is 0 everywhere, which checks nothing");
    assert!(
        error <= TOLERANCE * scale,
        "{what}: component {i} is {analytic:e}, numerically {numeric:e}; relative error {:e}",
        error / scale
    );
}

#[test]
fn a_wrong_gradient_is_noticed() {
    let x = [0.3_f64, -1.2, 2.5];
    let loss = |x: &[f64]| x[0].sin() * x[1].exp() + x[2].powi(3);
    let right = [x[0].cos() * x[1].exp(), x[0].sin() * x[1].exp(), 3.0 * x[2] * x[2]];
    assert_gradient("by hand", &x, &right, loss);
    for i in 0..3 {
        let mut wrong = right;
        wrong[i] += 3e-7 * right[2];
        assert!(std::panic::catch_unwind(|| assert_gradient("wrong", &x, &wrong, loss)).is_err());
        wrong[i] = f64::NAN;
        assert!(std::panic::catch_unwind(|| assert_gradient("nan", &x, &wrong, loss)).is_err());
    }
}
