//! A network on random records: the work that is timed.
//!
//! **Forward pass**: a batch of 8-bit records is copied in, cropped, flipped and
//! mean-subtracted, then walks up with dropout off. **Training step**: the same with
//! dropout on, loss, the walk down, and the update of all parameters (momentum,
//! weight decay, RMS clip), with the settings of the network's description.
//! Not in it: reading and decoding, which the loader does in other threads.

use crate::error::{Error, Result};
use crate::net::{Net, Pass, Plan, Update};
use crate::ops::Backend;
use crate::philox::{Purpose, Stream};
use crate::train::Config;

/// A network with a batch of random images.
pub struct Workload<B: Backend> {
    net: Net<B>,
    images: Vec<u8>,   // (N, record, record, C)
    windows: Vec<i32>, // (N, 3)
    labels: Vec<i32>,  // (N)
    update: Update,
    step: u64,
}

impl<B: Backend> Workload<B> {
    /// The network of `config` for `classes` classes, initialised as for training,
    /// and `batch` images; whether its training steps fuse layers (see [`crate::net::fuse`]).
    ///
    /// # Errors
    /// Those of [`Plan::new`] and [`Net::new`]: what does not fit, in sizes or in memory.
    pub fn new(backend: B, config: &Config, classes: usize, batch: usize, fused: bool) -> Result<Self> {
        let (plan, train) = (Plan::new(&config.net, classes)?, &config.train);
        let (input, record) = (plan.input, record(plan.input.H));
        let depth = plan.depth();
        let mut net = Net::new(backend, plan, batch, true, train.seed)?;
        net.set_fused(fused);
        net.init(|fan_in| train.init.std(fan_in, depth))?;
        // Bytes are uniform: 127.5 is their mean.
        net.set_source(record, &vec![127.5; record * record * input.C])?;
        let update = Update {
            lr: train.lr,
            momentum: train.momentum,
            weight_decay: train.weight_decay,
            decay_biases: false,
            rms_clip: train.rms_clip,
        };
        let draws = |lane| Stream::new(train.seed, Purpose::Test, lane);
        let below = |lane: u32, i: usize, bound: usize| draws(lane).below(0, i as u64, bound as u32) as i32;
        let window = |n: usize| [below(1, 2 * n, record - input.H + 1), below(1, 2 * n + 1, record - input.W + 1)];
        Ok(Workload {
            net,
            images: random_bytes(&draws(0), batch * record * record * input.C),
            windows: (0..batch).flat_map(|n| [window(n)[0], window(n)[1], below(2, n, 2)]).collect(),
            labels: (0..batch).map(|n| below(3, n, classes)).collect(),
            update,
            step: 0,
        })
    }

    /// The network.
    pub fn net(&self) -> &Net<B> {
        &self.net
    }

    /// The forward pass.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn forward(&mut self) -> Result<()> {
        self.net.load_records(&self.images, &self.windows, &self.labels)?;
        self.net.forward(Pass::Eval)
    }

    /// The training step; gives the batch's mean loss.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if the loss is not a finite number: a wrong result is not
    /// worth timing. Those of the backend.
    pub fn train(&mut self) -> Result<f64> {
        self.net.load_records(&self.images, &self.windows, &self.labels)?;
        let posted = self.net.train_step(self.step, &self.update)?;
        let sums = self.net.await_loss(posted)?;
        if !sums.loss.is_finite() {
            return Err(Error::NonFinite {
                step: self.step,
                loss: sums.loss,
                place: self.net.first_non_finite()?.unwrap_or_else(|| "the loss itself".into()),
                advice: "Times of a diverged network mean nothing: lower lr in the description's [train].".into(),
            });
        }
        self.step += 1;
        Ok(sums.loss / self.labels.len() as f64)
    }

    /// Images of a pass.
    pub fn batch(&self) -> usize {
        self.labels.len()
    }

    /// Multiply-adds of a forward pass count two each.
    pub fn forward_flops(&self) -> u64 {
        2 * self.batch() as u64 * self.net.plan().total_macs()
    }

    /// Three directions of every layer, but no data gradient of the first.
    pub fn train_flops(&self) -> u64 {
        let first = self.net.plan().layers.first().map_or(0, |layer| layer.macs());
        3 * self.forward_flops() - 2 * self.batch() as u64 * first
    }
}

/// Side of the records for crops of side `input`: 256 for 224.
fn record(input: usize) -> usize {
    input * 8 / 7
}

fn random_bytes(stream: &Stream, len: usize) -> Vec<u8> {
    let blocks = (0..len.div_ceil(16) as u64).flat_map(|i| stream.block(0, i));
    let mut bytes: Vec<u8> = blocks.flat_map(u32::to_le_bytes).collect();
    bytes.truncate(len);
    bytes
}
