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
pub(super) mod cuda;

use crate::error::Result;
use crate::ops::Storage;

/// One tensor of an update: K rows of M values, the filters of a convolution.
pub struct SgdTensor<'a, Buf> {
    /// Rows: filters, outputs of a linear layer.
    pub K: usize,
    /// Values of a row; 1 for biases.
    pub M: usize,
    /// Whether it decays.
    pub decays: bool,
    /// Largest RMS of a row; `None` for no limit.
    pub rms_clip: Option<f64>,
    /// Gradient (K, M).
    pub g: &'a Buf,
    /// Momentum (K, M).
    pub v: &'a mut Buf,
    /// Value (K, M).
    pub w: &'a mut Buf,
}

/// Parameter updates.
pub trait SgdOp: Storage {
    /// One update of every tensor, each in one pass, its rows clipped in the same.
    fn sgd_step(&mut self, scalars: &Self::Scalars, tensors: &mut [SgdTensor<'_, Self::Buf>]) -> Result<()>;
}
