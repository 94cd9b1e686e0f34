//! Derivatives by differences.
//!
//! ```text
//! f'(x) = [8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))] / 12h + h^4 f^(5) / 30
//! ```
//!
//! The rounding error eps |f| / h and the truncation balance near h = eps^(1/5), where
//! both are about 1e-12 for a smooth function whose argument is about 1.

use crate::error::Result;

/// eps^(1/5) in f64.
pub const STEP: f64 = 7e-4;

/// The derivative of `f` at `x`, by the five-point stencil with [`STEP`]. Where `f` has
/// kinks (ReLU, pooling) x +- 2 steps must cross none.
///
/// # Errors
/// Those of `f`.
pub fn derivative(x: f64, f: impl FnMut(f64) -> Result<f64>) -> Result<f64> {
    derivative_with(x, STEP, f)
}

/// The same with a step of `step`.
///
/// # Errors
/// Those of `f`.
pub fn derivative_with(x: f64, step: f64, mut f: impl FnMut(f64) -> Result<f64>) -> Result<f64> {
    let mut slope = |h: f64| {
        // Divide by the step as it came out in floating point.
        let (above, below) = (x + h, x - h);
        Ok((f(above)? - f(below)?) / (above - below))
    };
    Ok((4.0 * slope(step)? - slope(2.0 * step)?) / 3.0)
}
