//! A network whose sizes have been worked out and checked.

use crate::error::{Error, Result};
use crate::ops::Role;
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

/// Weights or biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// Filters or the matrix of a linear layer.
    Weight,
    /// One value a map or output.
    Bias,
}

/// One parameter tensor of a planned network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// `<layer>.weight` or `<layer>.bias`.
    pub name: String,
    /// (K, R, S, C/groups), (out, in), or (K).
    pub shape: Vec<usize>,
    /// Weights or biases.
    pub kind: ParamKind,
    /// Index into [`Plan::layers`].
    pub layer: usize,
}

impl Param {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if there are no values; a planned parameter always has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that training holds, by purpose, for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemoryEstimate {
    /// Weights and biases.
    pub parameters: u64,
    /// Their gradients.
    pub gradients: u64,
    /// Their momentum.
    pub momentum: u64,
    /// The input batch and every layer's output, kept for the backward pass.
    pub activations: u64,
    /// One byte for each pooled value.
    pub switches: u64,
    /// Two buffers used in turn: see [`Plan::gradient_buffers`].
    pub activation_gradients: u64,
}

impl MemoryEstimate {
    /// The sum, without the working space of the operations.
    pub fn total(&self) -> u64 {
        let state = self.parameters + self.gradients + self.momentum;
        state + self.activations + self.switches + self.activation_gradients
    }
}

impl Layer {
    /// Shape of the weights, if the layer has any: (K, R, S, C/groups) or (out, in).
    pub fn weight_shape(&self) -> Option<Vec<usize>> {
        match &self.op {
            LayerOp::Conv { conv, .. } => Some(conv.filter_shape().to_vec()),
            LayerOp::Linear { linear, .. } => Some(vec![linear.outputs, linear.inputs]),
            LayerOp::Pool(_) | LayerOp::Lrn(_) => None,
        }
    }

    /// Number of weights and biases.
    pub fn params(&self) -> usize {
        self.weight_shape().map_or(0, |shape| shape.iter().product::<usize>() + shape[0])
    }

    /// Multiply-accumulates of the forward pass for one image: convolutions and linear layers.
    pub fn macs(&self) -> u64 {
        match &self.op {
            LayerOp::Conv { conv, .. } => conv.macs(),
            LayerOp::Linear { linear, .. } => linear.weights() as u64,
            LayerOp::Pool(_) | LayerOp::Lrn(_) => 0,
        }
    }

    /// Whether the output is rectified.
    pub fn relu(&self) -> bool {
        match self.op {
            LayerOp::Conv { relu, .. } | LayerOp::Linear { relu, .. } => relu,
            LayerOp::Pool(_) | LayerOp::Lrn(_) => false,
        }
    }

    /// `conv`, `pool`, `lrn` or `linear`.
    pub fn kind(&self) -> &'static str {
        match self.op {
            LayerOp::Conv { .. } => "conv",
            LayerOp::Pool(_) => "pool",
            LayerOp::Lrn(_) => "lrn",
            LayerOp::Linear { .. } => "linear",
        }
    }

    /// Bytes that the layer itself holds in training: its output and switches
    /// for `batch` images, and its parameters with gradient and momentum.
    pub fn memory(&self, batch: usize, bytes: impl Fn(Role) -> usize) -> u64 {
        let output = (self.output.len() * batch) as u64;
        let switches = if let LayerOp::Pool(_) = self.op { output } else { 0 };
        let params = bytes(Role::Weight) + 2 * bytes(Role::Full);
        output * bytes(Role::Activation) as u64 + (self.params() * params) as u64 + switches
    }
}

impl Plan {
    /// Number of weights and biases.
    pub fn total_params(&self) -> usize {
        self.layers.iter().map(Layer::params).sum()
    }

    /// Multiply-accumulates of the forward pass for one image.
    pub fn total_macs(&self) -> u64 {
        self.layers.iter().map(Layer::macs).sum()
    }

    /// Number of layers that have weights: 8 in ZFNet.
    pub fn depth(&self) -> usize {
        self.layers.iter().filter(|l| l.params() > 0).count()
    }

    /// The parameter tensors, from the input up, weights before biases.
    pub fn params(&self) -> impl Iterator<Item = Param> + '_ {
        self.layers.iter().enumerate().flat_map(|(layer, l)| {
            let weight = l.weight_shape();
            let bias = weight.as_ref().map(|shape| vec![shape[0]]);
            let tensors = [("weight", ParamKind::Weight, weight), ("bias", ParamKind::Bias, bias)];
            tensors.into_iter().filter_map(move |(suffix, kind, shape)| {
                Some(Param { name: format!("{}.{suffix}", l.name), shape: shape?, kind, layer })
            })
        })
    }

    /// Index of the layer called `name`.
    ///
    /// # Errors
    /// [`Error::Usage`] that lists the layers.
    pub fn layer_index(&self, name: &str) -> Result<usize> {
        self.layers.iter().position(|l| l.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.layers.iter().map(|l| l.name.as_str()).collect();
            Error::Usage(format!("no layer `{name}` in {} (there are {})", self.name, names.join(", ")))
        })
    }

    /// What training with `batch` images at a time holds in memory.
    pub fn memory(&self, batch: usize, bytes: impl Fn(Role) -> usize) -> MemoryEstimate {
        let bytes = |role: Role, elements: usize| elements as u64 * bytes(role) as u64;
        let outputs = || self.layers.iter().map(|l| l.output.len());
        let pooled = self.layers.iter().filter(|l| matches!(l.op, LayerOp::Pool(_))).map(|l| l.output.len());
        let parameters = self.total_params();
        MemoryEstimate {
            parameters: bytes(Role::Weight, parameters),
            gradients: bytes(Role::Full, parameters),
            momentum: bytes(Role::Full, parameters),
            activations: bytes(Role::Activation, batch * (self.input.len() + outputs().sum::<usize>())),
            switches: (batch * pooled.sum::<usize>()) as u64,
            activation_gradients: bytes(Role::Activation, batch * self.gradient_buffers().iter().sum::<usize>()),
        }
    }

    /// Elements, for one image, of the two buffers that the gradients of the outputs
    /// use in turn on the way down: one holds those of layers 0, 2, 4, ..., the other
    /// those of layers 1, 3, 5, ...; only two neighbours are alive at a time.
    pub fn gradient_buffers(&self) -> [usize; 2] {
        [0, 1].map(|first| self.layers.iter().skip(first).step_by(2).map(|l| l.output.len()).max().unwrap_or(0))
    }
}
