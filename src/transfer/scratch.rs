//! The whole network, trained on the few images of a fold instead of the data set it came from.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::data::packed::{Dataset, Split};
use crate::error::{Error, Result};
use crate::ops::Backend;
use crate::train::config::Config;
use crate::train::evaluate::{TestCrops, evaluate};
use crate::train::observer::Observer;
use crate::train::run::{Resumed, Run};
use crate::train::trainer::{Options, Trainer};
use crate::transfer::split::Fold;

/// Trains the network of `config`, with seed + number of the fold, on the images that `fold`
/// learns from, and judges it on the others: mean per-class accuracy. `folder` holds the run;
/// one that stands there is taken up where it was left, also at its end.
///
/// Nothing is validated meanwhile: the images to judge by must not choose the epoch.
///
/// # Errors
/// [`Error::Usage`] if `folder` holds a run of another configuration or other images; those of
/// training.
pub fn train<B: Backend>(
    backend: B,
    config: &Config,
    data: &Dataset,
    fold: &Fold,
    folder: &Path,
    observer: &mut dyn Observer,
) -> Result<f64> {
    let learn = Arc::new(data.select(&fold.train, &[])?);
    let judge = Arc::new(data.select(&fold.train, &fold.test)?);
    let mut config = config.clone();
    config.net = config.net.with_classes(data.classes().len());
    config.train.seed += fold.number as u64;
    let Resumed { mut run, config, checkpoint } = open(folder, config)?;
    let options =
        Options { save_every: Duration::from_secs(600), keep_epochs: Vec::new(), loader_threads: 2, fused: true };
    let mut trainer = Trainer::new(backend, &config, &learn, &mut run, checkpoint, &options, observer)?;
    trainer.train()?;
    let scores = evaluate(trainer.net(), &judge, Split::Val, TestCrops::Centre, &mut |_| true)?;
    let shares: Vec<f64> = scores.iter().flat_map(|scores| &scores.per_class).filter_map(|class| class.top1).collect();
    Ok(shares.iter().sum::<f64>() / shares.len().max(1) as f64)
}

/// A new run, or the one that is there.
fn open(folder: &Path, config: Config) -> Result<Resumed> {
    if !folder.join("config.toml").exists() {
        return Ok(Resumed { run: Run::create(folder, &config.to_toml())?, config, checkpoint: None });
    }
    let resumed = Run::resume(folder)?;
    match resumed.config.to_toml() == config.to_toml() {
        true => Ok(resumed),
        false => Err(Error::Usage(format!(
            "{} holds a run with other settings than those asked for: remove it, or choose another --out",
            folder.display()
        ))),
    }
}
