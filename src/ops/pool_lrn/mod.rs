//! Max pooling and the normalisation behind it, as one operation in each direction.
//!
//! ```text
//! forward   x -> a = pool(x), switches -> b = lrn(a)
//! backward  db -> da -> dx
//! ```
//!
//! Both are bound by memory, so doing them in one pass spares what lies between them:
//! forward one reading of a, backward a writing and a reading of da. With 3 x 3 windows
//! at stride 2 that is 1 of 7 1/4 and 2 of 8 1/4 passes over an array of the size of a in f32
//! (x counts as 4, the switches as 1/4). Backends that have no such kernel do the one after the other.

mod cuda;

use crate::error::Result;
use crate::ops::lrn::{Lrn, LrnOp};
use crate::ops::pool::{Pool, PoolOp, UnpoolMode};
use crate::ops::{Cpu, Real};

/// Pooling with normalisation, and its gradient.
pub trait PoolLrnOp: PoolOp + LrnOp {
    /// Whether [`PoolLrnOp::pool_lrn_forward`] is one pass over memory here, or two operations after all.
    fn fuses_pool_lrn_forward(&self, _pool: &Pool) -> bool {
        false
    }

    /// a = max over each window of x, and where it was found; b = a s^-beta.
    #[allow(clippy::too_many_arguments)]
    fn pool_lrn_forward(
        &mut self,
        pool: &Pool,
        lrn: &Lrn,
        N: usize,
        x: &Self::Buf,              // (N, H, W, C)
        a: &mut Self::Buf,          // (N, P, Q, C)
        switches: &mut Self::Bytes, // (N, P, Q, C)
        b: &mut Self::Buf,          // (N, P, Q, C)
    ) -> Result<()> {
        self.pool_forward(pool, N, x, a, switches)?;
        self.lrn_forward(lrn, N * pool.P * pool.Q, pool.C, a, b)
    }

    /// dx from db; overwrites dx. What `da` holds afterwards is unspecified.
    #[allow(clippy::too_many_arguments)]
    fn pool_lrn_backward(
        &mut self,
        pool: &Pool,
        lrn: &Lrn,
        N: usize,
        a: &Self::Buf,          // (N, P, Q, C), from the forward pass
        switches: &Self::Bytes, // (N, P, Q, C), from the forward pass
        db: &Self::Buf,         // (N, P, Q, C)
        da: &mut Self::Buf,     // (N, P, Q, C), room for backends that need it
        dx: &mut Self::Buf,     // (N, H, W, C)
    ) -> Result<()> {
        self.lrn_backward(lrn, N * pool.P * pool.Q, pool.C, a, db, da)?;
        self.unpool(pool, N, UnpoolMode::Add, da, switches, dx)
    }
}

impl<T: Real> PoolLrnOp for Cpu<T> {}
