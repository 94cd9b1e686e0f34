//! Near-duplicates between two data sets, by normalised correlation.
//!
//! The paper removes from its training set the pictures that it found again in the
//! data it is tested on (section 5.2). Two pictures x, y of P pixels are compared by
//!
//! ```text
//! r(x, y) = sum_p (x_p - mean x)(y_p - mean y) / (|x - mean x| |y - mean y|),  -1 <= r <= 1
//! r(a x + b, y) = r(x, y) for a > 0: brightness and contrast do not matter
//! ```
//!
//! in two passes:
//!
//! 1. Every picture becomes a grey [thumbnail](thumbnails) of 32 x 32 pixels, mean
//!    removed, of length 1, so that r of all pairs is a matrix product
//!    A B^T of (I, 1024) and (J, 1024), which `search` takes block by block: 2048 I J
//!    floating-point operations, and memory for a block and a KiB for each picture. 1.3
//!    million pictures against 40 thousand are 5.2e10 pairs, 107 TFLOP and 1.4 GB.
//! 2. Pairs near the threshold or above it are read again and compared at the size
//!    of the smaller one ([`confirm`]), where a resemblance in outline is not enough.
//!
//! A picture that is flat, of one grey, has no direction to compare and never
//! matches: it is counted, and left out.

mod confirm;
mod grey;
mod pictures;
mod search;
pub mod thumbnails;

pub use confirm::{Match, confirm, repeated};
pub use grey::{Grey, correlation};
pub use pictures::{Part, Pictures, View};
pub use search::{Candidate, Comparison, block_bytes, measure};
pub use thumbnails::Thumbnails;

/// How far below the threshold a pair of thumbnails may lie and still be looked at in full.
///
/// Thumbnails of true duplicates differ less than the pictures do: what recompression
/// and another resampling change lies in the fine detail, which a thumbnail averages out. The
/// margin is for what remains: thumbnails in 8 bits and windows cut at whole pixels.
pub const MARGIN: f64 = 0.05;
