//! Fully connected layers.
//!
//! ```text
//! fprop  y[n,o]  = b[o] + sum_i x[n,i] w[o,i]
//! dgrad  dx[n,i] = sum_o dy[n,o] w[o,i]
//! wgrad  dw[o,i] = sum_n dy[n,o] x[n,i],   db[o] = sum_n dy[n,o]
//! ```
//!
//! Weights are (out, in), the layout of PyTorch. The input is the feature map
//! of the layer below, flattened as it lies in memory: (H, W, C).

mod cpu;
pub(super) mod cuda;

use crate::error::{Error, Result};
use crate::ops::Storage;

/// Sizes of a fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Inputs of one image.
    pub inputs: usize,
    /// Outputs of one image.
    pub outputs: usize,
}

impl Linear {
    /// Checks that neither side is 0.
    pub fn new(inputs: usize, outputs: usize) -> Result<Self> {
        if inputs * outputs == 0 {
            return Err(Error::shape("linear", format!("{inputs} inputs, {outputs} outputs: neither may be 0")));
        }
        Ok(Linear { inputs, outputs })
    }

    /// Number of weights, without the biases; also the multiply-accumulates for one image.
    pub fn weights(&self) -> usize {
        self.inputs * self.outputs
    }
}

/// The three directions of a fully connected layer.
pub trait LinearOp: Storage {
    /// y = x w^T + b, then max(y, 0) if `relu`.
    fn linear_fprop(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Self::Buf,    // (N, in)
        w: &Self::Buf,    // (out, in)
        bias: &Self::Buf, // (out)
        relu: bool,
        y: &mut Self::Buf, // (N, out)
    ) -> Result<()>;

    /// dx = dy w; overwrites dx.
    fn linear_dgrad(
        &mut self,
        linear: &Linear,
        N: usize,
        dy: &Self::Buf,     // (N, out)
        w: &Self::Buf,      // (out, in)
        dx: &mut Self::Buf, // (N, in)
    ) -> Result<()>;

    /// dw = dy^T x and db, summed over the batch; overwrites both.
    fn linear_wgrad(
        &mut self,
        linear: &Linear,
        N: usize,
        x: &Self::Buf,         // (N, in)
        dy: &Self::Buf,        // (N, out)
        dw: &mut Self::Buf,    // (out, in)
        dbias: &mut Self::Buf, // (out)
    ) -> Result<()>;
}
