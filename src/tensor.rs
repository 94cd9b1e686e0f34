//! Extents of images and named host tensors: the vocabulary that every floor shares.

use std::fmt;

/// Height, width and channels of one image or feature map (NHWC without the N).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Height in pixels.
    pub H: usize,
    /// Width in pixels.
    pub W: usize,
    /// Channels (feature maps).
    pub C: usize,
}

impl Extent {
    /// An extent of `H` rows, `W` columns and `C` channels.
    pub const fn new(H: usize, W: usize, C: usize) -> Self {
        Extent { H, W, C }
    }

    /// Elements of one image: H * W * C.
    pub const fn len(&self) -> usize {
        self.H * self.W * self.C
    }

    /// True if any side is zero.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.H, self.W, self.C)
    }
}

/// A named parameter as it stands on the host and in files: row-major f32.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// `<layer>.weight` or `<layer>.bias`.
    pub name: String,
    /// Row-major shape: (K, R, S, C/groups) for filters, (out, in) for linear weights, (K) for biases.
    pub shape: Vec<usize>,
    /// `shape.iter().product()` values.
    pub data: Vec<f32>,
}
