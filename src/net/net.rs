//! A planned network on a backend: its buffers, and how a batch gets in.

use crate::error::{Error, Result};
use crate::net::param::{Param, Training};
use crate::net::plan::{Layer, LayerOp, ParamKind, Plan};
use crate::net::reverse::Signals;
use crate::ops::crop::Crop;
use crate::ops::{Backend, Role, StepScalars};

/// Output of one layer, kept for the backward pass and for inspection.
pub(super) struct Blob<B: Backend> {
    pub(super) y: B::Buf,                  // (N, P, Q, K)
    pub(super) switches: Option<B::Bytes>, // (N, P, Q, C), of a pooling layer
    /// Whether `y` is what the last walk up computed: a fused one leaves some unwritten.
    pub(super) kept: bool,
}

impl<B: Backend> Blob<B> {
    /// The output, which `layer` calls its own.
    ///
    /// # Errors
    /// [`Error::Usage`] if the last walk up did not write it.
    pub(super) fn kept(&self, layer: &Layer) -> Result<&B::Buf> {
        match self.kept {
            true => Ok(&self.y),
            false => Err(Error::Usage(format!(
                "the last training step fused {} with the layers above it and did not keep its output: \
                 walk up with forward() or forward_to() first",
                layer.name
            ))),
        }
    }
}

/// A training step that is asked for again and again.
pub(super) enum StepRecord<B: Backend> {
    /// None has run yet.
    None,
    /// It has run once: all its memory is there.
    Ran(StepKey),
    /// It is recorded.
    Recorded(StepKey, B::Recorded),
}

/// What the recorded operations of a step depend on, beside buffers and scalars.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct StepKey {
    pub N: usize,
    pub decay_biases: bool,
    pub rms_clip: Option<f64>,
}

/// The records that the input stage crops from.
pub(super) struct Source<B: Backend> {
    pub(super) crop: Crop,
    images: B::Bytes, // (N, record, record, C)
    /// Where the next batch is copied to meanwhile; made when one is first sent.
    spare: Option<B::Bytes>, // (N, record, record, C)
    sent: Option<B::Sent>,
    windows: B::Ints,        // (N, 3)
    pub(super) mean: B::Buf, // (record, record, C)
}

/// A network with all its buffers, for up to `max_batch` images.
pub struct Net<B: Backend> {
    pub(super) backend: B,
    pub(super) plan: Plan,
    pub(super) seed: u64,
    /// Whether training steps fuse layers: see [`Net::set_fused`].
    pub(super) fused: bool,
    pub(super) max_batch: usize,
    pub(super) N: usize,
    pub(super) source: Option<Source<B>>,
    pub(super) labels: B::Ints, // (N)
    pub(super) input: B::Buf,   // (N, H, W, C)
    pub(super) blobs: Vec<Blob<B>>,
    /// Gradients of even and of odd blobs: only two neighbours live at a time.
    pub(super) dblobs: Option<[B::Buf; 2]>,
    pub(super) signals: Option<Signals<B>>,
    pub(super) params: Vec<Param<B>>,
    /// What the operations read in `scalars`.
    pub(super) step: StepScalars,
    pub(super) scalars: B::Scalars,
    pub(super) tally: B::Tally,
    /// The step that ran last, for the next time it is asked for.
    pub(super) step_record: StepRecord<B>,
}

impl<B: Backend> Net<B> {
    /// Allocates everything for `max_batch` images. With `training`, gradients and
    /// momentum too. `seed` keys dropout and initialisation. Parameters are zero
    /// until [`Net::init`] or [`Net::import`].
    pub fn new(backend: B, plan: Plan, max_batch: usize, training: bool, seed: u64) -> Result<Self> {
        if max_batch == 0 {
            return Err(Error::Usage("the batch must hold at least one image".into()));
        }
        fits(&backend, &plan, max_batch, training)?;
        let mut blobs = Vec::new();
        for layer in &plan.layers {
            let len = max_batch * layer.output.len();
            let switches = match layer.op {
                LayerOp::Pool(_) => Some(backend.alloc_bytes(len)?),
                _ => None,
            };
            blobs.push(Blob { y: backend.alloc(Role::Activation, len)?, switches, kept: true });
        }
        let mut params = Vec::new();
        for spec in plan.params() {
            let len = spec.len();
            let role = if spec.kind == ParamKind::Weight { Role::Weight } else { Role::Full };
            let state = match training {
                true => {
                    Some(Training { grad: backend.alloc(Role::Full, len)?, momentum: backend.alloc(Role::Full, len)? })
                }
                false => None,
            };
            params.push(Param {
                name: spec.name,
                shape: spec.shape,
                layer: spec.layer,
                value: backend.alloc(role, len)?,
                training: state,
            });
        }
        let gradient = |len: usize| backend.alloc(Role::Activation, max_batch * len);
        let dblobs = match (training, plan.gradient_buffers()) {
            (true, [even, odd]) => Some([gradient(even)?, gradient(odd)?]),
            (false, _) => None,
        };
        let input = alloc_images(&backend, &plan, max_batch)?;
        let labels = backend.alloc_ints(max_batch)?;
        let (scalars, tally) = (backend.alloc_scalars()?, backend.alloc_tally()?);
        let step = StepScalars::default();
        Ok(Net {
            backend,
            plan,
            seed,
            fused: true,
            max_batch,
            N: 0,
            source: None,
            labels,
            input,
            blobs,
            dblobs,
            signals: None,
            params,
            step,
            scalars,
            tally,
            step_record: StepRecord::None,
        })
    }

