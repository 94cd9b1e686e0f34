//! A network whose sizes have been worked out and checked.

use crate::ops::conv::Conv;
use crate::ops::linear::Linear;
use crate::ops::lrn::Lrn;
use crate::ops::pool::Pool;
use crate::tensor::Extent;

/// What a layer computes, with its sizes.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerOp {
    /// Convolution + bias, then ReLU if `relu`.
    Conv {
        /// Sizes.
        conv: Conv,
        /// Whether the output is rectified.
        relu: bool,
    },
    /// Max pooling with switches.
    Pool(Pool),
    /// Local response normalisation.
    Lrn(Lrn),
    /// Fully connected + bias, then ReLU if `relu`, then dropout.
    Linear {
        /// Sizes.
        linear: Linear,
        /// Whether the output is rectified.
        relu: bool,
        /// Probability that an output is dropped in training.
        dropout: f64,
    },
}

/// One layer of a planned network. Its output is the blob of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Unique name: `conv1`, `pool1`, `fc8`.
    pub name: String,
    /// What it computes.
    pub op: LayerOp,
    /// Extent of its input, for one image.
    pub input: Extent,
    /// Extent of its output, for one image (a linear layer's is 1 x 1 x outputs).
    pub output: Extent,
    /// Side of the square of input pixels that one output depends on.
    pub receptive_field: usize,
    /// Distance in input pixels between the fields of neighbouring outputs.
    pub jump: usize,
    /// Where the field of output (0, 0) begins, in input pixels; negative with padding.
    pub field_start: isize,
}

/// A planned network: a chain of layers from the image crop to the class scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The preset's or file's name.
    pub name: String,
    /// The image crop that the network sees.
    pub input: Extent,
    /// Number of classes; the last layer is linear with this many outputs.
    pub classes: usize,
    /// Layers from the input up.
    pub layers: Vec<Layer>,
}
