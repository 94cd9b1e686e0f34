//! Copies of images, each with a rectangle hidden: the input of an occlusion pass (Fig 6).
//!
//! ```text
//! y[n,h,w,c] = z[h,w,c]    if top_n <= h < top_n + height_n and left_n <= w < left_n + width_n
//!              x[m_n,h,w,c]  elsewhere
//! ```
//!
//! x are the images and z what hides them, as the network sees them (cropped, mean
//! subtracted). Hundreds of copies are made where they are needed, so a host sends a device
//! five numbers for each copy and not its pixels.

mod cpu;
mod cuda;

use crate::error::Result;
use crate::ops::Storage;
use crate::tensor::Extent;

/// Hides parts of images.
pub trait OccludeOp: Storage {
    /// Fills y. A rectangle may reach beyond the image; one without pixels hides nothing.
    /// That no number is negative and no m too large is up to the caller.
    fn occlude(
        &mut self,
        image: Extent,
        M: usize,
        N: usize,
        x: &Self::Buf,       // (M, H, W, C)
        z: &Self::Buf,       // (H, W, C)
        copies: &Self::Ints, // (N, 5): m, top, left, height, width
        y: &mut Self::Buf,   // (N, H, W, C)
    ) -> Result<()>;
}
