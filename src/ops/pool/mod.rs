//! Max pooling that records switches, its gradient, and unpooling.
//!
//! ```text
//! forward   y[n,p,q,c] = max_{(r,s) in window} x[n, p t + r, q t + s, c]
//!           switch[n,p,q,c] = r R + s of the first maximum in row-major order
//! backward  dx[n,h,w,c] = sum over the windows (p,q) whose switch points at (h,w) of dy[n,p,q,c]
//! unpool    `add` the same sum: the exact adjoint of pooling with the switches held fixed
//!           `set` the last window in row-major order wins; the others are dropped
//! ```
//!
//! There is no padding. With [`Rounding::Ceil`] the last window may reach past
//! the border and is clipped: the maximum is taken over what is inside, which
//! is the same as padding with minus infinity on the right and at the bottom.
//! The output has round((H - R) / t) + 1 rows, one less if the last window
//! would start outside (stride larger than the kernel).
//!
//! **Why switches and not a comparison with the maximum.** A window may hold
//! its maximum twice (after ReLU: zeros). The gradient of max is then a choice;
//! the recorded switch makes the same choice in backward and in unpooling,
//! and passes each value down once. One byte suffices up to 16 x 16 windows.
//!
//! **Gather, not scatter.** Windows overlap when R > t, so an input position
//! can receive from up to ceil(R/t)^2 windows. Every position looks at those
//! windows in a fixed order and adds what points at it: the result does not
//! depend on how work is split.

mod cpu;
pub(super) mod cuda;

use crate::error::{Error, Result};
use crate::ops::Storage;
use crate::tensor::Extent;

/// How the number of windows is rounded when the stride does not divide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// Round up; the last window is clipped at the border (the paper's sizes 110-55-26-13-6).
    #[default]
    Ceil,
    /// Round down; rows and columns that no whole window covers are ignored.
    Floor,
}

/// What unpooling does where windows overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnpoolMode {
    /// Sum: the exact adjoint of pooling.
    #[default]
    Add,
    /// The last window in row-major order wins.
    Set,
}

/// Sizes of a pooling. Build it with [`Pool::new`], which checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Input height.
    pub H: usize,
    /// Input width.
    pub W: usize,
    /// Channels.
    pub C: usize,
    /// Window height and width.
    pub R: usize,
    /// Step between windows.
    pub stride: usize,
    /// Output height.
    pub P: usize,
    /// Output width.
    pub Q: usize,
}

impl Pool {
    /// Checks the sizes and computes the output's.
    pub fn new(input: Extent, kernel: usize, stride: usize, rounding: Rounding) -> Result<Self> {
        let Extent { H, W, C } = input;
        let refuse = |reason: String| Err(Error::shape("pool", reason));
        if H * W * C * kernel * stride == 0 {
            return refuse(format!("input {input}, kernel {kernel}, stride {stride}: none may be 0"));
        }
        if kernel > 16 {
            return refuse(format!("kernel {kernel} is over 16, the largest whose switches fit one byte"));
        }
        if H < kernel || W < kernel {
            return refuse(format!("a {kernel} x {kernel} window does not fit the {H} x {W} input"));
        }
        let count = |size: usize| match rounding {
            Rounding::Floor => (size - kernel) / stride + 1,
            Rounding::Ceil => {
                let windows = (size - kernel).div_ceil(stride) + 1;
                if (windows - 1) * stride >= size { windows - 1 } else { windows }
            }
        };
        Ok(Pool { H, W, C, R: kernel, stride, P: count(H), Q: count(W) })
    }

    /// Extent of the input.
    pub fn input(&self) -> Extent {
        Extent::new(self.H, self.W, self.C)
    }

    /// Extent of the output.
    pub fn output(&self) -> Extent {
        Extent::new(self.P, self.Q, self.C)
    }
}

/// Pooling with switches, its gradient, and unpooling.
pub trait PoolOp: Storage {
    /// y = max over each window, and where it was found.
    fn pool_forward(
        &mut self,
        pool: &Pool,
        N: usize,
        x: &Self::Buf,              // (N, H, W, C)
        y: &mut Self::Buf,          // (N, P, Q, C)
        switches: &mut Self::Bytes, // (N, P, Q, C), r * R + s
    ) -> Result<()>;

    /// Sends each value back to where its switch points; overwrites `x`.
    /// [`UnpoolMode::Add`] is the gradient of the forward pass.
    fn unpool(
        &mut self,
        pool: &Pool,
        N: usize,
        mode: UnpoolMode,
        y: &Self::Buf,          // (N, P, Q, C)
        switches: &Self::Bytes, // (N, P, Q, C)
        x: &mut Self::Buf,      // (N, H, W, C)
    ) -> Result<()>;
}
