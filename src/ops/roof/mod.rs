//! What the machine can do at most, measured: no datasheet knows this machine's clocks.
//!
//! ```text
//! flops       multiply-adds from register to register, two operations each, in the type of the products
//! bandwidth   y += x for arrays that no cache holds, bytes read and bytes written
//! ```
//!
//! A copy would not do for the bandwidth: where it does not bypass the caches, a CPU also reads
//! what is about to be overwritten, and half of the traffic is hidden.

mod cpu;
mod cuda;

use crate::error::Result;
use crate::ops::Storage;

/// The two limits of a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roof {
    /// Floating-point operations a second.
    pub flops: f64,
    /// Bytes a second.
    pub bandwidth: f64,
}

/// Attempts, of which the best counts: a roof is not an average.
const ATTEMPTS: usize = 7;

/// Measuring the limits.
pub trait RoofOp: Storage {
    /// Measures both, on all that the backend runs on.
    fn roof(&mut self) -> Result<Roof>;
}
