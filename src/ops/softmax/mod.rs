//! Softmax with cross-entropy.
//!
//! ```text
//! m = max_k z[k],  L = ln sum_k exp(z[k] - m)
//! loss   = L - (z[t] - m)                 = -ln softmax(z)[t]
//! p[k]   = exp(z[k] - m - L)
//! dz[k]  = (p[k] - [k = t]) / N           (the mean over the batch)
//! ```
//!
//! Subtracting the maximum keeps every exponent at or below 0 and at least one
//! at 0, so the sum lies in [1, C] and nothing overflows, whatever the logits.
//! The gradient: `d loss / dz[k] = dL/dz[k] - [k = t]`, and `dL/dz[k] = p[k]`
//! (m's own derivative cancels).

mod cpu;
mod cuda;

use crate::error::Result;
use crate::ops::Storage;

/// Sums over a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Sum of the cross-entropy losses, in nats.
    pub loss: f64,
    /// Images whose label has the largest logit (ties count the first class as larger).
    pub top1: usize,
    /// Images whose label is among the five largest logits.
    pub top5: usize,
}

/// The loss at the top of a network.
pub trait SoftmaxOp: Storage {
    /// [`LossSums`], where the operation leaves them.
    type Tally: Send;
    /// [`LossSums`] on their way to the host.
    type Posted: Send;

    /// A place for the sums of a batch.
    fn alloc_tally(&self) -> Result<Self::Tally>;

    /// Asks for the sums that stand in `tally` once all work before is done, and does
    /// not wait for them.
    fn post_tally(&mut self, tally: &Self::Tally) -> Result<Self::Posted>;

    /// Waits for the sums.
    fn read_tally(&mut self, posted: Self::Posted) -> Result<LossSums>;

    /// Loss and ranks, summed over the batch into `tally`; with `dz`, also the gradient of
    /// the mean loss. Labels must be in 0..C: callers check them when data is read.
    fn softmax_loss(
        &mut self,
        N: usize,
        C: usize,
        z: &Self::Buf,              // (N, C) logits
        labels: &Self::Ints,        // (N)
        dz: Option<&mut Self::Buf>, // (N, C)
        tally: &mut Self::Tally,
    ) -> Result<()>;

    /// p = softmax(z), row by row.
    fn softmax(
        &mut self,
        N: usize,
        C: usize,
        z: &Self::Buf,     // (N, C)
        p: &mut Self::Buf, // (N, C)
    ) -> Result<()>;
}
