//! What a run leaves behind: its checkpoints, and what it says.

use std::path::PathBuf;
use std::time::Instant;

use super::Trainer;
use crate::data::packed::Split;
use crate::error::{Error, Result};
use crate::net::Part;
use crate::ops::Backend;
use crate::tensor::NamedTensor;
use crate::train::checkpoint::{Checkpoint, Header, Progress};
use crate::train::schedule::Rate;

impl<B: Backend> Trainer<'_, B> {
    /// Says what is about to be trained, on what.
    pub(super) fn introduce(&mut self) -> Result<()> {
        let (plan, train, data) = (self.net.plan(), &self.config.train, self.data);
        let mut lines = vec![
            format!("device {}", self.net.backend().describe()),
            format!(
                "net    {}, {} parameters, input {}, {} classes",
                plan.name,
                plan.total_params(),
                plan.input,
                plan.classes
            ),
            format!(
                "data   {}: {} images to train on, {} to validate, records of {} px",
                data.root().display(),
                data.split(Split::Train).len(),
                data.split(Split::Val).len(),
                data.size()
            ),
            format!(
                "train  {} epochs, batch {}, lr {}, seed {}",
                train.epochs,
                train.batch,
                Rate(self.schedule.lr()),
                train.seed
            ),
            format!("run    {}", self.run.folder().display()),
        ];
        let Progress { epoch, step, step_in_epoch, .. } = self.progress;
        if step > 0 {
            lines.push(format!("goes on after {epoch} epochs and {step_in_epoch} updates, {step} updates in all"));
        }
        lines.iter().try_for_each(|line| self.say(line))
    }

    /// Writes where the run stands.
    pub(super) fn save(&mut self, paths: &[PathBuf]) -> Result<()> {
        let checkpoint = self.checkpoint()?;
        self.write(&checkpoint, paths)
    }

    pub(super) fn write(&mut self, checkpoint: &Checkpoint, paths: &[PathBuf]) -> Result<()> {
        paths.iter().try_for_each(|path| checkpoint.write(path))?;
        self.saved = (Instant::now(), self.progress.step);
        Ok(())
    }

    /// Where the run stands. Parameters that are not finite are an error, so that
    /// they never overwrite good ones.
    pub(super) fn checkpoint(&mut self) -> Result<Checkpoint> {
        let S = self.data.size();
        let checkpoint = Checkpoint {
            header: Header {
                config: self.config.to_toml(),
                classes: self.data.classes().to_vec(),
                record: S,
                progress: self.progress,
            },
            weights: self.net.export(Part::Value)?,
            momentum: self.net.export(Part::Momentum)?,
            mean: NamedTensor { name: "mean".into(), shape: vec![S, S, 3], data: self.data.mean().to_vec() },
        };
        match checkpoint.first_non_finite() {
            Some(tensor) => Err(self.non_finite(self.progress.step, self.loss, format!("parameter {tensor}"))),
            None => Ok(checkpoint),
        }
    }

    /// Saves, and says so.
    pub(super) fn interrupt(&mut self) -> Error {
        let last = self.run.last();
        if let Err(error) = self.save(&[last]) {
            return error;
        }
        let Progress { epoch, step, .. } = self.progress;
        let message = format!(
            "all is saved at step {step} (epoch {}); go on with --resume --out {}",
            epoch + 1,
            self.run.folder().display()
        );
        match self.run.log(&format!("interrupted: {message}")) {
            Ok(()) => Error::Interrupted(message),
            Err(error) => error,
        }
    }

    pub(super) fn non_finite(&mut self, step: u64, loss: f64, place: String) -> Error {
        let advice = format!(
            "Lower the learning rate (now {}) or choose another initialisation. {} is the last good checkpoint, of step {}",
            Rate(self.schedule.lr()),
            self.run.last().display(),
            self.saved.1
        );
        let error = Error::NonFinite { step, loss, place, advice };
        // The error itself is what matters; a log that cannot be written comes second.
        let _ = self.run.log(&error.to_string());
        error
    }

    /// To the log and to the observer.
    pub(super) fn say(&mut self, line: &str) -> Result<()> {
        self.run.log(line)?;
        self.observer.say(line);
        Ok(())
    }
}
