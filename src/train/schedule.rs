//! The learning rate over a run.
//!
//! The rate is always `lr / factor^drops`, computed from the number of drops
//! and not by repeated division, so that a resumed run has the same bits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When the rate is lowered.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleConfig {
    /// Never.
    Constant,
    /// At fixed times.
    Steps {
        /// Fractions of the run's epochs after which the rate drops, each in (0, 1), rising.
        at: Vec<f64>,
        /// What the rate is divided by.
        factor: f64,
    },
    /// When the validation error has stopped falling.
    Plateau {
        /// What the rate is divided by.
        factor: f64,
        /// Epochs without improvement after which the rate drops.
        patience: usize,
        /// What counts as an improvement, as a fraction of the images.
        min_delta: f64,
        /// Drops after which the rate stays.
        max_drops: u32,
    },
}

impl ScheduleConfig {
    /// The default plateau: 5 epochs without 0.1 % less error, at most 3 drops by 10.
    pub fn plateau() -> Self {
        ScheduleConfig::Plateau { factor: 10.0, patience: 5, min_delta: 0.001, max_drops: 3 }
    }

    /// The default steps: one drop by 10 after three quarters of the run.
    pub fn steps() -> Self {
        ScheduleConfig::Steps { at: vec![0.75], factor: 10.0 }
    }
}

/// What a schedule remembers from epoch to epoch; checkpoints hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScheduleState {
    /// Drops so far.
    pub drops: u32,
    /// Lowest validation error so far.
    pub best_error: Option<f64>,
    /// Epochs since it improved, or since the last drop.
    pub stale: usize,
}

/// The rate has been lowered.
#[derive(Clone, Debug, PartialEq)]
pub struct Drop {
    /// The rate until now.
    pub from: f64,
    /// The rate from now on.
    pub to: f64,
    /// Why, for the log.
    pub reason: String,
}

/// A schedule at work.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    config: ScheduleConfig,
    lr: f64,
    epochs: usize,
    state: ScheduleState,
}

impl Schedule {
    /// The schedule of a run of `epochs` epochs that starts at rate `lr`.
    pub fn new(config: ScheduleConfig, lr: f64, epochs: usize) -> Self {
        Schedule { config, lr, epochs, state: ScheduleState::default() }
    }

    /// Goes on from a checkpoint's state.
    pub fn resume(mut self, state: ScheduleState) -> Self {
        self.state = state;
        self
    }

    /// What to store in a checkpoint.
    pub fn state(&self) -> ScheduleState {
        self.state
    }

    /// The rate now.
    pub fn lr(&self) -> f64 {
        let factor = match self.config {
            ScheduleConfig::Constant => 1.0,
            ScheduleConfig::Steps { factor, .. } | ScheduleConfig::Plateau { factor, .. } => factor,
        };
        self.lr / factor.powi(self.state.drops as i32)
    }

    /// Tells the schedule that `epoch` epochs (counted from 1) are done, the
    /// last with validation error `val_error`, a fraction in [0, 1]. An error
    /// that is not a number counts as no improvement.
    pub fn epoch_end(&mut self, epoch: usize, val_error: f64) -> Option<Drop> {
        let from = self.lr();
        let reason = match &self.config {
            ScheduleConfig::Constant => None,
            ScheduleConfig::Steps { at, .. } => {
                let due = at.iter().filter(|&&fraction| step_epoch(fraction, self.epochs) <= epoch).count() as u32;
                let reason = format!("epoch {epoch} of {} is done", self.epochs);
                (due > self.state.drops).then_some((due, reason))
            }
            &ScheduleConfig::Plateau { patience, min_delta, max_drops, .. } => {
                self.state.watch(val_error, min_delta);
                let reason = format!("validation error has not fallen by {min_delta} for {} epochs", self.state.stale);
                (self.state.stale >= patience && self.state.drops < max_drops).then(|| (self.state.drops + 1, reason))
            }
        };
        let (drops, reason) = reason?;
        self.state.drops = drops;
        self.state.stale = 0;
        Some(Drop { from, to: self.lr(), reason })
    }
}

impl ScheduleState {
    fn watch(&mut self, error: f64, min_delta: f64) {
        let improved = match self.best_error {
            None => !error.is_nan(),
            Some(best) => error <= best - min_delta && error < best,
        };
        if improved {
            self.best_error = Some(error);
            self.stale = 0;
        } else {
            self.stale += 1;
        }
    }
}

/// The number of epochs after which a drop at `fraction` of `epochs` is due; never before the first.
fn step_epoch(fraction: f64, epochs: usize) -> usize {
    ((fraction * epochs as f64).round() as usize).max(1)
}

/// A learning rate as people read it: six digits, so that 0.003 / 10 is 0.0003
/// and not the 0.00030000000000000003 that it is in binary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format!("{:.5e}", self.0).parse::<f64>() {
            Ok(rounded) => write!(f, "{rounded}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}
