//! The training loop.
//!
//! One epoch: a pass over the training split in batches (forward, backward,
//! update), a pass over the validation split, a line in `metrics.jsonl`, the
//! checkpoints. Everything a step depends on is the network's parameters and
//! momentum, the seed, and its place (epoch, step), so that a run continued from
//! a checkpoint, in the middle of an epoch too, makes the same updates bit for bit.

mod keep;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::data::loader::{Batch, Loader, Order, SplitSource};
use crate::data::packed::{Dataset, Split};
use crate::error::{Error, Result};
use crate::net::{Net, Part, Plan, Update};
use crate::ops::Backend;
use crate::ops::crop::Crop;
use crate::train::checkpoint::{Best, Checkpoint, Progress, Running};
use crate::train::config::Config;
use crate::train::evaluate::{TestCrops, evaluate, same_classes};
use crate::train::metrics::EpochMetrics;
use crate::train::observer::{Observer, Step};
use crate::train::run::Run;
use crate::train::schedule::{Drop, Rate, Schedule};
use crate::train::score::Evaluation;

/// How to go about a run; nothing here changes its results.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time after which a checkpoint is written in the middle of an epoch.
    pub save_every: Duration,
    /// Epochs of which a checkpoint is kept.
    pub keep_epochs: Vec<u64>,
    /// Threads that fill batches.
    pub loader_threads: usize,
    /// Whether steps fuse layers: see [`crate::net::fuse`].
    pub fused: bool,
}

/// What came out of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Epochs finished.
    pub epochs: u64,
    /// Updates made.
    pub steps: u64,
    /// The best epoch.
    pub best: Option<Best>,
}

/// A step that has been asked for.
struct Pending<B: Backend> {
    posted: B::Posted,
    step: u64,
    images: usize,
}

/// A network in training.
pub struct Trainer<'a, B: Backend> {
    net: Net<B>,
    config: &'a Config,
    data: &'a Arc<Dataset>,
    run: &'a mut Run,
    options: &'a Options,
    observer: &'a mut dyn Observer,
    schedule: Schedule,
    progress: Progress,
    /// The step under way: its loss is read while the next one runs.
    pending: Option<Pending<B>>,
    /// When the last loss was read.
    clock: Instant,
    /// Mean loss of the last batch whose loss has been read.
    loss: f64,
    /// When the last checkpoint was written, and of which step it is.
    saved: (Instant, u64),
}

impl<'a, B: Backend> Trainer<'a, B> {
    /// A run at its beginning or, with a checkpoint of it, where that stands. A
    /// new run gets its first checkpoint here.
    ///
    /// # Errors
    /// What does not fit together (network, records, classes, checkpoint), and
    /// what cannot be allocated or written.
    pub fn new(
        backend: B,
        config: &'a Config,
        data: &'a Arc<Dataset>,
        run: &'a mut Run,
        from: Option<Checkpoint>,
        options: &'a Options,
        observer: &'a mut dyn Observer,
    ) -> Result<Self> {
        let train = &config.train;
        let plan = plan(config, data)?;
        let mut net = Net::new(backend, plan, train.batch, true, train.seed)?;
        net.set_source(data.size(), data.mean())?;
        net.set_fused(options.fused);
        let mut schedule = Schedule::new(train.schedule.clone(), train.lr, train.epochs);
        let fresh = from.is_none();
        let progress = match from {
            Some(checkpoint) => {
                same_data(&checkpoint, data, run)?;
                checkpoint.expect(&run.last(), net.plan())?;
                net.import(Part::Value, &checkpoint.weights)?;
                net.import(Part::Momentum, &checkpoint.momentum)?;
                schedule = schedule.resume(checkpoint.header.progress.schedule);
                checkpoint.header.progress
            }
            None => {
                let depth = net.plan().depth();
                net.init(|fan_in| train.init.std(fan_in, depth))?;
                Progress::default()
            }
        };
        let saved = (Instant::now(), progress.step);
        let (pending, clock) = (None, Instant::now());
        let mut trainer =
            Trainer { net, config, data, run, options, observer, schedule, progress, pending, clock, loss: 0.0, saved };
        if fresh {
            // A folder that cannot be written to, or is too small, shows itself
            // before an epoch of work is lost.
            trainer.save(&[trainer.run.last()])?;
        }
        trainer.introduce()?;
        Ok(trainer)
    }

