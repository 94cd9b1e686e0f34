//! Loss of multinomial logistic regression.
//!
//! ```text
//! l = -z_t + ln sum_c e^z_c,   dl/dz_c = softmax(z)_c - [c = t]
//! ```

/// The loss of one image of class `t`; its derivatives go to `dz`.
pub fn loss(
    z: &[f64], // (C)
    t: usize,
    dz: &mut [f64], // (C)
) -> f64 {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for (dz, &z) in dz.iter_mut().zip(z) {
        *dz = (z - max).exp();
        sum += *dz;
    }
    dz.iter_mut().for_each(|dz| *dz /= sum);
    dz[t] -= 1.0;
    max - z[t] + sum.ln()
}
