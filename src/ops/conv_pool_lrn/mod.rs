//! Convolution, max pooling and the normalisation behind it, as one operation.
//!
//! ```text
//! x -> y = max(conv(x, w) + b, 0) -> a = pool(y), switches -> b = lrn(a)
//! ```
//!
//! y is the largest array of a network: 297 MB in ZFNet's first layer at batch 128 in bf16, written by
//! the convolution and read by the pool, and by nobody else, since the way down needs only a and the
//! switches where the pool's gradient is masked before it is unpooled (see [`crate::net::fuse`]).
//! A block that computes a patch of y with all its channels can pool and normalise it at once.
//!
//! **What it costs.** Windows overlap, so patches do: a block of 128 pixels covers 11 x 11 of them, which hold
//! 5 x 5 windows of 3 x 3 at stride 2, and the next patch begins 10 pixels on. Of the pixels that blocks
//! compute, P Q / (128 blocks) are new ones: 0.78 in layer 1. Whether the traffic that is spared outweighs
//! arithmetic done twice is a matter of both layer and machine: see `pays` in `cuda.rs`.

mod cuda;

use crate::error::Result;
use crate::ops::conv::{Conv, ConvOp};
use crate::ops::lrn::Lrn;
use crate::ops::pool::Pool;
use crate::ops::pool_lrn::PoolLrnOp;
use crate::ops::{Cpu, Real};

/// Sizes of the three.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvPoolLrn {
    /// The convolution.
    pub conv: Conv,
    /// Whether its output is rectified.
    pub relu: bool,
    /// The pool on its output.
    pub pool: Pool,
    /// The normalisation of what is pooled.
    pub lrn: Lrn,
}

/// Convolution with pooling and normalisation.
pub trait ConvPoolLrnOp: ConvOp + PoolLrnOp {
    /// Whether the backend has this as one operation, and gains by it: then it does not write `y`.
    fn fuses_conv_pool_lrn_forward(&self, _layers: &ConvPoolLrn) -> bool {
        false
    }

    /// a, its switches, and b = a s^-beta: the same bits as those of [`ConvOp::conv_fprop`] and
    /// [`PoolLrnOp::pool_lrn_forward`] where that convolution adds in the same order. What `y` holds afterwards is
    /// unspecified where the backend fuses them.
    #[allow(clippy::too_many_arguments)]
    fn conv_pool_lrn_forward(
        &mut self,
        layers: &ConvPoolLrn,
        N: usize,
        x: &Self::Buf,              // (N, H, W, C)
        w: &Self::Buf,              // (K, R, S, C/groups)
        bias: &Self::Buf,           // (K)
        y: &mut Self::Buf,          // (N, P, Q, K), room for backends that need it
        a: &mut Self::Buf,          // (N, P', Q', K), of the pool
        switches: &mut Self::Bytes, // (N, P', Q', K)
        b: &mut Self::Buf,          // (N, P', Q', K)
    ) -> Result<()> {
        let ConvPoolLrn { conv, relu, pool, lrn } = layers;
        self.conv_fprop(conv, N, x, w, bias, *relu, y)?;
        self.pool_lrn_forward(pool, lrn, N, y, a, switches, b)
    }
}

impl<T: Real> ConvPoolLrnOp for Cpu<T> {}
