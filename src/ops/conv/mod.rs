//! Convolution (cross-correlation), its data gradient and its weight gradient.
//!
//! With x (N,H,W,C), w (K,R,S,C/g), y (N,P,Q,K), g groups, stride t and zero
//! padding d, for k in group j (x's channels c run over group j alone):
//!
//! ```text
//! fprop  y[n,p,q,k]  = b[k] + sum_{r,s,c} x[n, p t - d + r, q t - d + s, c] w[k,r,s,c]
//! dgrad  dx[n,h,w,c] = sum_{r,s,k : h = p t - d + r, w = q t - d + s} dy[n,p,q,k] w[k,r,s,c]
//! wgrad  dw[k,r,s,c] = sum_{n,p,q} dy[n,p,q,k] x[n, p t - d + r, q t - d + s, c]
//!        db[k]       = sum_{n,p,q} dy[n,p,q,k]
//! ```
//!
//! with x = 0 outside the image. The output has
//! P = floor((H + 2d - R) / t) + 1 rows, Q likewise.
//!
//! **dgrad** is fprop's adjoint: `<conv(x), y> = <x, dgrad(y)>` for all x, y.
//! It is also the transposed convolution of the deconvnet: H and W are part of
//! the geometry, so its output size is forced to that of the forward input
//! (a plain transposed 7x7/2 convolution of 110 rows would give 223, not 224).
//! For stride t it splits into t*t independent stride-1 problems, one for each
//! parity (h + d) mod t, (w + d) mod t: a tap r reaches row h only if
//! r = (h + d) mod t, so each parity has its own subset of the filter.

mod boxes;
mod cpu;
pub(super) mod cuda;
mod tma;

pub(crate) use self::cuda::Laid;

use crate::error::{Error, Result};
use crate::ops::Storage;
use crate::tensor::Extent;

/// Sizes of a convolution. Build it with [`Conv::new`], which checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Input height.
    pub H: usize,
    /// Input width.
    pub W: usize,
    /// Input channels, all groups together.
    pub C: usize,
    /// Filters (output channels), all groups together.
    pub K: usize,
    /// Filter height.
    pub R: usize,
    /// Filter width.
    pub S: usize,
    /// Step between windows, in both directions.
    pub stride: usize,
    /// Zeros added on each side.
    pub pad: usize,
    /// Channel groups; filter k sees only the C/groups channels of its group.
    pub groups: usize,
    /// Output height.
    pub P: usize,
    /// Output width.
    pub Q: usize,
}

impl Conv {
    /// Checks the sizes and computes the output's.
    pub fn new(
        input: Extent,
        filters: usize,
        kernel: (usize, usize),
        stride: usize,
        pad: usize,
        groups: usize,
    ) -> Result<Self> {
        let Extent { H, W, C } = input;
        let (R, S) = kernel;
        let refuse = |reason: String| Err(Error::shape("conv", reason));
        if H * W * C * filters * R * S * stride * groups == 0 {
            return refuse(format!(
                "input {input}, {filters} filters of {R} x {S}, stride {stride}, {groups} groups: none may be 0"
            ));
        }
        if pad >= R.min(S) {
            return refuse(format!(
                "pad {pad} must be smaller than the {R} x {S} kernel, or whole windows see only zeros"
            ));
        }
        if !C.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return refuse(format!("{groups} groups must divide both {C} input channels and {filters} filters"));
        }
        if H + 2 * pad < R || W + 2 * pad < S {
            return refuse(format!("a {R} x {S} kernel does not fit the {H} x {W} input with pad {pad}"));
        }
        let P = (H + 2 * pad - R) / stride + 1;
        let Q = (W + 2 * pad - S) / stride + 1;
        Ok(Conv { H, W, C, K: filters, R, S, stride, pad, groups, P, Q })
    }

    /// Extent of the input.
    pub fn input(&self) -> Extent {
        Extent::new(self.H, self.W, self.C)
    }

    /// Extent of the output.
    pub fn output(&self) -> Extent {
        Extent::new(self.P, self.Q, self.K)
    }

    /// Shape of the filters: (K, R, S, C/groups).
    pub fn filter_shape(&self) -> [usize; 4] {
        [self.K, self.R, self.S, self.C / self.groups]
    }

    /// Number of weights, without the biases.
    pub fn weights(&self) -> usize {
        self.filter_shape().iter().product()
    }

    /// Multiply-accumulates for one image.
    pub fn macs(&self) -> u64 {
        (self.P * self.Q) as u64 * self.weights() as u64
    }
}

/// The three directions of a convolution. `N` is the number of images; buffers
/// may be longer than needed, only the leading elements are used.
pub trait ConvOp: Storage {
    /// y = conv(x, w) + b, then max(y, 0) if `relu`.
    fn conv_fprop(
        &mut self,
        conv: &Conv,
        N: usize,
        x: &Self::Buf,    // (N, H, W, C)
        w: &Self::Buf,    // (K, R, S, C/groups)
        bias: &Self::Buf, // (K)
        relu: bool,
        y: &mut Self::Buf, // (N, P, Q, K)
    ) -> Result<()>;

    /// dx = the adjoint of conv applied to dy; overwrites dx.
    fn conv_dgrad(
        &mut self,
        conv: &Conv,
        N: usize,
        dy: &Self::Buf,     // (N, P, Q, K)
        w: &Self::Buf,      // (K, R, S, C/groups)
        dx: &mut Self::Buf, // (N, H, W, C)
    ) -> Result<()>;

    /// dw and db, summed over the batch; overwrites both.
    fn conv_wgrad(
        &mut self,
        conv: &Conv,
        N: usize,
        x: &Self::Buf,         // (N, H, W, C)
        dy: &Self::Buf,        // (N, P, Q, K)
        dw: &mut Self::Buf,    // (K, R, S, C/groups)
        dbias: &mut Self::Buf, // (K)
    ) -> Result<()>;
}
