//! Crop, flip, mean subtraction and conversion of u8 image records.
//!
//! ```text
//! y[n,h,w,c] = image[n, oy + h, ox + w', c] - mean[oy + h, ox + w', c],   w' = w, or W-1-w if flipped
//! ```
//!
//! The mean is that of the training set's full-size images, per pixel, and is
//! cut at the same place as the image. Values stay in about [-128, 128].

mod cpu;
mod cuda;

use crate::error::{Error, Result};
use crate::ops::Storage;
use crate::tensor::Extent;

/// Sizes of a crop. Build it with [`Crop::new`], which checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Side of the square records, in pixels.
    pub record: usize,
    /// Extent of the crop that the network sees.
    pub output: Extent,
}

impl Crop {
    /// A crop of `output` from square records of side `record`.
    pub fn new(record: usize, output: Extent) -> Result<Self> {
        if output.H > record || output.W > record {
            return Err(Error::shape(
                "crop",
                format!(
                    "the network wants {} x {} crops but the records are {record} x {record}: pack at a larger --size",
                    output.H, output.W
                ),
            ));
        }
        Ok(Crop { record, output })
    }

    /// Extent of one record.
    pub fn input(&self) -> Extent {
        Extent::new(self.record, self.record, self.output.C)
    }
}

/// The input stage of a network.
pub trait CropOp: Storage {
    /// Fills y. Windows must lie inside the records: callers check them.
    fn crop_forward(
        &mut self,
        crop: &Crop,
        N: usize,
        images: &Self::Bytes, // (N, record, record, C)
        windows: &Self::Ints, // (N, 3): top, left, 1 if flipped
        mean: &Self::Buf,     // (record, record, C)
        y: &mut Self::Buf,    // (N, H, W, C)
    ) -> Result<()>;
}