    /// Trains to the last epoch.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the observer asked to stop and everything is
    /// saved; [`Error::NonFinite`] when the loss or a parameter stops being finite,
    /// [`Error::Io`] when the folder cannot be written to: the last checkpoint
    /// stands as it was.
    pub fn train(&mut self) -> Result<Summary> {
        while self.progress.epoch < self.config.train.epochs as u64 {
            self.train_epoch()?;
            let started = Instant::now();
            let validation = self.validate()?;
            self.close_epoch(validation, started.elapsed().as_secs_f64())?;
        }
        let Progress { epoch, step, best, .. } = self.progress;
        Ok(Summary { epochs: epoch, steps: step, best })
    }

    /// The network.
    pub fn net(&mut self) -> &mut Net<B> {
        &mut self.net
    }

    /// The updates of one epoch, or of what is left of it.
    fn train_epoch(&mut self) -> Result<()> {
        let Progress { epoch, step_in_epoch: step, .. } = self.progress;
        let (train, input) = (&self.config.train, self.net.plan().input);
        let order = Order::Train { seed: train.seed, crops: train.crops, epoch, step };
        let source = SplitSource::new(self.data, Split::Train);
        let (size, threads) = ((input.H, input.W), self.options.loader_threads);
        let memory = self.net.backend().host_memory();
        let mut loader = Loader::with_memory(source, order, train.batch, size, threads, memory)?;
        let steps_per_epoch = loader.steps_per_epoch();
        self.clock = Instant::now();
        let mut ahead = if step < steps_per_epoch { Some(self.send(&mut loader)?) } else { None };
        while let Some(batch) = ahead.take() {
            let images = self.net.load_sent(&batch.windows, &batch.labels)?;
            let last = self.progress.step_in_epoch + 1 == steps_per_epoch;
            // The next batch is copied to the device while this step runs.
            ahead = if last { None } else { Some(self.send(&mut loader)?) };
            let pending = self.step(batch.len())?;
            loader.recycle(batch.with_memory(images));
            if let Some(before) = self.pending.replace(pending) {
                self.settle(before, steps_per_epoch)?;
            }
            let (stop, save) = (self.observer.stop(), self.saved.0.elapsed() >= self.options.save_every);
            if let Some(pending) = self.pending.take_if(|_| stop || save || last) {
                self.settle(pending, steps_per_epoch)?;
            }
            if stop {
                return Err(self.interrupt());
            }
            if save {
                self.save(&[self.run.last()])?;
            }
        }
        Ok(())
    }

    /// Sends the loader's next batch on its way to the device.
    fn send(&mut self, loader: &mut Loader<B::Host>) -> Result<Batch<()>> {
        let ended = || Error::Usage("the loader gave fewer batches than an epoch has".into());
        let (images, mut batch) = loader.next_batch()?.ok_or_else(ended)?.take_memory();
        if !self.config.train.flip {
            batch.windows.chunks_exact_mut(3).for_each(|window| window[2] = 0);
        }
        self.net.send_records(images, batch.len())?;
        Ok(batch)
    }

    /// Asks for one update, from the `N` images that are loaded.
    fn step(&mut self, N: usize) -> Result<Pending<B>> {
        let step = self.progress.step;
        let posted = self.net.train_step(step, &self.update())?;
        self.progress.step += 1;
        self.progress.step_in_epoch += 1;
        Ok(Pending { posted, step, images: N })
    }

    /// Waits for the loss of a step, and reports it.
    fn settle(&mut self, pending: Pending<B>, steps_per_epoch: u64) -> Result<()> {
        let Pending { posted, step, images } = pending;
        let sums = self.net.await_loss(posted)?;
        self.loss = sums.loss / images as f64;
        if !sums.loss.is_finite() {
            let place = self.net.first_non_finite()?.unwrap_or_else(|| "the loss itself".into());
            return Err(self.non_finite(step, self.loss, place));
        }
        let running = &mut self.progress.running;
        running.loss += sums.loss;
        running.top1 += sums.top1 as u64;
        running.images += images as u64;
        running.seconds += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        let report = self.report(step + 1, steps_per_epoch);
        self.observer.step(&report);
        Ok(())
    }

    fn update(&self) -> Update {
        let train = &self.config.train;
        Update {
            lr: self.schedule.lr(),
            momentum: train.momentum,
            weight_decay: train.weight_decay,
            decay_biases: false,
            rms_clip: train.rms_clip,
        }
    }

