//! Local response normalisation across channels.
//!
//! ```text
//! s[c] = k + (alpha/n) sum_{j in N(c)} a[j]^2,   N(c) = c - floor(n/2) ..= c + floor((n-1)/2), clipped to 0..C
//! b[c] = a[c] s[c]^-beta
//! ```
//!
//! alpha is divided by n (cuda-convnet, Caffe, PyTorch), always by the full n,
//! also at the first and last channels and when n > C; with
//! `divide_alpha = false` it is not (the formula printed in the AlexNet paper).
//!
//! **Gradient.** Write s' = alpha/n (or alpha). `a[i]` enters `b[i]` directly
//! and every `s[j]` with i in N(j) through `ds[j]/da[i] = 2 s' a[i]`:
//!
//! ```text
//! da[i] = g[i] s[i]^-beta + sum_{j : i in N(j)} g[j] a[j] (-beta) s[j]^(-beta-1) 2 s' a[i]
//!       = g[i] s[i]^-beta - 2 s' beta a[i] sum_{j : i in N(j)} g[j] b[j] / s[j]
//! ```
//!
//! i in N(j) means j - floor(n/2) <= i <= j + floor((n-1)/2), so j runs over
//! i - floor((n-1)/2) ..= i + floor(n/2): the mirrored window, the same one
//! only for odd n. s is recomputed in backward, not stored: it costs n
//! multiply-adds, an array of it would cost a trip through memory.

mod cpu;
pub(super) mod cuda;

use crate::error::{Error, Result};
use crate::ops::Storage;

/// Constants of a normalisation. Build it with [`Lrn::new`], which checks them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Channels in a window.
    pub n: usize,
    /// Added to the sum of squares.
    pub k: f64,
    /// Weight of the sum of squares, as given (before division by n).
    pub alpha: f64,
    /// Exponent.
    pub beta: f64,
    /// Whether alpha is divided by n.
    pub divide_alpha: bool,
}

impl Default for Lrn {
    /// The paper's constants: n = 5, k = 2, alpha = 1e-4, beta = 0.75, alpha divided by n.
    fn default() -> Self {
        Lrn { n: 5, k: 2.0, alpha: 1e-4, beta: 0.75, divide_alpha: true }
    }
}

impl Lrn {
    /// Checks the constants: n >= 1, k > 0, alpha and beta finite and not negative.
    pub fn new(n: usize, k: f64, alpha: f64, beta: f64, divide_alpha: bool) -> Result<Self> {
        if n == 0 {
            return Err(Error::shape("lrn", "n is 0; a window holds at least its own channel"));
        }
        if !(k > 0.0 && k.is_finite()) {
            return Err(Error::shape(
                "lrn",
                format!("k is {k}; it must be positive, or an all-zero window divides by 0"),
            ));
        }
        if !(alpha >= 0.0 && alpha.is_finite() && beta >= 0.0 && beta.is_finite()) {
            return Err(Error::shape("lrn", format!("alpha {alpha} and beta {beta} must be finite and not negative")));
        }
        Ok(Lrn { n, k, alpha, beta, divide_alpha })
    }

    /// The factor before the sum of squares: alpha/n, or alpha.
    pub fn scale(&self) -> f64 {
        if self.divide_alpha { self.alpha / self.n as f64 } else { self.alpha }
    }
}

/// Normalisation and its gradient. `rows` is N*H*W.
pub trait LrnOp: Storage {
    /// b = a s^-beta.
    fn lrn_forward(
        &mut self,
        lrn: &Lrn,
        rows: usize,
        C: usize,
        a: &Self::Buf,     // (rows, C)
        b: &mut Self::Buf, // (rows, C)
    ) -> Result<()>;

    /// da from db; overwrites da.
    fn lrn_backward(
        &mut self,
        lrn: &Lrn,
        rows: usize,
        C: usize,
        a: &Self::Buf,      // (rows, C), the forward input
        db: &Self::Buf,     // (rows, C)
        da: &mut Self::Buf, // (rows, C)
    ) -> Result<()>;
}
