//! The runs that a table needs: one for each network and seed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::bench::clock::Timing;
use crate::bench::workload::Workload;
use crate::data::packed::{Dataset, Split};
use crate::error::{Error, Result};
use crate::net::Plan;
use crate::ops::Backend;
use crate::paper::net::{Scale, Variant};
use crate::paper::table::{Member, Row};
use crate::train::device::Job;
use crate::train::metrics;
use crate::train::run::checkpoint_path;
use crate::train::{Config, TrainEdit};

/// How the runs are made.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// Folder for runs and tables.
    pub out: &'a Path,
    /// The data set.
    pub data: &'a Dataset,
    /// Size of the networks.
    pub scale: Scale,
    /// What is changed in the networks' own training settings; its seed is that of the first repetition.
    pub edit: &'a TrainEdit,
    /// How often everything is repeated, with other seeds.
    pub repetitions: u64,
}

/// A run: its place, its settings, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRun {
    /// Its folder.
    pub folder: PathBuf,
    /// Its settings, its number of classes among them.
    pub config: Config,
    /// Whether there is something in the folder to go on with.
    pub begun: bool,
    /// Epochs that it has finished.
    pub epochs: u64,
}

/// Seeds of two repetitions lie so far apart; no row has so many networks.
const APART: u64 = 100;

impl Series<'_> {
    /// Seed that the seeds of the members of repetition `r` are counted from.
    fn seed(&self, r: u64) -> u64 {
        self.edit.seed.unwrap_or(1) + APART * r
    }

    /// Where the run of a row's network is.
    pub fn folder(&self, (name, seed): Member, repetition: u64) -> PathBuf {
        self.out.join("runs").join(format!("{name}-{}", self.seed(repetition) + seed))
    }

    /// The runs that `rows` need, each once, in the order of the rows, all of a repetition together.
    ///
    /// # Errors
    /// [`Error::Usage`] if a folder holds a run with other settings; what is wrong with what
    /// lies there; a network that does not fit the data.
    pub fn plan(&self, rows: &[&Row]) -> Result<Vec<PlannedRun>> {
        let mut seen = BTreeSet::new();
        let mut runs = Vec::new();
        for repetition in 0..self.repetitions {
            for member in rows.iter().flat_map(|row| row.members) {
                let folder = self.folder(*member, repetition);
                if seen.insert(folder.clone()) {
                    runs.push(self.planned(folder, *member, repetition)?);
                }
            }
        }
        Ok(runs)
    }

    fn planned(&self, folder: PathBuf, (name, seed): Member, repetition: u64) -> Result<PlannedRun> {
        let mut config = Variant::named(name)?.config(self.scale)?;
        config.train.apply(self.edit);
        config.train.seed = self.seed(repetition) + seed;
        crate::train::trainer::plan(&config, self.data)?;
        config.net = config.net.with_classes(self.data.classes().len());
        let begun = folder.join("config.toml").exists();
        if begun {
            same_settings(&folder, &config)?;
        }
        let lines = metrics::read(&folder.join("metrics.jsonl"))?;
        let there = checkpoint_path(&folder, "last").exists();
        let epochs = lines.last().filter(|_| there).map_or(0, |line| line.epoch);
        Ok(PlannedRun { folder, config, begun, epochs })
    }
}

/// Refuses a run of other settings.
fn same_settings(folder: &Path, config: &Config) -> Result<()> {
    let found = Config::file(folder)?;
    if found == *config {
        return Ok(());
    }
    let (found, wanted) = (found.to_toml(), config.to_toml());
    let (found, wanted) = found.lines().zip(wanted.lines()).find(|(f, w)| f != w).unwrap_or(("", ""));
    Err(Error::Usage(format!(
        "{} holds a run with other settings (`{found}`, and now `{wanted}`): give the same settings, or another --out",
        folder.display()
    )))
}

impl PlannedRun {
    /// Whether nothing is left to train.
    pub fn is_finished(&self) -> bool {
        self.epochs >= self.config.train.epochs as u64
    }

    /// `finished`, `at epoch 3 of 40` or `missing`.
    pub fn state(&self) -> String {
        match self.begun {
            _ if self.is_finished() => "finished".into(),
            true => format!("at epoch {} of {}", self.epochs, self.config.train.epochs),
            false => "missing".into(),
        }
    }

    /// Images that are left to train on, epochs counted as whole.
    pub fn images_left(&self, data: &Dataset) -> u64 {
        let left = (self.config.train.epochs as u64).saturating_sub(self.epochs);
        left * data.split(Split::Train).len() as u64
    }
}

/// Trains a network on random images for a moment: images a second.
pub struct Measure<'a>(pub &'a PlannedRun);

impl Job for Measure<'_> {
    type Output = f64;

    fn run<B: Backend>(self, backend: B) -> Result<f64> {
        let config = &self.0.config;
        let classes = config.net.classes().unwrap_or(1);
        let mut work = Workload::new(backend, config, classes, config.train.batch, true)?;
        // One step to touch the memory, then two: what is asked for is hours or days, not per cent.
        let timing = Timing::of(1, 2, || work.train().map(|_| ()))?;
        Ok(config.train.batch as f64 / timing.median)
    }
}

/// The sizes of a run's network.
///
/// # Errors
/// Those of [`Plan::new`].
pub fn sizes(run: &PlannedRun) -> Result<Plan> {
    Plan::new(&run.config.net, run.config.net.classes().unwrap_or(1))
}
