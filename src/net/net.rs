//! A planned network on a backend: its buffers, and the walk up and down.

use crate::error::{Error, Result};
use crate::net::plan::{Layer, LayerOp, Plan};
use crate::ops::Backend;
use crate::ops::crop::Crop;
use crate::ops::dropout::Dropout;
use crate::ops::pool::UnpoolMode;
use crate::ops::relu::ReluRule;
use crate::ops::sgd::SgdStep;
use crate::ops::softmax::LossSums;
use crate::tensor::NamedTensor;

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

/// One trainable tensor.
pub struct Param<B: Backend> {
    /// `<layer>.weight` or `<layer>.bias`.
    pub name: String,
    /// (K, R, S, C/groups), (out, in), or (K).
    pub shape: Vec<usize>,
    /// Index of the layer it belongs to.
    pub layer: usize,
    /// Current value.
    pub value: B::Buf,
    /// What training adds to it; `None` in a network built for evaluation alone.
    pub training: Option<Training<B>>,
}

/// What training keeps beside each parameter, in the parameter's shape.
pub struct Training<B: Backend> {
    /// Gradient of the mean loss, from the last backward pass.
    pub grad: B::Buf,
    /// Momentum.
    pub momentum: B::Buf,
}

impl<B: Backend> Param<B> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if it has no element (never, in a planned network).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weights have two axes or more, biases one.
    pub fn is_bias(&self) -> bool {
        self.shape.len() == 1
    }

    /// Inputs that one output sums over: elements of one filter.
    pub fn fan_in(&self) -> usize {
        self.shape[1..].iter().product()
    }
}

/// Which of a parameter's tensors is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The parameter itself.
    Value,
    /// Its gradient from the last backward pass.
    Grad,
    /// Its momentum.
    Momentum,
}

/// Output of one layer, kept for the backward pass and for inspection.
struct Blob<B: Backend> {
    y: B::Buf,                  // (N, P, Q, K)
    switches: Option<B::Bytes>, // (N, P, Q, C), of a pooling layer
}

/// The records that the input stage crops from.
struct Source<B: Backend> {
    crop: Crop,
    images: B::Bytes, // (N, record, record, C)
    windows: B::Ints, // (N, 3)
    mean: B::Buf,     // (record, record, C)
}

/// A network with all its buffers, for up to `max_batch` images.
pub struct Net<B: Backend> {
    backend: B,
    plan: Plan,
    seed: u64,
    max_batch: usize,
    N: usize,
    source: Option<Source<B>>,
    labels: B::Ints, // (N)
    input: B::Buf,   // (N, H, W, C)
    blobs: Vec<Blob<B>>,
    /// Gradients of even and of odd blobs: only two neighbours live at a time.
    dblobs: Option<[B::Buf; 2]>,
    params: Vec<Param<B>>,
}

impl<B: Backend> Net<B> {
    /// Allocates everything for `max_batch` images. With `training`, gradients and
    /// momentum too. `seed` keys dropout and initialisation. Parameters are zero
    /// until [`Net::init`] or [`Net::import`].
    pub fn new(backend: B, plan: Plan, max_batch: usize, training: bool, seed: u64) -> Result<Self> {
        if max_batch == 0 {
            return Err(Error::Usage("the batch must hold at least one image".into()));
        }
        let mut blobs = Vec::new();
        for layer in &plan.layers {
            let len = max_batch * layer.output.len();
            let switches = match layer.op {
                LayerOp::Pool(_) => Some(backend.alloc_bytes(len)?),
                _ => None,
            };
            blobs.push(Blob { y: backend.alloc(len)?, switches });
        }
        let mut params = Vec::new();
        for spec in plan.params() {
            let len = spec.shape.iter().product();
            let state = match training {
                true => Some(Training { grad: backend.alloc(len)?, momentum: backend.alloc(len)? }),
                false => None,
            };
            params.push(Param {
                name: spec.name,
                shape: spec.shape,
                layer: spec.layer,
                value: backend.alloc(len)?,
                training: state,
            });
        }
        let dblobs = match training {
            true => {
                Some([backend.alloc(max_batch * largest(&plan, 0))?, backend.alloc(max_batch * largest(&plan, 1))?])
            }
            false => None,
        };
        let input = backend.alloc(max_batch * plan.input.len())?;
        let labels = backend.alloc_ints(max_batch)?;
        Ok(Net { backend, plan, seed, max_batch, N: 0, source: None, labels, input, blobs, dblobs, params })
    }

    /// The plan this network was built from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The most images a pass can hold.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// Images of the pass in hand.
    pub fn batch(&self) -> usize {
        self.N
    }

    /// The backend, for its description.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// All parameters, from the input up, each layer's weight before its bias.
    pub fn params(&self) -> &[Param<B>] {
        &self.params
    }

