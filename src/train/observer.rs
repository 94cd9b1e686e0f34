//! What training tells whoever watches it, and the one thing it asks.

use crate::train::metrics::EpochMetrics;

/// Watches a run. The library draws nothing and prints nothing: the program does.
pub trait Observer {
    /// A message for people. It stands in `log.txt` already.
    fn say(&mut self, _line: &str) {}

    /// An update was made.
    fn step(&mut self, _step: &Step) {}

    /// `done` of `images` images of the validation split have been judged.
    fn validating(&mut self, _done: usize, _images: usize) {}

    /// An epoch is over and its checkpoint written.
    fn epoch(&mut self, _metrics: &EpochMetrics) {}

    /// Asked after every update and every validation batch: true to save and stop.
    fn stop(&mut self) -> bool {
        false
    }
}

/// Where a run stands after an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Epoch under way; the first is 1.
    pub epoch: u64,
    /// Epochs in the whole run.
    pub epochs: u64,
    /// Updates made in this epoch.
    pub step_in_epoch: u64,
    /// Updates in an epoch.
    pub steps_per_epoch: u64,
    /// Updates made since the beginning.
    pub step: u64,
    /// Mean loss of this batch, in nats.
    pub batch_loss: f64,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Top-1 of the epoch so far, from 0 to 1.
    pub top1: f64,
    /// Learning rate.
    pub lr: f64,
    /// Training images per second in this epoch.
    pub images_per_s: f64,
    /// Seconds until the last update, at this rate.
    pub seconds_left: f64,
}

/// Watches nothing.
pub struct Silent;

impl Observer for Silent {}
