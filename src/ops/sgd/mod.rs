//! Stochastic gradient descent with momentum, and the RMS clip of filters.
//!
//! ```text
//! g <- g + wd w          v <- mu v + g          w <- w - lr v
//! ```
//!
//! (PyTorch's form. Caffe's v <- mu v - lr g is the same while lr is constant;
//! after a drop of lr this form shrinks the next step at once.)
//!
//! **RMS clip** (section 3.1 of the paper). After an update every convolution
//! filter `w[k]` of M = R S C/g weights whose root mean square exceeds the radius
//! is scaled back to it:
//!
//! ```text
//! rms[k] = sqrt(sum w[k]^2 / M);   w[k] <- w[k] radius / rms[k]   if rms[k] > radius
//! ```
//!
//! A filter at or below the radius keeps its bits. Momentum and biases are
//! untouched. The cap on the L2 norm is radius sqrt(M): 1.2124 for conv1.

mod cpu;

use crate::error::Result;
use crate::ops::Storage;

/// The scalars of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum, mu.
    pub momentum: f64,
    /// Weight decay, wd, for this tensor.
    pub weight_decay: f64,
}

/// Parameter updates.
pub trait SgdOp: Storage {
    /// One update of one tensor, in one pass.
    fn sgd_step(
        &mut self,
        step: &SgdStep,
        len: usize,
        g: &Self::Buf,     // (len)
        v: &mut Self::Buf, // (len)
        w: &mut Self::Buf, // (len)
    ) -> Result<()>;

    /// Scales back every filter whose RMS exceeds `radius`.
    fn rms_clip(
        &mut self,
        radius: f64,
        K: usize,
        M: usize,
        w: &mut Self::Buf, // (K, M)
    ) -> Result<()>;
}