    /// All parameters, to change them.
    pub fn params_mut(&mut self) -> &mut [Param<B>] {
        &mut self.params
    }

    /// Draws weights from N(0, std^2) and zeroes biases and momentum. `std` gets
    /// the fan-in of a weight and whether it belongs to the first layer.
    pub fn init(&mut self, std: impl Fn(usize, bool) -> f64) -> Result<()> {
        for (lane, param) in self.params.iter_mut().enumerate() {
            let mut data = vec![0f32; param.len()];
            if !param.is_bias() {
                crate::net::init::normal(self.seed, lane as u32, std(param.fan_in(), param.layer == 0), &mut data);
            }
            self.backend.upload(&data, &mut param.value)?;
            if let Some(training) = &mut param.training {
                data.fill(0.0);
                self.backend.upload(&data, &mut training.momentum)?;
            }
        }
        Ok(())
    }

    /// Prepares for square records of side `record`, whose training mean is
    /// `mean` (record, record, C).
    pub fn set_source(&mut self, record: usize, mean: &[f32]) -> Result<()> {
        let crop = Crop::new(record, self.plan.input)?;
        if mean.len() != crop.input().len() {
            return Err(Error::shape(
                "crop",
                format!(
                    "the mean image has {} values, records of {} have {}",
                    mean.len(),
                    crop.input(),
                    crop.input().len()
                ),
            ));
        }
        let mut source = Source {
            crop,
            images: self.backend.alloc_bytes(self.max_batch * crop.input().len())?,
            windows: self.backend.alloc_ints(self.max_batch * 3)?,
            mean: self.backend.alloc(crop.input().len())?,
        };
        self.backend.upload(mean, &mut source.mean)?;
        self.source = Some(source);
        Ok(())
    }

    /// Takes in a batch of records and cuts the windows out of them.
    pub fn load_records(
        &mut self,
        images: &[u8],   // (N, record, record, C)
        windows: &[i32], // (N, 3): top, left, 1 if flipped
        labels: &[i32],  // (N)
    ) -> Result<()> {
        self.set_labels(labels)?;
        let N = self.N;
        let source = self.source.as_mut().ok_or_else(|| Error::Usage("load_records before set_source".into()))?;
        let crop = source.crop;
        if images.len() != N * crop.input().len() || windows.len() != N * 3 {
            return Err(Error::shape(
                "crop",
                format!(
                    "{N} labels, but {} image bytes (records of {}) and {} window values",
                    images.len(),
                    crop.input(),
                    windows.len()
                ),
            ));
        }
        let (top, left) = (crop.record - crop.output.H, crop.record - crop.output.W);
        for window in windows.chunks_exact(3) {
            if !(0..=top as i32).contains(&window[0]) || !(0..=left as i32).contains(&window[1]) {
                return Err(Error::shape(
                    "crop",
                    format!("window at ({}, {}) leaves the {} record", window[0], window[1], crop.input()),
                ));
            }
        }
        self.backend.upload_bytes(images, &mut source.images)?;
        self.backend.upload_ints(windows, &mut source.windows)?;
        self.backend.crop_forward(&crop, N, &source.images, &source.windows, &source.mean, &mut self.input)
    }

    /// Takes in a batch that is already cropped and mean-subtracted.
    pub fn load_input(
        &mut self,
        x: &[f32],      // (N, H, W, C)
        labels: &[i32], // (N)
    ) -> Result<()> {
        self.set_labels(labels)?;
        if x.len() != self.N * self.plan.input.len() {
            return Err(Error::shape(
                "input",
                format!("{} labels, but {} values for images of {}", self.N, x.len(), self.plan.input),
            ));
        }
        self.backend.upload(x, &mut self.input)
    }

    fn set_labels(&mut self, labels: &[i32]) -> Result<()> {
        if labels.is_empty() || labels.len() > self.max_batch {
            return Err(Error::shape(
                "input",
                format!("{} images in a network built for 1 to {}", labels.len(), self.max_batch),
            ));
        }
        if let Some(bad) = labels.iter().find(|l| !(0..self.plan.classes as i32).contains(l)) {
            return Err(Error::shape("softmax", format!("label {bad} is not one of {} classes", self.plan.classes)));
        }
        self.N = labels.len();
        self.backend.upload_ints(labels, &mut self.labels)
    }

