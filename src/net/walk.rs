//! The walk through a network: up to the loss, down to the gradients, and the update.
//!
//! A training step is the three in one, and merges operations where it may: see [`crate::net::fuse`].

use crate::error::{Error, Result};
use crate::net::fuse;
use crate::net::net::{Blob, Net, StepKey, StepRecord};
use crate::net::param::{Param, Training, not_for_training, weight_and_bias, weight_and_bias_mut};
use crate::net::plan::{Layer, LayerOp};
use crate::ops::dropout::Dropout;
use crate::ops::pool::UnpoolMode;
use crate::ops::relu::ReluRule;
use crate::ops::sgd::SgdTensor;
use crate::ops::softmax::LossSums;
use crate::ops::{Backend, StepScalars};

/// Whether dropout is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Training pass of global step `step`: the step keys the dropout masks.
    Train {
        /// Global step, counted from 0.
        step: u64,
    },
    /// Evaluation: every layer as it is.
    Eval,
}

/// The scalars of one update of all parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay, on weights; biases decay only if `decay_biases`.
    pub weight_decay: f64,
    /// Whether biases decay too.
    pub decay_biases: bool,
    /// Radius of the RMS clip of convolution filters; `None` for no clip.
    pub rms_clip: Option<f64>,
}

impl Update {
    fn scalars(&self, step: u64) -> StepScalars {
        StepScalars { step, lr: self.lr, momentum: self.momentum, weight_decay: self.weight_decay }
    }
}

impl<B: Backend> Net<B> {
    /// Walks up: fills every blob, the last of which holds the logits.
    pub fn forward(&mut self, pass: Pass) -> Result<()> {
        if let Pass::Train { step } = pass {
            self.set_scalars(StepScalars { step, ..self.step })?;
        }
        self.walk_up(pass != Pass::Eval, self.plan.layers.len(), false)
    }

    /// Evaluation walk up to blob `name`; those above keep what they held.
    pub fn forward_to(&mut self, name: &str) -> Result<()> {
        let top = self.plan.layer_index(name)?;
        self.walk_up(false, top + 1, false)
    }

    /// Loss and ranks of the batch in hand, summed over its images.
    pub fn loss(&mut self) -> Result<LossSums> {
        let top = self.blobs.len() - 1;
        let (z, C) = (&self.blobs[top].y, self.plan.classes);
        self.backend.softmax_loss(self.N, C, z, &self.labels, None, &mut self.tally)?;
        self.read_loss()
    }

    /// Loss, then the walk down: fills the gradient of every parameter. `pass`
    /// must be that of the forward walk.
    pub fn backward(&mut self, pass: Pass) -> Result<LossSums> {
        self.walk_down(pass != Pass::Eval, None)?;
        self.read_loss()
    }

    /// Updates every parameter from its gradient, then clips convolution filters.
    pub fn update(&mut self, update: &Update) -> Result<()> {
        self.set_scalars(update.scalars(self.step.step))?;
        // Other tensors than a fused step's: a recording would then not find its table ready.
        self.step_record = StepRecord::None;
        self.move_params(update, false)
    }

    /// Forward walk, backward walk and update in one, without waiting for them: the
    /// loss is asked for and comes when it is there, see [`Net::await_loss`]. What
    /// the gradients hold afterwards is unspecified, and some blobs are not kept
    /// (see [`crate::net::fuse`]): to look at either, walk with [`Net::forward`]
    /// and [`Net::backward`].
    pub fn train_step(&mut self, step: u64, update: &Update) -> Result<B::Posted> {
        self.set_scalars(update.scalars(step))?;
        let key = StepKey { N: self.N, decay_biases: update.decay_biases, rms_clip: update.rms_clip };
        match &self.step_record {
            StepRecord::Recorded(of, step) if *of == key => self.backend.replay(step)?,
            StepRecord::Ran(of) if *of == key && self.backend.begin_record()? => {
                let walked = self.whole_step(update);
                let step = self.backend.end_record()?;
                walked?;
                self.backend.replay(&step)?;
                self.step_record = StepRecord::Recorded(key, step);
            }
            _ => {
                self.whole_step(update)?;
                self.step_record = StepRecord::Ran(key);
            }
        }
        self.backend.post_tally(&self.tally)
    }

