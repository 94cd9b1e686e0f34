//! The weight gradient of a linear layer and the update of its parameters, as one operation.
//!
//! ```text
//! dw, db by linear's wgrad;   v <- mu v + (g + wd p),   p <- p - lr v   for p = w, g = dw and p = b, g = db
//! ```
//!
//! Linear layers hold 94 % of ZFNet's parameters, and nothing but the update wants their gradient. In bf16
//! wgrad writes 4 bytes a weight, and the update moves 22: g, v twice, w twice, and the copy. In the epilogue
//! of wgrad, where a tile of dw is in shared memory, g need be neither written nor read: 18 of 26 bytes are left.
//!
//! w changes: the data gradient, which wants the old one, is computed before. Rows are not clipped, since
//! a row's norm would cross tiles; filters of convolutions, which are, keep to [`sgd`](super::sgd).

mod cuda;

use crate::error::Result;
use crate::ops::linear::{Linear, LinearOp};
use crate::ops::sgd::{SgdOp, SgdTensor};
use crate::ops::{Cpu, Real};

/// A parameter under training.
pub struct Trained<'a, Buf> {
    /// Whether it decays.
    pub decays: bool,
    /// Room for its gradient; what it holds afterwards is unspecified.
    pub g: &'a mut Buf,
    /// Its momentum.
    pub v: &'a mut Buf,
    /// Its value.
    pub w: &'a mut Buf,
}

impl<Buf> Trained<'_, Buf> {
    /// It as K rows of M values of an update.
    fn tensor(&mut self, K: usize, M: usize) -> SgdTensor<'_, Buf> {
        SgdTensor { K, M, decays: self.decays, rms_clip: None, g: self.g, v: self.v, w: self.w }
    }
}

/// The weight gradient with the update.
pub trait LinearSgdOp: LinearOp + SgdOp {
    /// One update of weights (out, in) and biases (out) by the gradient that x and dy give: the same bits as
    /// those of [`LinearOp::linear_wgrad`] and [`SgdOp::sgd_step`].
    #[allow(clippy::too_many_arguments)]
    fn linear_wgrad_sgd(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Self::Buf,  // (N, in)
        dy: &Self::Buf, // (N, out)
        scalars: &Self::Scalars,
        mut weights: Trained<'_, Self::Buf>, // (out, in)
        mut biases: Trained<'_, Self::Buf>,  // (out)
    ) -> Result<()> {
        self.linear_wgrad(linear, N, x, dy, weights.g, biases.g)?;
        let Linear { inputs, outputs } = *linear;
        self.sgd_step(scalars, &mut [weights.tensor(outputs, inputs), biases.tensor(outputs, 1)])
    }
}

impl<T: Real> LinearSgdOp for Cpu<T> {}