    /// Walks up: fills every blob, the last of which holds the logits.
    pub fn forward(&mut self, pass: Pass) -> Result<()> {
        let N = self.N;
        for (i, layer) in self.plan.layers.iter().enumerate() {
            let (below, above) = self.blobs.split_at_mut(i);
            let x = below.last().map_or(&self.input, |blob| &blob.y);
            let Blob { y, switches } = &mut above[0];
            let backend = &mut self.backend;
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
                    if let (Pass::Train { step }, true) = (pass, *dropout > 0.0) {
                        backend.dropout(&Dropout::new(*dropout, self.seed, i as u32)?, step, N * linear.outputs, y)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Loss and ranks of the batch in hand, summed over its images.
    pub fn loss(&mut self) -> Result<LossSums> {
        let top = self.blobs.len() - 1;
        self.backend.softmax_loss(self.N, self.plan.classes, &self.blobs[top].y, &self.labels, None)
    }

    /// Loss, then the walk down: fills the gradient of every parameter. `pass`
    /// must be that of the forward walk.
    pub fn backward(&mut self, pass: Pass) -> Result<LossSums> {
        let N = self.N;
        let dblobs =
            self.dblobs.as_mut().ok_or_else(|| Error::Usage("backward in a network built for evaluation".into()))?;
        let top = self.blobs.len() - 1;
        let logits = &self.blobs[top].y;
        let sums = self.backend.softmax_loss(N, self.plan.classes, logits, &self.labels, Some(&mut dblobs[top % 2]))?;
        for (i, layer) in self.plan.layers.iter().enumerate().rev() {
            let x = if i == 0 { &self.input } else { &self.blobs[i - 1].y };
            let Blob { y, switches } = &self.blobs[i];
            let [even, odd] = &mut *dblobs;
            let (dy, dx) = if i.is_multiple_of(2) { (even, odd) } else { (odd, even) };
            let backend = &mut self.backend;
            match &layer.op {
                LayerOp::Conv { conv, relu } => {
                    if *relu {
                        backend.relu_backward(ReluRule::Gradient, N * layer.output.len(), y, dy)?;
                    }
                    let [w, b] = weight_and_bias_mut(&mut self.params, i)?;
                    let (dw, db) = (w.training_mut()?, b.training_mut()?);
                    backend.conv_wgrad(conv, N, x, dy, &mut dw.grad, &mut db.grad)?;
                    if i > 0 {
                        backend.conv_dgrad(conv, N, dy, &w.value, dx)?;
                    }
                }
                LayerOp::Pool(pool) => {
                    backend.unpool(pool, N, UnpoolMode::Add, dy, switched(switches.as_ref(), layer)?, dx)?;
                }
                LayerOp::Lrn(lrn) => {
                    backend.lrn_backward(lrn, N * layer.input.H * layer.input.W, layer.input.C, x, dy, dx)?;
                }
                LayerOp::Linear { linear, relu, dropout } => {
                    if let (Pass::Train { step }, true) = (pass, *dropout > 0.0) {
                        backend.dropout(&Dropout::new(*dropout, self.seed, i as u32)?, step, N * linear.outputs, dy)?;
                    }
                    // After dropout y > 0 still means "rectified unit was on and kept".
                    if *relu {
                        backend.relu_backward(ReluRule::Gradient, N * layer.output.len(), y, dy)?;
                    }
                    let [w, b] = weight_and_bias_mut(&mut self.params, i)?;
                    let (dw, db) = (w.training_mut()?, b.training_mut()?);
                    backend.linear_wgrad(linear, N, x, dy, &mut dw.grad, &mut db.grad)?;
                    if i > 0 {
                        backend.linear_dgrad(linear, N, dy, &w.value, dx)?;
                    }
                }
            }
        }
        Ok(sums)
    }

    /// Updates every parameter from its gradient, then clips convolution filters.
    pub fn update(&mut self, update: &Update) -> Result<()> {
        for param in &mut self.params {
            let decays = !param.is_bias() || update.decay_biases;
            let weight_decay = if decays { update.weight_decay } else { 0.0 };
            let step = SgdStep { lr: update.lr, momentum: update.momentum, weight_decay };
            let len = param.len();
            let (K, M) = (param.shape[0], param.fan_in());
            let is_filter = param.shape.len() == 4;
            let value = &mut param.value;
            let training = param.training.as_mut().ok_or_else(not_for_training)?;
            self.backend.sgd_step(&step, len, &training.grad, &mut training.momentum, value)?;
            if let (Some(radius), true) = (update.rms_clip, is_filter) {
                self.backend.rms_clip(radius, K, M, value)?;
            }
        }
        Ok(())
    }

    /// Softmax of the logits in hand: (N, classes).
    pub fn probabilities(&mut self) -> Result<Vec<f32>> {
        let (N, C) = (self.N, self.plan.classes);
        let mut p = self.backend.alloc(N * C)?;
        let top = self.blobs.len() - 1;
        self.backend.softmax(N, C, &self.blobs[top].y, &mut p)?;
        let mut out = vec![0f32; N * C];
        self.backend.download(&p, &mut out)?;
        Ok(out)
    }

    /// The blob of layer `name` for the batch in hand: (N, P, Q, K).
    pub fn blob(&mut self, name: &str) -> Result<Vec<f32>> {
        let i = self.plan.layer_index(name)?;
        let mut out = vec![0f32; self.N * self.plan.layers[i].output.len()];
        self.backend.download(&self.blobs[i].y, &mut out)?;
        Ok(out)
    }

    /// The input crops of the batch in hand: (N, H, W, C).
    pub fn input(&mut self) -> Result<Vec<f32>> {
        let mut out = vec![0f32; self.N * self.plan.input.len()];
        self.backend.download(&self.input, &mut out)?;
        Ok(out)
    }

    /// Every parameter's value, gradient or momentum, on the host.
    pub fn export(&mut self, part: Part) -> Result<Vec<NamedTensor>> {
        let mut tensors = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let mut data = vec![0f32; param.len()];
            let buffer = match part {
                Part::Value => &param.value,
                Part::Grad => &param.training.as_ref().ok_or_else(not_for_training)?.grad,
                Part::Momentum => &param.training.as_ref().ok_or_else(not_for_training)?.momentum,
            };
            self.backend.download(buffer, &mut data)?;
            tensors.push(NamedTensor { name: param.name.clone(), shape: param.shape.clone(), data });
        }
        Ok(tensors)
    }

    /// Sets every parameter's value or momentum. All must be there, in the right shape.
    pub fn import(&mut self, part: Part, tensors: &[NamedTensor]) -> Result<()> {
        for param in &mut self.params {
            let tensor = tensors.iter().find(|t| t.name == param.name).ok_or_else(|| {
                Error::Usage(format!("the weights have no {}: they belong to another network", param.name))
            })?;
            if tensor.shape != param.shape || tensor.data.len() != param.len() {
                return Err(Error::Usage(format!(
                    "{} is {:?} in the weights, {:?} in this network",
                    param.name, tensor.shape, param.shape
                )));
            }
            let buffer = match part {
                Part::Value => &mut param.value,
                Part::Grad => &mut param.training.as_mut().ok_or_else(not_for_training)?.grad,
                Part::Momentum => &mut param.training.as_mut().ok_or_else(not_for_training)?.momentum,
            };
            self.backend.upload(&tensor.data, buffer)?;
        }
        Ok(())
    }

    /// Where the first value that is not finite stands, from the input up: in the
    /// input, in a layer's parameters, in its output. `None` if all are finite.
    pub fn first_non_finite(&mut self) -> Result<Option<String>> {
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        if !finite(&self.input()?) {
            return Ok(Some("the input".into()));
        }
        for i in 0..self.plan.layers.len() {
            for p in 0..self.params.len() {
                let param = &self.params[p];
                if param.layer == i {
                    let mut data = vec![0f32; param.len()];
                    self.backend.download(&param.value, &mut data)?;
                    if !finite(&data) {
                        return Ok(Some(format!("parameter {}", param.name)));
                    }
                }
            }
            let name = self.plan.layers[i].name.clone();
            if !finite(&self.blob(&name)?) {
                return Ok(Some(format!("the output of {name}")));
            }
        }
        Ok(None)
    }
}

impl<B: Backend> Param<B> {
    fn training_mut(&mut self) -> Result<&mut Training<B>> {
        self.training.as_mut().ok_or_else(not_for_training)
    }
}

fn not_for_training() -> Error {
    Error::Usage("this network was built for evaluation: it has no gradients or momentum".into())
}

/// The largest blob among those at even (0) or odd (1) positions, for one image.
fn largest(plan: &Plan, parity: usize) -> usize {
    plan.layers.iter().skip(parity).step_by(2).map(|layer| layer.output.len()).max().unwrap_or(0)
}

fn weight_and_bias<B: Backend>(params: &[Param<B>], layer: usize) -> Result<[&Param<B>; 2]> {
    match params.iter().position(|p| p.layer == layer) {
        Some(i) => Ok([&params[i], &params[i + 1]]),
        None => Err(Error::Usage(format!("layer {layer} has no parameters"))),
    }
}

fn weight_and_bias_mut<B: Backend>(params: &mut [Param<B>], layer: usize) -> Result<[&mut Param<B>; 2]> {
    let at = params.iter().position(|p| p.layer == layer);
    match at.and_then(|i| params[i..].split_first_mut()) {
        Some((weight, [bias, ..])) => Ok([weight, bias]),
        _ => Err(Error::Usage(format!("layer {layer} has no parameters"))),
    }
}

fn switched<T>(switches: Option<T>, layer: &Layer) -> Result<T> {
    switches.ok_or_else(|| Error::Usage(format!("{} records no switches", layer.name)))
}
