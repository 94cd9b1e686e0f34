//! Inverted dropout with masks that are computed, never stored.
//!
//! ```text
//! keep[e] = word(seed, layer, step, e) >= p 2^32
//! y[e]    = x[e] keep[e] / (1 - p)         dx[e] = dy[e] keep[e] / (1 - p)
//! ```
//!
//! Scaling the survivors by 1/(1 - p) keeps the expectation, so evaluation
//! uses the layer as it is. The mask is Philox output keyed by (seed, layer,
//! step, element): backward recomputes it, every device draws the same one,
//! and a resumed run continues with the one it would have drawn.

mod cpu;
mod cuda;

use crate::error::{Error, Result};
use crate::ops::Storage;
use crate::philox::{Purpose, Stream};

/// A dropout layer's probability and random stream.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Probability that an element is dropped, in [0, 1).
    pub p: f64,
    /// Where the mask's bits come from.
    pub stream: Stream,
}

impl Dropout {
    /// Dropout with probability `p` for the layer at index `layer`.
    pub fn new(p: f64, seed: u64, layer: u32) -> Result<Self> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::shape("dropout", format!("probability {p} is not in [0, 1)")));
        }
        Ok(Dropout { p, stream: Stream::new(seed, Purpose::Dropout, layer) })
    }

    /// An element is kept if its random word is at least this.
    pub fn threshold(&self) -> u32 {
        (self.p * 4_294_967_296.0) as u32
    }

    /// What survivors are multiplied by: 1/(1 - p).
    pub fn scale(&self) -> f64 {
        1.0 / (1.0 - self.p)
    }
}

/// Dropout, forward and backward.
pub trait DropoutOp: Storage {
    /// Multiplies the first `len` elements of `x`, in place, by the mask of the
    /// scalars' step and 1/(1 - p). Applied to a gradient it is the backward pass.
    fn dropout(
        &mut self,
        dropout: &Dropout,
        scalars: &Self::Scalars,
        len: usize,
        x: &mut Self::Buf, // (len)
    ) -> Result<()>;
}
