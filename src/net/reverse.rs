//! The reverse walk: from chosen activations down to pixels.
//!
//! Keep some activations of one blob, set the others to 0, and walk down with the
//! switches and activations that the last forward walk left behind. At each layer,
//! with R the signal, f the forward activation:
//!
//! | layer | step down |
//! |---|---|
//! | pool | unpooling with the recorded switches, `add` or `set` |
//! | conv, linear | rectify by the [`ReluRule`] if the layer is rectified, then the transposed filters; no bias |
//! | LRN | skipped, or its gradient |
//! | dropout | nothing: it is off in an evaluation pass |
//!
//! What arrives at the pixels is signed: nothing rectifies it below the last filter.
//! The steps are the operations of the training pass themselves, so the walk with
//! [`Reverse::GRADIENT`] *is* back-propagation.
//!
//! A kept activation of a rectified layer is rectified once more at the start. That
//! changes nothing: it is not negative, and passes every rule where it is positive.
//!
//! **Rows.** Row n of the batch starts from its own choice and reads the switches and
//! activations of image n. Several projections from one image are several rows with
//! that image: a copy of an image costs one forward pass, reading switches through a
//! table of rows would cost a second version of every operation. So one walk makes as
//! many projections as the network holds images.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::net::net::Net;
use crate::net::param::weight_and_bias;
use crate::net::plan::{Layer, LayerOp, Plan};
use crate::net::walk::switched;
use crate::ops::keep::ANY;
use crate::ops::pool::UnpoolMode;
use crate::ops::relu::ReluRule;
use crate::ops::{Backend, Role};

/// What a normalisation does to the signal on the way down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrnRule {
    /// Nothing: the deconvnet.
    #[default]
    Skip,
    /// Its gradient.
    Differentiate,
}

/// The rules of a reverse walk. The default is the deconvnet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverse {
    /// What passes a ReLU.
    pub relu: ReluRule,
    /// What unpooling does where windows overlap.
    pub unpool: UnpoolMode,
    /// What a normalisation does.
    pub lrn: LrnRule,
}

impl Reverse {
    /// Zeiler & Fergus: the signal is rectified, normalisation is skipped.
    pub const DECONVNET: Reverse = Reverse { relu: ReluRule::Deconvnet, unpool: UnpoolMode::Add, lrn: LrnRule::Skip };
    /// Back-propagation, to rounding the training pass.
    pub const GRADIENT: Reverse =
        Reverse { relu: ReluRule::Gradient, unpool: UnpoolMode::Add, lrn: LrnRule::Differentiate };
    /// Back-propagation that also rectifies the signal (guided back-propagation).
    pub const GUIDED: Reverse =
        Reverse { relu: ReluRule::Guided, unpool: UnpoolMode::Add, lrn: LrnRule::Differentiate };
}

impl FromStr for Reverse {
    type Err = Error;

    /// `deconvnet`, `gradient` or `guided`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "deconvnet" => Ok(Reverse::DECONVNET),
            "gradient" => Ok(Reverse::GRADIENT),
            "guided" => Ok(Reverse::GUIDED),
            _ => Err(Error::Usage(format!("method {name}: expected deconvnet, gradient or guided"))),
        }
    }
}

impl FromStr for UnpoolMode {
    type Err = Error;

    /// `add` or `set`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "add" => Ok(UnpoolMode::Add),
            "set" => Ok(UnpoolMode::Set),
            _ => Err(Error::Usage(format!("unpool {name}: expected add or set"))),
        }
    }
}

/// The activations of a blob (P, Q, K) that a projection starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// One unit.
    Unit {
        /// Row of the map.
        p: usize,
        /// Column of the map.
        q: usize,
        /// Map.
        k: usize,
    },
    /// All of map k.
    Map(usize),
    /// Everything.
    Layer,
}

impl Keep {
    /// The unit as [`KeepOp`](crate::ops::keep::KeepOp) reads it.
    fn unit(self, layer: &Layer) -> Result<[i32; 3]> {
        let (P, Q, K) = (layer.output.H, layer.output.W, layer.output.C);
        match self {
            Keep::Unit { p, q, k } if p < P && q < Q && k < K => Ok([p as i32, q as i32, k as i32]),
            Keep::Map(k) if k < K => Ok([ANY, ANY, k as i32]),
            Keep::Layer => Ok([ANY; 3]),
            Keep::Unit { .. } | Keep::Map(_) => {
                Err(Error::Usage(format!("{self:?} is not in {}, which is {}", layer.name, layer.output)))
            }
        }
    }
}

/// Where a reverse walk works; made when it is first walked.
pub(super) struct Signals<B: Backend> {
    /// They take turns: each has room for the largest blob, as a normalisation that is
    /// skipped moves nothing, and which holds which layer's signal is not fixed.
    turns: [B::Buf; 2],
    units: B::Ints, // (N, 3)
}

