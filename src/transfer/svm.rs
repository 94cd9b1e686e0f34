//! Loss of one-against-rest linear support vector machines: the squared hinge, a machine for
//! each class.
//!
//! ```text
//! l = sum_c h_c^2,   h_c = max(0, 1 - s_c z_c),   s_c = 1 for c = t, -1 for the others
//! dl/dz_c = -2 s_c h_c
//! ```
//!
//! The machines share nothing, so their sum is least where each of them is.

/// The loss of one image of class `t`; its derivatives go to `dz`.
pub fn loss(
    z: &[f64], // (C)
    t: usize,
    dz: &mut [f64], // (C)
) -> f64 {
    let mut sum = 0.0;
    for (c, (dz, &z)) in dz.iter_mut().zip(z).enumerate() {
        let s = if c == t { 1.0 } else { -1.0 };
        let h = (1.0 - s * z).max(0.0);
        *dz = -2.0 * s * h;
        sum += h * h;
    }
    sum
}