    /// Where the run stands after `step` updates.
    fn report(&self, step: u64, steps_per_epoch: u64) -> Step {
        let Progress { epoch, running, .. } = self.progress;
        let step_in_epoch = self.progress.step_in_epoch - (self.progress.step - step);
        let epochs = self.config.train.epochs as u64;
        let steps_left = (epochs - epoch) * steps_per_epoch - step_in_epoch;
        Step {
            epoch: epoch + 1,
            epochs,
            step_in_epoch,
            steps_per_epoch,
            step,
            batch_loss: self.loss,
            loss: running.loss / running.images as f64,
            top1: running.top1 as f64 / running.images as f64,
            lr: self.schedule.lr(),
            images_per_s: running.images as f64 / running.seconds,
            seconds_left: running.seconds / step_in_epoch as f64 * steps_left as f64,
        }
    }

    /// Scores the validation split; `None` if the data has none.
    fn validate(&mut self) -> Result<Option<Evaluation>> {
        let images = self.data.split(Split::Val).len();
        if images == 0 {
            return Ok(None);
        }
        let observer = &mut *self.observer;
        let mut go_on = |done| {
            observer.validating(done, images);
            !observer.stop()
        };
        match evaluate(&mut self.net, self.data, Split::Val, TestCrops::Centre, &mut go_on)? {
            // All updates of the epoch are in the checkpoint, so that the resumed
            // run begins with this validation.
            None => Err(self.interrupt()),
            Some(evaluation) if !evaluation.loss.is_finite() => {
                let place = self.net.first_non_finite()?.unwrap_or_else(|| "the validation loss".into());
                Err(self.non_finite(self.progress.step, evaluation.loss, place))
            }
            evaluation => Ok(evaluation),
        }
    }

    /// Metrics, schedule, checkpoints. `last` is written at the very end: a run
    /// killed before that goes through the epoch again and writes the same files.
    fn close_epoch(&mut self, validation: Option<Evaluation>, seconds: f64) -> Result<()> {
        let running = self.progress.running;
        let lr = self.schedule.lr();
        let metrics = EpochMetrics {
            epoch: self.progress.epoch + 1,
            step: self.progress.step,
            train_loss: running.loss / running.images as f64,
            train_top1: running.top1 as f64 / running.images as f64,
            val_loss: validation.as_ref().map(|v| v.loss),
            val_top1: validation.as_ref().map(|v| v.top1),
            val_top5: validation.as_ref().map(|v| v.top5),
            lr,
            images_per_s: running.images as f64 / running.seconds,
            seconds: running.seconds + seconds,
        };
        let score = metrics.score();
        let is_best = self.progress.best.is_none_or(|best| score > best.score);
        let progress = &mut self.progress;
        progress.epoch = metrics.epoch;
        progress.step_in_epoch = 0;
        progress.running = Running::default();
        if is_best {
            progress.best = Some(Best { epoch: metrics.epoch, score });
        }
        let drop = self.schedule.epoch_end(metrics.epoch as usize, 1.0 - score);
        progress.schedule = self.schedule.state();

        let mut paths = Vec::new();
        if is_best {
            paths.push(self.run.best());
        }
        if self.options.keep_epochs.contains(&metrics.epoch) {
            paths.push(self.run.epoch(metrics.epoch));
        }
        paths.push(self.run.last());
        let checkpoint = self.checkpoint()?;
        self.run.record(&metrics)?;
        self.write(&checkpoint, &paths)?;
        self.say(&metrics.to_string())?;
        let goes_on = metrics.epoch < self.config.train.epochs as u64;
        if let (Some(Drop { from, to, reason }), true) = (drop, goes_on) {
            self.say(&format!("learning rate {} -> {}: {reason}", Rate(from), Rate(to)))?;
        }
        self.observer.epoch(&metrics);
        Ok(())
    }
}

/// The network of `config` for `data`.
///
/// # Errors
/// [`Error::Config`] if its sizes or its number of classes do not fit,
/// [`Error::Shape`] if the records are too small for it.
pub fn plan(config: &Config, data: &Dataset) -> Result<Plan> {
    let plan = Plan::new(&config.net, data.classes().len())?;
    Crop::new(data.size(), plan.input)?;
    Ok(plan)
}

/// A run goes on with the data it began with: the same classes and mean image.
fn same_data(checkpoint: &Checkpoint, data: &Dataset, run: &Run) -> Result<()> {
    let header = &checkpoint.header;
    same_classes(&header.classes, data.classes(), &run.last(), data.root())?;
    if header.record != data.size() || checkpoint.mean.data != data.mean() {
        return Err(Error::Usage(format!(
            "{} is not the data set that {} was trained on (records of {} px, there {}; or another mean image)",
            data.root().display(),
            run.folder().display(),
            data.size(),
            header.record
        )));
    }
    Ok(())
}
