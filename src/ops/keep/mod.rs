//! What a projection starts from: some activations of a blob, zeros in place of the others.
//!
//! ```text
//! signal[n,p,q,k] = y[n,p,q,k]  if (p, q, k) matches unit n
//!                   0           elsewhere
//! ```
//!
//! A unit is three numbers, of which -1 matches all: (p, q, k) is one unit, (-1, -1, k) a
//! map, (-1, -1, -1) the whole blob. So a signal is made where the activations are.

mod cpu;
mod cuda;

use crate::error::Result;
use crate::ops::Storage;
use crate::tensor::Extent;

/// Matches every row, column or map.
pub const ANY: i32 = -1;

/// Keeps some activations.
pub trait KeepOp: Storage {
    /// Fills the signal.
    fn keep(
        &mut self,
        blob: Extent,
        N: usize,
        y: &Self::Buf,          // (N, P, Q, K)
        units: &Self::Ints,     // (N, 3): p, q, k, or ANY
        signal: &mut Self::Buf, // (N, P, Q, K)
    ) -> Result<()>;
}