    fn whole_step(&mut self, update: &Update) -> Result<()> {
        let fused = self.fused.then_some(update);
        self.walk_up(true, self.plan.layers.len(), self.fused)?;
        self.walk_down(true, fused)?;
        self.move_params(update, self.fused)
    }

    /// Waits for the loss of a step.
    pub fn await_loss(&mut self, posted: B::Posted) -> Result<LossSums> {
        self.backend.read_tally(posted)
    }

    fn read_loss(&mut self) -> Result<LossSums> {
        let posted = self.backend.post_tally(&self.tally)?;
        self.backend.read_tally(posted)
    }

    fn set_scalars(&mut self, step: StepScalars) -> Result<()> {
        self.step = step;
        self.backend.set_scalars(&step, &mut self.scalars)
    }

    fn walk_up(&mut self, dropping: bool, layers: usize, fused: bool) -> Result<()> {
        let N = self.N;
        let mut i = 0;
        while i < layers {
            let layer = &self.plan.layers[i];
            let (below, above) = self.blobs.split_at_mut(i);
            let x = below.last().map_or(&self.input, |blob| &blob.y);
            let (blob, next) = above.split_at_mut(1);
            let Blob { y, switches, kept } = &mut blob[0];
            let backend = &mut self.backend;
            let three = fuse::conv_pool_lrn(&self.plan.layers[i..layers]);
            let three = three.filter(|three| fused && backend.fuses_conv_pool_lrn_forward(three));
            if let (Some(three), [pooled, normalised, ..]) = (three, &mut *next) {
                let [w, b] = weight_and_bias(&self.params, i)?;
                let codes = switched(pooled.switches.as_mut(), &self.plan.layers[i + 1])?;
                let (a, z) = (&mut pooled.y, &mut normalised.y);
                backend.conv_pool_lrn_forward(&three, N, x, &w.value, &b.value, y, a, codes, z)?;
                (*kept, pooled.kept, normalised.kept) = (false, true, true);
                i += 3;
                continue;
            }
            *kept = true;
            // Pooling and the normalisation behind it share a launch where the backend has one.
            let behind = self.plan.layers[..layers].get(i + 1).map(|layer| &layer.op);
            if let (LayerOp::Pool(pool), Some(LayerOp::Lrn(lrn))) = (&layer.op, behind) {
                let switches = switched(switches.as_mut(), layer)?;
                next[0].kept = true;
                backend.pool_lrn_forward(pool, lrn, N, x, y, switches, &mut next[0].y)?;
                i += 2;
                continue;
            }
            match &layer.op {
                LayerOp::Conv { conv, relu } => {
                    let [w, b] = weight_and_bias(&self.params, i)?;
                    backend.conv_fprop(conv, N, x, &w.value, &b.value, *relu, y)?;
                }
                LayerOp::Pool(pool) => backend.pool_forward(pool, N, x, y, switched(switches.as_mut(), layer)?)?,
                LayerOp::Lrn(lrn) => {
                    backend.lrn_forward(lrn, N * layer.input.H * layer.input.W, layer.input.C, x, y)?;
                }
                LayerOp::Linear { linear, relu, dropout } => {
                    let [w, b] = weight_and_bias(&self.params, i)?;
                    backend.linear_fprop(linear, N, x, &w.value, &b.value, *relu, y)?;
                    if dropping && *dropout > 0.0 {
                        let dropout = Dropout::new(*dropout, self.seed, i as u32)?;
                        backend.dropout(&dropout, &self.scalars, N * linear.outputs, y)?;
                    }
                }
            }
            i += 1;
        }
        Ok(())
    }