impl<B: Backend> Net<B> {
    /// Projects activations of blob `name` to pixels, (N, H, W, C): row n starts from
    /// what `keep[n]` keeps of image n. The forward walk of the batch in hand must have
    /// reached the blob; parameters are those of now.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such layer, map or unit, or not one choice for
    /// each image.
    pub fn project(&mut self, name: &str, keep: &[Keep], reverse: &Reverse) -> Result<Vec<f32>> {
        let top = self.plan.layer_index(name)?;
        let layer = &self.plan.layers[top];
        if keep.len() != self.N || keep.is_empty() {
            let (choices, N) = (keep.len(), self.N);
            return Err(Error::Usage(format!(
                "{choices} choices of what to project for a batch of {N} images: give one for each"
            )));
        }
        let units: Vec<[i32; 3]> = keep.iter().map(|keep| keep.unit(layer)).collect::<Result<_>>()?;
        let signals = signals(&mut self.signals, &self.backend, &self.plan, self.max_batch)?;
        self.backend.upload_ints(units.as_flattened(), &mut signals.units)?;
        let y = self.blobs[top].kept(layer)?;
        self.backend.keep(layer.output, self.N, y, &signals.units, &mut signals.turns[0])?;
        self.walk_to_pixels(top, reverse)
    }

    /// Walks down from any `signal` in the place of blob `name`: pixels (N, H, W, C).
    pub fn project_signal(
        &mut self,
        name: &str,
        signal: &[f32], // (N, P, Q, K)
        reverse: &Reverse,
    ) -> Result<Vec<f32>> {
        let top = self.plan.layer_index(name)?;
        let (N, len) = (self.N, self.plan.layers[top].output.len());
        if N == 0 || signal.len() != N * len {
            return Err(Error::shape(
                "reverse",
                format!("{} values for {N} images in {name}, which has {len} for each", signal.len()),
            ));
        }
        let signals = signals(&mut self.signals, &self.backend, &self.plan, self.max_batch)?;
        self.backend.upload(signal, &mut signals.turns[0])?;
        self.walk_to_pixels(top, reverse)
    }

    /// Walks down from the first of the signals, in the place of blob `top`.
    fn walk_to_pixels(&mut self, top: usize, reverse: &Reverse) -> Result<Vec<f32>> {
        let N = self.N;
        let [above, below] = &mut signals(&mut self.signals, &self.backend, &self.plan, self.max_batch)?.turns;
        let (mut above, mut below) = (above, below);
        let backend = &mut self.backend;
        for (i, layer) in self.plan.layers[..=top].iter().enumerate().rev() {
            let blob = &self.blobs[i];
            match &layer.op {
                LayerOp::Conv { conv, relu } => {
                    if *relu {
                        backend.relu_backward(reverse.relu, N * layer.output.len(), blob.kept(layer)?, above)?;
                    }
                    let [w, _] = weight_and_bias(&self.params, i)?;
                    backend.conv_dgrad(conv, N, above, &w.value, below)?;
                }
                LayerOp::Linear { linear, relu, .. } => {
                    if *relu {
                        backend.relu_backward(reverse.relu, N * layer.output.len(), blob.kept(layer)?, above)?;
                    }
                    let [w, _] = weight_and_bias(&self.params, i)?;
                    backend.linear_dgrad(linear, N, above, &w.value, below)?;
                }
                LayerOp::Pool(pool) => {
                    backend.unpool(pool, N, reverse.unpool, above, switched(blob.switches.as_ref(), layer)?, below)?;
                }
                LayerOp::Lrn(lrn) => match reverse.lrn {
                    // What is above is then also what is below.
                    LrnRule::Skip => continue,
                    LrnRule::Differentiate => {
                        let x = match i {
                            0 => &self.input,
                            _ => self.blobs[i - 1].kept(&self.plan.layers[i - 1])?,
                        };
                        let rows = N * layer.input.H * layer.input.W;
                        backend.lrn_backward(lrn, rows, layer.input.C, x, above, below)?;
                    }
                },
            }
            std::mem::swap(&mut above, &mut below);
        }
        let mut pixels = vec![0f32; N * self.plan.input.len()];
        backend.download(above, &mut pixels)?;
        Ok(pixels)
    }
}

/// The signals of `batch` rows, allocated the first time.
fn signals<'a, B: Backend>(
    there: &'a mut Option<Signals<B>>,
    backend: &B,
    plan: &Plan,
    batch: usize,
) -> Result<&'a mut Signals<B>> {
    match there {
        Some(signals) => Ok(signals),
        none => Ok(none.insert(alloc_signals(backend, plan, batch)?)),
    }
}

fn alloc_signals<B: Backend>(backend: &B, plan: &Plan, batch: usize) -> Result<Signals<B>> {
    let largest = plan.layers.iter().map(|layer| layer.output.len()).fold(plan.input.len(), usize::max);
    let bytes = 2 * (batch * largest * backend.element_bytes(Role::Activation)) as u64;
    if let Some(free) = backend.available_bytes().filter(|&free| free < bytes) {
        let gb = |bytes: u64| bytes as f64 / 1e9;
        return Err(Error::Usage(format!(
            "projections of a batch of {batch} in {} need {:.1} GB more and {:.1} GB are free: choose a smaller batch",
            plan.name,
            gb(bytes),
            gb(free)
        )));
    }
    let signal = || backend.alloc(Role::Activation, batch * largest);
    Ok(Signals { turns: [signal()?, signal()?], units: backend.alloc_ints(batch * 3)? })
}
