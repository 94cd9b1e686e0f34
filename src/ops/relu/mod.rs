//! Rectification on the way down: the three rules of the reverse walk.
//!
//! The forward ReLU, y = max(x, 0), is the epilogue of conv and linear. Going
//! down, with R the signal from above and f the forward activation:
//!
//! ```text
//! gradient   (f > 0) R      back-propagation: ReLU's derivative is 1 where it let the value pass
//! deconvnet  (R > 0) R      Zeiler & Fergus: the reconstruction itself is rectified
//! guided     (f > 0)(R > 0) R
//! ```
//!
//! f > 0 can be read from the output, since max(x, 0) > 0 exactly where x > 0;
//! the derivative at x = 0 is taken as 0.

mod cpu;
mod cuda;

use crate::error::Result;
use crate::ops::Storage;

/// What lets a signal pass through a ReLU on the way down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReluRule {
    /// The forward activation is positive: the training gradient.
    Gradient,
    /// The signal itself is positive: the deconvnet.
    #[default]
    Deconvnet,
    /// Both.
    Guided,
}

/// The backward step of a ReLU.
pub trait ReluOp: Storage {
    /// Zeroes, in place, every element of `signal` that `rule` does not let pass.
    fn relu_backward(
        &mut self,
        rule: ReluRule,
        len: usize,
        y: &Self::Buf,          // (len), the forward output
        signal: &mut Self::Buf, // (len)
    ) -> Result<()>;
}