    /// With `fused`, linear layers are updated as soon as their gradient is there.
    fn walk_down(&mut self, dropping: bool, fused: Option<&Update>) -> Result<()> {
        let (N, layers) = (self.N, &self.plan.layers);
        let dblobs =
            self.dblobs.as_mut().ok_or_else(|| Error::Usage("backward in a network built for evaluation".into()))?;
        let top = self.blobs.len() - 1;
        let (z, dz) = (&self.blobs[top].y, &mut dblobs[top % 2]);
        self.backend.softmax_loss(N, self.plan.classes, z, &self.labels, Some(dz), &mut self.tally)?;
        for (i, layer) in layers.iter().enumerate().rev() {
            let x = if i == 0 { &self.input } else { &self.blobs[i - 1].y };
            let blob = &self.blobs[i];
            let [even, odd] = &mut *dblobs;
            let (dy, dx) = if i.is_multiple_of(2) { (even, odd) } else { (odd, even) };
            let backend = &mut self.backend;
            match &layer.op {
                LayerOp::Conv { conv, relu } => {
                    let masked = fused.is_some() && i + 1 < layers.len() && fuse::pools_rectified(layers, i + 1);
                    if *relu && !masked {
                        backend.relu_backward(ReluRule::Gradient, N * layer.output.len(), blob.kept(layer)?, dy)?;
                    }
                    let [w, b] = weight_and_bias_mut(&mut self.params, i)?;
                    let (dw, db) = (w.training_mut()?, b.training_mut()?);
                    backend.conv_wgrad(conv, N, x, dy, &mut dw.grad, &mut db.grad)?;
                    if i > 0 {
                        backend.conv_dgrad(conv, N, dy, &w.value, dx)?;
                    }
                }
                // Nothing wants the gradient of the input, and no buffer has room for it.
                LayerOp::Pool(_) | LayerOp::Lrn(_) if i == 0 => {}
                LayerOp::Pool(pool) => {
                    if fused.is_some() && fuse::pools_rectified(layers, i) {
                        backend.relu_backward(ReluRule::Gradient, N * layer.output.len(), &blob.y, dy)?;
                    }
                    backend.unpool(pool, N, UnpoolMode::Add, dy, switched(blob.switches.as_ref(), layer)?, dx)?;
                }
                LayerOp::Lrn(lrn) => {
                    backend.lrn_backward(lrn, N * layer.input.H * layer.input.W, layer.input.C, x, dy, dx)?;
                }
                LayerOp::Linear { linear, relu, dropout } => {
                    if dropping && *dropout > 0.0 {
                        let dropout = Dropout::new(*dropout, self.seed, i as u32)?;
                        backend.dropout(&dropout, &self.scalars, N * linear.outputs, dy)?;
                    }
                    // After dropout y > 0 still means "rectified unit was on and kept".
                    if *relu {
                        backend.relu_backward(ReluRule::Gradient, N * layer.output.len(), &blob.y, dy)?;
                    }
                    let [w, b] = weight_and_bias_mut(&mut self.params, i)?;
                    if let Some(update) = fused {
                        // w is about to change: dx first.
                        if i > 0 {
                            backend.linear_dgrad(linear, N, dy, &w.value, dx)?;
                        }
                        let (w, b) = (w.trained(true)?, b.trained(update.decay_biases)?);
                        backend.linear_wgrad_sgd(linear, N, x, dy, &self.scalars, w, b)?;
                        continue;
                    }
                    let (dw, db) = (w.training_mut()?, b.training_mut()?);
                    backend.linear_wgrad(linear, N, x, dy, &mut dw.grad, &mut db.grad)?;
                    if i > 0 {
                        backend.linear_dgrad(linear, N, dy, &w.value, dx)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// With `fused`, those of linear layers are left out: the walk down has moved them.
    fn move_params(&mut self, update: &Update, fused: bool) -> Result<()> {
        let mut tensors = Vec::with_capacity(self.params.len());
        let moved = |param: &Param<B>| fused && matches!(self.plan.layers[param.layer].op, LayerOp::Linear { .. });
        for param in self.params.iter_mut().filter(|param| !moved(param)) {
            let (K, M) = (param.shape[0], param.fan_in());
            let (is_filter, is_bias) = (param.shape.len() == 4, param.is_bias());
            let Training { grad, momentum } = param.training.as_mut().ok_or_else(not_for_training)?;
            tensors.push(SgdTensor {
                K,
                M,
                decays: !is_bias || update.decay_biases,
                rms_clip: update.rms_clip.filter(|_| is_filter),
                g: grad,
                v: momentum,
                w: &mut param.value,
            });
        }
        self.backend.sgd_step(&self.scalars, &mut tensors)
    }
}

pub(super) fn switched<T>(switches: Option<T>, layer: &Layer) -> Result<T> {
    switches.ok_or_else(|| Error::Usage(format!("{} records no switches", layer.name)))
}