    /// Whether [`Net::train_step`] fuses layers, as it does unless told otherwise: see
    /// [`fuse`](crate::net::fuse), also for what it does to results.
    pub fn set_fused(&mut self, fused: bool) {
        if self.fused != fused {
            (self.fused, self.step_record) = (fused, StepRecord::None);
        }
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
    /// the fan-in of a weight.
    pub fn init(&mut self, std: impl Fn(usize) -> f64) -> Result<()> {
        for (lane, param) in self.params.iter_mut().enumerate() {
            let mut data = vec![0f32; param.len()];
            if !param.is_bias() {
                crate::net::init::normal(self.seed, lane as u32, std(param.fan_in()), &mut data);
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
            spare: None,
            sent: None,
            windows: self.backend.alloc_ints(self.max_batch * 3)?,
            mean: self.backend.alloc(Role::Full, crop.input().len())?,
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
        let source = self.source.as_mut().ok_or_else(no_source)?;
        let record = source.crop.input();
        if images.len() != labels.len() * record.len() {
            let (N, bytes) = (labels.len(), images.len());
            return Err(Error::shape("crop", format!("{N} labels, but {bytes} image bytes (records of {record})")));
        }
        self.backend.upload_bytes(images, &mut source.images)?;
        self.cut(windows, labels)
    }

    /// Starts to copy the records of a batch to come, beside what is asked for from now on:
    /// call it before the step that the copy is to run beside. [`Net::load_sent`] takes it in.
    pub fn send_records(
        &mut self,
        images: B::Host, // (N, record, record, C)
        N: usize,
    ) -> Result<()> {
        let room = self.max_batch;
        let source = self.source.as_mut().ok_or_else(no_source)?;
        let bytes = source.crop.input().len();
        if N > room || images.len() < N * bytes {
            let (given, record) = (images.len(), source.crop.input());
            return Err(Error::shape(
                "crop",
                format!("{N} records of {record} from {given} bytes, into room for {room}"),
            ));
        }
        if source.sent.is_some() {
            return Err(Error::Usage("a batch of records is already on its way: take it in first".into()));
        }
        let to = match source.spare.take() {
            Some(buffer) => buffer,
            None => self.backend.alloc_bytes(room * bytes)?,
        };
        source.sent = Some(self.backend.send(images, N * bytes, to)?);
        Ok(())
    }

    /// Takes in the batch that was sent, and cuts the windows out of its records; gives
    /// their memory back.
    pub fn load_sent(
        &mut self,
        windows: &[i32], // (N, 3): top, left, 1 if flipped
        labels: &[i32],  // (N)
    ) -> Result<B::Host> {
        let source = self.source.as_mut().ok_or_else(no_source)?;
        let sent = source.sent.take().ok_or_else(|| Error::Usage("load_sent before send_records".into()))?;
        let (host, images) = self.backend.receive(sent)?;
        source.spare = Some(std::mem::replace(&mut source.images, images));
        self.cut(windows, labels)?;
        Ok(host)
    }

    /// Crops the records that are there.
    fn cut(
        &mut self,
        windows: &[i32], // (N, 3)
        labels: &[i32],  // (N)
    ) -> Result<()> {
        self.set_labels(labels)?;
        let N = self.N;
        let source = self.source.as_mut().ok_or_else(no_source)?;
        let crop = source.crop;
        if windows.len() != N * 3 {
            return Err(Error::shape("crop", format!("{N} labels, but {} window values", windows.len())));
        }
        check_windows(&crop, windows)?;
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

    pub(super) fn set_labels(&mut self, labels: &[i32]) -> Result<()> {
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
}

/// Room for `N` images, as the first layer reads them: where it is a convolution over all channels,
/// their pixels lie as the backend likes.
pub(super) fn alloc_images<B: Backend>(backend: &B, plan: &Plan, N: usize) -> Result<B::Buf> {
    match plan.layers.first().map(|layer| &layer.op) {
        Some(LayerOp::Conv { conv, .. }) if conv.groups == 1 => backend.alloc_images(N, plan.input),
        _ => backend.alloc(Role::Activation, N * plan.input.len()),
    }
}

/// Refuses windows that leave their records.
pub(super) fn check_windows(
    crop: &Crop,
    windows: &[i32], // (N, 3)
) -> Result<()> {
    let (top, left) = (crop.record - crop.output.H, crop.record - crop.output.W);
    let leaves = |w: &&[i32]| !(0..=top as i32).contains(&w[0]) || !(0..=left as i32).contains(&w[1]);
    match windows.chunks_exact(3).find(leaves) {
        None => Ok(()),
        Some(w) => {
            Err(Error::shape("crop", format!("window at ({}, {}) leaves the {} record", w[0], w[1], crop.input())))
        }
    }
}

pub(super) fn no_source() -> Error {
    Error::Usage("records before set_source".into())
}

/// Refuses a batch for which the memory is not there, and says which one would fit.
fn fits<B: Backend>(backend: &B, plan: &Plan, batch: usize, training: bool) -> Result<()> {
    let Some(free) = backend.available_bytes() else { return Ok(()) };
    let needed = |batch: usize| {
        let memory = plan.memory(batch, |role| backend.element_bytes(role));
        if training { memory.total() } else { memory.parameters + memory.activations + memory.switches }
    };
    if needed(batch) <= free {
        return Ok(());
    }
    let advice = match free.saturating_sub(needed(0)) / (needed(1) - needed(0)) {
        0 => "not even one image fits".to_owned(),
        most => format!("choose a batch of {most} or fewer"),
    };
    let gb = |bytes: u64| bytes as f64 / 1e9;
    Err(Error::Usage(format!(
        "{} with a batch of {batch} needs {:.1} GB and {:.1} GB are free: {advice}",
        plan.name,
        gb(needed(batch)),
        gb(free)
    )))
}
