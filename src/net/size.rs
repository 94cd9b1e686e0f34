//! Planning: from a description to sizes that fit.
//!
//! **Receptive fields.** An output of a layer with an R x R window and stride t
//! over inputs whose fields are `field` wide, `jump` apart and begin at `start`:
//!
//! ```text
//! field' = field + (R - 1) jump,   jump' = jump t,   start' = start - pad jump
//! ```
//!
//! Output (p, q) depends on the pixels start + p jump .. start + p jump + field,
//! cut at the border of the image. Normalisation changes none of them.
//!
//! A linear layer is a convolution whose one window is its whole input, so
//! R = H (for 6 x 6 maps: 171 + 5 * 32). It has a single position, and its box
//! is stored already cut at the image's border: 224 px from 0 for fc6 of ZFNet.

use super::config::{LayerConfig, NetConfig, OpConfig};
use super::plan::{Layer, LayerOp, Plan};
use crate::error::{Error, Result};
use crate::ops::conv::Conv;
use crate::ops::linear::Linear;
use crate::ops::lrn::Lrn;
use crate::ops::pool::Pool;
use crate::tensor::Extent;

/// More weights, activations of one image, or (times 2^16) multiply-accumulates
/// than this are a slip of the pen. Below it no sum or product over a planned
/// network overflows.
const MOST: u64 = 1 << 40;

/// Outputs farther apart than this many pixels are a slip of the pen too; below
/// it receptive fields do not overflow.
const FARTHEST: usize = 1 << 20;

/// The RGB crop has 3 channels.
const CHANNELS: usize = 3;

impl Plan {
    /// Works out and checks the sizes of `config` for a data set of `classes` classes.
    ///
    /// # Errors
    /// [`Error::Config`] with line, key and reason where a size does not fit,
    /// or if the description fixes another number of classes.
    pub fn new(config: &NetConfig, classes: usize) -> Result<Self> {
        config.check()?;
        if let (Some(layer), Some(fixed)) = (config.layers.last(), config.classes().filter(|c| *c != classes)) {
            return Err(layer.refuse("outputs", format!("{fixed} outputs cannot score {classes} classes")));
        }
        let image = Extent::new(config.input, config.input, CHANNELS);
        let (mut input, mut field, mut layers) = (image, Field::PIXEL, Vec::with_capacity(config.layers.len()));
        let (mut params, mut macs, mut activations) = (0u64, 0u128, image.len() as u64);
        for described in &config.layers {
            let layer = Layer::new(described, input, field, image, classes)?;
            params = params.saturating_add(layer.params() as u64);
            // P Q times the weights, in 128 bits: `Conv::macs` may wrap before it is known to fit.
            let positions = (layer.output.H * layer.output.W) as u128;
            macs += positions * layer.weight_shape().map_or(0, |shape| shape.iter().map(|&s| s as u128).product());
            activations = activations.saturating_add(layer.output.len() as u64);
            if params > MOST || activations > MOST || macs > u128::from(MOST) << 16 {
                let reason = format!(
                    "up to here {params} parameters, {activations} activations and {macs} multiply-accumulates: \
                     too many for any machine"
                );
                return Err(described.refuse(described.op.kind(), reason));
            }
            input = layer.output;
            field = Field { size: layer.receptive_field, jump: layer.jump, start: layer.field_start };
            layers.push(layer);
        }
        Ok(Plan { name: config.name.clone(), input: image, classes, layers })
    }
}

impl Layer {
    /// Plans `config` on top of a layer with the given output and field.
    fn new(config: &LayerConfig, input: Extent, below: Field, image: Extent, classes: usize) -> Result<Self> {
        let op = LayerOp::new(config, input, classes)?;
        let (output, field) = match &op {
            LayerOp::Conv { conv, .. } => (conv.output(), below.window(conv.R, conv.stride, conv.pad)),
            LayerOp::Pool(pool) => (pool.output(), below.window(pool.R, pool.stride, 0)),
            LayerOp::Lrn(_) => (input, below),
            LayerOp::Linear { linear, .. } => {
                (Extent::new(1, 1, linear.outputs), below.window(input.H, 1, 0).cut(image.H))
            }
        };
        if field.jump > FARTHEST {
            return Err(config.refuse("stride", format!("the strides up to here multiply to more than {FARTHEST}")));
        }
        Ok(Layer {
            name: config.name.clone(),
            op,
            input,
            output,
            receptive_field: field.size,
            jump: field.jump,
            field_start: field.start,
        })
    }
}

impl LayerOp {
    fn new(config: &LayerConfig, input: Extent, classes: usize) -> Result<Self> {
        // The operations' own checks know the sizes; the line and key are ours to add.
        let explain = |key: &str, error: Error| match error {
            Error::Shape { reason, .. } => config.refuse(key, reason),
            other => other,
        };
        match config.op {
            OpConfig::Conv(c) => {
                fits(
                    config,
                    "filters",
                    &[input.H, input.W, input.C, c.filters, c.kernel, c.kernel, c.stride, c.groups],
                )?;
                let conv = Conv::new(input, c.filters, (c.kernel, c.kernel), c.stride, c.pad, c.groups);
                let key = if !input.C.is_multiple_of(c.groups) || !c.filters.is_multiple_of(c.groups) {
                    "groups"
                } else if c.pad >= c.kernel {
                    "pad"
                } else {
                    "kernel"
                };
                Ok(LayerOp::Conv { conv: conv.map_err(|e| explain(key, e))?, relu: c.relu })
            }
            OpConfig::Pool(p) => {
                fits(config, "stride", &[input.H, input.W, input.C, p.kernel, p.stride])?;
                let pool = Pool::new(input, p.kernel, p.stride, p.rounding);
                Ok(LayerOp::Pool(pool.map_err(|e| explain("kernel", e))?))
            }
            OpConfig::Lrn(l) => {
                let lrn = Lrn::new(l.n, l.k, l.alpha, l.beta, l.divide_alpha);
                Ok(LayerOp::Lrn(lrn.map_err(|e| explain("lrn", e))?))
            }
            OpConfig::Linear(l) => {
                let outputs = l.outputs.unwrap_or(classes);
                fits(config, "outputs", &[input.H, input.W, input.C, outputs])?;
                let linear = Linear::new(input.len(), outputs).map_err(|e| explain("outputs", e))?;
                Ok(LayerOp::Linear { linear, relu: l.relu, dropout: l.dropout })
            }
        }
    }
}

/// Refuses `key` if the product of `sizes` overflows: the operations multiply them unchecked.
fn fits(config: &LayerConfig, key: &str, sizes: &[usize]) -> Result<()> {
    let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    product.map(|_| ()).ok_or_else(|| config.refuse(key, "the layer is too large for any machine"))
}

/// The field of a layer's outputs: see the module's documentation.
#[derive(Clone, Copy)]
struct Field {
    size: usize,
    jump: usize,
    start: isize,
}

impl Field {
    /// A pixel sees itself.
    const PIXEL: Field = Field { size: 1, jump: 1, start: 0 };

    fn window(self, R: usize, stride: usize, pad: usize) -> Self {
        Field {
            size: self.size + (R - 1) * self.jump,
            jump: self.jump * stride,
            start: self.start - (pad * self.jump) as isize,
        }
    }

    /// The part of the field at position 0 inside an image of `side` pixels.
    fn cut(self, side: usize) -> Self {
        let end = (self.start + self.size as isize).min(side as isize);
        let start = self.start.max(0);
        Field { size: (end - start).max(0) as usize, start, ..self }
    }
}
