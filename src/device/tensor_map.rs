//! Tensor maps: what a GPU's bulk copies (TMA, compute capability 9.0) know of an array in memory.
//!
//! One thread of a kernel asks for a box of the array by the coordinates of its corner; hardware
//! computes the addresses, writes 0 for what lies outside the array, leaves out what a store would
//! write there, and swizzles the rows in shared memory. Facts: the CUDA driver API's
//! `cuTensorMapEncodeTiled` and `cuTensorMapEncodeIm2col`, PTX's chapters on tensors.

use crate::error::{Error, Result};

/// An array in a buffer, cut into boxes. Sizes, strides and sides begin with the innermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Its elements.
    pub element: Element,
    /// 3 or 4 sizes.
    pub sizes: Vec<usize>,
    /// Bytes from one index to the next, of all sizes but the innermost, which lies side by side.
    pub strides: Vec<usize>,
    /// Byte of the buffer at which it begins.
    pub offset: usize,
    /// Bytes of a row in shared memory, 64 or 128, in which 16-byte pieces are swizzled.
    pub row_bytes: usize,
    /// What one copy moves.
    pub window: Window,
}

/// The elements of an array that is copied in bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// bf16.
    Bf16,
    /// f32, as it is.
    F32,
    /// f32, rounded to tf32 on its way to shared memory.
    Tf32,
}

impl Element {
    /// Bytes in memory.
    pub fn bytes(self) -> usize {
        match self {
            Element::Bf16 => 2,
            Element::F32 | Element::Tf32 => 4,
        }
    }
}

/// What one bulk copy moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// A box of so many elements along each side.
    Box(Vec<usize>),
    /// Channels of pixels that follow each other in the images of an array (C, W, H, N): w from
    /// `lower[0]` to W - 1 + `upper[0]` in steps of `steps`, then h likewise, then n. A copy may
    /// shift them all by a tap of a filter.
    Pixels {
        /// First w and h.
        lower: [i64; 2],
        /// Last w and h, from the last of the array.
        upper: [i64; 2],
        /// From one pixel to the next, in both directions.
        step: usize,
        /// Channels of a copy.
        channels: usize,
        /// Pixels of a copy.
        pixels: usize,
    },
}

impl TensorMap {
    /// Whether hardware can do it: the limits of the driver's documentation.
    ///
    /// # Errors
    /// Which limit is passed.
    pub fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::shape("tensor map", format!("{reason} ({self:?})")));
        let (rank, bytes) = (self.sizes.len(), self.element.bytes());
        if !(3..=4).contains(&rank) || self.strides.len() + 1 != rank {
            return refuse(format!("{rank} sizes and {} strides; give 3 or 4, and one less", self.strides.len()));
        }
        if self.sizes.iter().any(|&size| size == 0 || size > i32::MAX as usize) {
            return refuse("each size is 1 to 2147483647".into());
        }
        if self.strides.iter().any(|&stride| !stride.is_multiple_of(16) || stride >= 1 << 40) {
            return refuse("strides are multiples of 16 bytes, below 2^40".into());
        }
        if !self.offset.is_multiple_of(16) {
            return refuse(format!("it begins at byte {}, no multiple of 16", self.offset));
        }
        if ![64, 128].contains(&self.row_bytes) {
            return refuse(format!("rows of {} bytes; 64 and 128 are known here", self.row_bytes));
        }
        let row = match &self.window {
            Window::Box(sides) => {
                if sides.len() != rank || sides.iter().any(|side| !(1..=256).contains(side)) {
                    return refuse(format!("a box has {rank} sides of 1 to 256 elements"));
                }
                sides[0]
            }
            &Window::Pixels { lower, upper, step, channels, pixels } => {
                if rank != 4 || !(1..=256).contains(&channels) || !(1..=1024).contains(&pixels) {
                    return refuse("of 4 sizes 1 to 256 channels of 1 to 1024 pixels are copied".into());
                }
                if !(1..=8).contains(&step) {
                    return refuse("pixels are 1 to 8 apart".into());
                }
                let corners = lower.iter().chain(&upper);
                if corners.clone().any(|corner| !(-128..=127).contains(corner)) {
                    return refuse("corners of images are -128 to 127".into());
                }
                let spans = [0, 1].map(|i| self.sizes[1 + i] as i64 - 1 + upper[i] - lower[i]);
                if spans.iter().any(|&span| span < 0) {
                    return refuse("there is no pixel between the corners".into());
                }
                channels
            }
        };
        if row * bytes != self.row_bytes {
            return refuse(format!("rows of {row} elements fill {} bytes", row * bytes));
        }
        Ok(())
    }

    /// Bytes of the buffer from its begin to the array's end.
    pub fn end(&self) -> usize {
        let outer: usize = self.sizes[1..].iter().zip(&self.strides).map(|(size, stride)| (size - 1) * stride).sum();
        self.offset + outer + self.sizes[0] * self.element.bytes()
    }
}
