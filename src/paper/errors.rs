//! Errors of finished runs, on a split, stored beside them.
//!
//! Ten crops of all training images are a pass through the data ten times over, so what was
//! once measured is kept, with what it depends on: the settings of every member, the data set, the
//! crops. Training being deterministic, those settings name the weights.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::packed::{Dataset, MANIFEST, Split};
use crate::error::{Error, Result};
use crate::ops::Backend;
use crate::train::device::{Device, Job};
use crate::train::evaluate::{Ensemble, TestCrops, same_classes};
use crate::train::model::Model;
use crate::train::replace::replace_file;

/// Shares of images, from 0 to 1, that were taken for another class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// By the most probable class.
    pub top1: f64,
    /// By the five most probable ones.
    pub top5: f64,
}

/// What is measured.
pub struct Measurement<'a> {
    /// Folders of the runs that are judged together.
    pub runs: &'a [PathBuf],
    /// The data set.
    pub data: &'a Arc<Dataset>,
    /// Which part of it.
    pub split: Split,
    /// Windows of each image.
    pub crops: TestCrops,
}

/// What a stored result depends on, and the result.
#[derive(Serialize, Deserialize)]
struct Stored {
    key: String,
    errors: Errors,
}

impl Measurement<'_> {
    /// The errors: read from `file` if they stand there, and else measured and stored there; `done` hears
    /// after each batch how many images have been judged, all members together.
    ///
    /// # Errors
    /// [`Error::Usage`] if a run is not finished or belongs to other data; those of the device.
    pub fn take(&self, file: &PathBuf, device: Device, done: &mut dyn FnMut(usize)) -> Result<Errors> {
        let key = self.key()?;
        if let Ok(text) = fs::read_to_string(file)
            && let Ok(stored) = serde_json::from_str::<Stored>(&text)
            && stored.key == key
        {
            return Ok(stored.errors);
        }
        let errors = self.measure(device, done)?;
        let text = serde_json::to_string(&Stored { key, errors }).map_err(|e| Error::format(file, e.to_string()))?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        replace_file(file, |out| writeln!(out, "{text}"))?;
        Ok(errors)
    }

    /// Settings, data and crops, in eight hexadecimal digits.
    fn key(&self) -> Result<String> {
        let mut hasher = crc32fast::Hasher::new();
        let files = self.runs.iter().map(|run| run.join("config.toml")).chain([self.data.root().join(MANIFEST)]);
        for file in files {
            hasher.update(&fs::read(&file).map_err(Error::io("read", &file))?);
        }
        hasher.update(format!("{} {:?}", self.split, self.crops).as_bytes());
        Ok(format!("{:08x}", hasher.finalize()))
    }

    fn measure(&self, device: Device, done: &mut dyn FnMut(usize)) -> Result<Errors> {
        let images = self.data.split(self.split).len();
        if images == 0 {
            let root = self.data.root().display();
            return Err(Error::Usage(format!("{root} has no {} images: pack it with a val split", self.split)));
        }
        let mut ensemble = Ensemble::new(self.data, self.split, self.crops);
        for (i, run) in self.runs.iter().enumerate() {
            let model = Model::open(run, "last")?;
            let (epoch, epochs) = (model.checkpoint.header.progress.epoch, model.config.train.epochs as u64);
            if epoch < epochs {
                let (run, data) = (run.display(), self.data.root().display());
                return Err(Error::Usage(format!(
                    "{run} has finished {epoch} of {epochs} epochs: zfnet train --resume --data {data} --out {run}"
                )));
            }
            same_classes(&model.checkpoint.header.classes, self.data.classes(), &model.path, self.data.root())?;
            let done = &mut |n: usize| done(i * images + n);
            device.run(Add { model, ensemble: &mut ensemble, done })?;
        }
        let scores = ensemble.finish();
        Ok(Errors { top1: 1.0 - scores.top1, top5: 1.0 - scores.top5 })
    }
}

/// One more network of the ensemble.
struct Add<'a> {
    model: Model,
    ensemble: &'a mut Ensemble,
    done: &'a mut dyn FnMut(usize),
}

impl Job for Add<'_> {
    type Output = ();

    fn run<B: Backend>(self, backend: B) -> Result<()> {
        let mut net = self.model.net(backend, self.model.config.train.batch)?;
        self.ensemble.add(&mut net, self.done)
    }
}
