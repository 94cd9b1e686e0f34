//! What is measured in an epoch, and the file that keeps it: `metrics.jsonl`.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::replace::replace_file;
use crate::train::schedule::Rate;

/// One line of `metrics.jsonl`. Losses are means over images, in nats; top-1 and
/// top-5 are shares of images, from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Epochs finished, this one included: the first is 1.
    pub epoch: u64,
    /// Updates made so far.
    pub step: u64,
    /// Loss over the epoch, each batch before its update, dropout on.
    pub train_loss: f64,
    /// Top-1 over the epoch, likewise.
    pub train_top1: f64,
    /// Loss on the validation split; null if the data has none.
    pub val_loss: Option<f64>,
    /// Top-1 on the validation split.
    pub val_top1: Option<f64>,
    /// Top-5 on the validation split.
    pub val_top5: Option<f64>,
    /// Learning rate of this epoch.
    pub lr: f64,
    /// Training images per second of training time (validation not counted).
    pub images_per_s: f64,
    /// Seconds of the epoch, training and validation, of all sessions that worked on it.
    pub seconds: f64,
}

impl EpochMetrics {
    /// What makes a checkpoint the best: top-1 on the validation split, or on the
    /// training batches where the data has no validation split.
    pub fn score(&self) -> f64 {
        self.val_top1.unwrap_or(self.train_top1)
    }
}

impl fmt::Display for EpochMetrics {
    /// A line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}: train loss {:.4}, top-1 {:.4}", self.epoch, self.train_loss, self.train_top1)?;
        if let (Some(loss), Some(top1), Some(top5)) = (self.val_loss, self.val_top1, self.val_top5) {
            write!(f, "; val loss {loss:.4}, top-1 {top1:.4}, top-5 {top5:.4}")?;
        }
        write!(f, "; lr {}, {:.1} images/s, {:.1} s", Rate(self.lr), self.images_per_s, self.seconds)
    }
}

/// Adds a line at the end of `path` and flushes it to the disk.
pub fn append(path: &Path, metrics: &EpochMetrics) -> Result<()> {
    let mut line = serde_json::to_string(metrics).map_err(|e| Error::format(path, e.to_string()))?;
    line.push('\n');
    let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(Error::io("open", path))?;
    file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).map_err(Error::io("write", path))
}

/// All lines of `path`, which may be missing.
pub fn read(path: &Path) -> Result<Vec<EpochMetrics>> {
    let lines = whole_lines(path)?;
    let parse = |(i, line): (usize, &String)| {
        serde_json::from_str(line).map_err(|e| Error::format(path, format!("line {}: {e}", i + 1)))
    };
    lines.iter().enumerate().map(parse).collect()
}

/// Drops the lines after epoch `last`: a run that was killed between a line and
/// its checkpoint goes through that epoch again.
pub fn truncate(path: &Path, last: u64) -> Result<()> {
    let lines = whole_lines(path)?;
    let mut kept = String::new();
    for (line, metrics) in lines.iter().zip(read(path)?) {
        if metrics.epoch <= last {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    replace_file(path, |out| out.write_all(kept.as_bytes()))
}

/// Lines that end in a newline: a killed process may leave half a line behind.
fn whole_lines(path: &Path) -> Result<Vec<String>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    let end = text.rfind('\n').map_or(0, |i| i + 1);
    Ok(text[..end].lines().map(str::to_owned).collect())
}
