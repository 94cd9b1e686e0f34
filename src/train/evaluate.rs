//! How good a network is: its probabilities over windows, and those of several networks.
//!
//! ```text
//! p[i] = 1/(M W) sum_m sum_w softmax(z_m(window w of image i))    M networks, W windows
//! loss = -1/I sum_i ln p[i, t_i]
//! ```
//!
//! The softmax of the logits is taken here, in f64: validation while training,
//! `eval` and `predict` then agree to the last bit, and a probability far below
//! what f32 holds still has a finite logarithm.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::data::augment::{Cropper, Window};
use crate::data::loader::{Loader, Order, SplitSource};
use crate::data::packed::{Dataset, Split};
use crate::error::{Error, Result};
use crate::net::{Net, Pass};
use crate::ops::Backend;
use crate::tensor::Extent;
use crate::train::average_precision::{self, ClassPrecision};
use crate::train::score::{Evaluation, Scorer};

/// Which windows of an image are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestCrops {
    /// The centre.
    Centre,
    /// Four corners and centre, with flips.
    Ten,
}

impl TestCrops {
    /// The windows of records of side `record` for a network with `H` x `W` input.
    pub fn windows(self, record: usize, H: usize, W: usize) -> Result<Vec<Window>> {
        let cropper = Cropper::new(record, H, W)?;
        Ok(match self {
            TestCrops::Centre => vec![cropper.centre()],
            TestCrops::Ten => cropper.ten().to_vec(),
        })
    }
}

impl FromStr for TestCrops {
    type Err = Error;

    /// `1` or `10`.
    fn from_str(number: &str) -> Result<Self> {
        match number {
            "1" => Ok(TestCrops::Centre),
            "10" => Ok(TestCrops::Ten),
            _ => Err(Error::Usage(format!("crops is {number}: expected 1 (the centre) or 10"))),
        }
    }
}

/// Softmax averaged over `windows`: (N, C), for up to `net.max_batch()` images.
pub fn probabilities<B: Backend>(
    net: &mut Net<B>,
    images: &[u8],  // (N, record, record, 3)
    labels: &[i32], // (N); any labels of the network, where they are not known
    windows: &[Window],
) -> Result<Vec<f64>> {
    let N = labels.len();
    let mut p = vec![0f64; N * net.plan().classes];
    for window in windows {
        net.load_records(images, &window.to_ints().repeat(N), labels)?;
        add_probabilities(net, 1.0 / windows.len() as f64, &mut p)?;
    }
    Ok(p)
}

/// p += weight softmax of the logits, for the batch in hand: an evaluation pass.
pub fn add_probabilities<B: Backend>(
    net: &mut Net<B>,
    weight: f64,
    p: &mut [f64], // (N, C)
) -> Result<()> {
    let top = match net.plan().layers.last() {
        Some(layer) => layer.name.clone(),
        None => return Err(Error::Usage("a network without layers has no probabilities".into())),
    };
    net.forward(Pass::Eval)?;
    let (z, C) = (net.blob(&top)?, net.plan().classes); // (N, C)
    p.chunks_exact_mut(C).zip(z.chunks_exact(C)).for_each(|(p, z)| add_softmax(z, weight, p));
    Ok(())
}

/// The softmax of one image's scores, in place.
pub fn softmax(z: &mut [f64]) {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    z.iter_mut().for_each(|z| *z = (*z - max).exp());
    let sum: f64 = z.iter().sum();
    z.iter_mut().for_each(|z| *z /= sum);
}

/// p += weight softmax(z).
fn add_softmax(z: &[f32], weight: f64, p: &mut [f64]) {
    let max = f64::from(z.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = z.iter().map(|&z| (f64::from(z) - max).exp()).sum();
    for (p, &z) in p.iter_mut().zip(z) {
        *p += weight * (f64::from(z) - max).exp() / sum;
    }
}

/// Gives `each` the index and the probabilities (C) of every image of a split in
/// turn. `go_on` is asked after each batch, with the number of images done; if it
/// says no, the rest is left out and the answer is false.
pub fn for_each_image<B: Backend>(
    net: &mut Net<B>,
    data: &Arc<Dataset>,
    split: Split,
    crops: TestCrops,
    mut each: impl FnMut(usize, &[f64]),
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<bool> {
    let Extent { H, W, .. } = net.plan().input;
    let windows = crops.windows(data.size(), H, W)?;
    let source = SplitSource::new(data, split);
    let mut loader = Loader::new(source, Order::Sequential, net.max_batch(), (H, W), 1)?;
    let mut done = 0;
    while let Some(batch) = loader.next_batch()? {
        let p = probabilities(net, batch.records(), &batch.labels, &windows)?;
        for (&i, p) in batch.indices.iter().zip(p.chunks_exact(net.plan().classes)) {
            each(i, p);
        }
        done += batch.len();
        loader.recycle(batch);
        if !go_on(done) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Scores `net` on a split; `None` if `go_on` said no (see [`for_each_image`]).
/// The network's source must be set to the size of the records.
pub fn evaluate<B: Backend>(
    net: &mut Net<B>,
    data: &Arc<Dataset>,
    split: Split,
    crops: TestCrops,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Evaluation>> {
    let mut scorer = Scorer::new(data.classes().len());
    let labels = data.split(split);
    let done = for_each_image(net, data, split, crops, |i, p| scorer.add(labels.label(i), p), go_on)?;
    Ok(done.then(|| scorer.finish(data.classes())))
}

/// Networks judged together: the mean of their probabilities. They are added one
/// after another, so only one of them is in memory at a time.
pub struct Ensemble {
    data: Arc<Dataset>,
    split: Split,
    crops: TestCrops,
    members: usize,
    sums: Vec<f64>, // (images, C)
}

impl Ensemble {
    /// Of no networks yet, on a split of `data`.
    pub fn new(data: &Arc<Dataset>, split: Split, crops: TestCrops) -> Self {
        let sums = vec![0.0; data.split(split).len() * data.classes().len()];
        Ensemble { data: Arc::clone(data), split, crops, members: 0, sums }
    }

    /// Adds a network; `done` hears after each batch how many images it has seen.
    pub fn add<B: Backend>(&mut self, net: &mut Net<B>, done: &mut dyn FnMut(usize)) -> Result<()> {
        let (C, sums) = (self.data.classes().len(), &mut self.sums);
        let each = |i: usize, p: &[f64]| sums[i * C..][..C].iter_mut().zip(p).for_each(|(sum, p)| *sum += p);
        let mut go_on = |images| {
            done(images);
            true
        };
        for_each_image(net, &self.data, self.split, self.crops, each, &mut go_on)?;
        self.members += 1;
        Ok(())
    }

    /// The mean of the probabilities: (images, C).
    pub fn probabilities(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.members as f64).collect()
    }

    /// The average precision of each class of the mean; `None` where an image shows one class only.
    ///
    /// # Errors
    /// Those of [`average_precision::per_class`].
    pub fn average_precision(&self) -> Result<Option<Vec<ClassPrecision>>> {
        let records = self.data.split(self.split);
        let rows: Option<Vec<&[u8]>> = (0..records.len()).map(|i| records.presence(i)).collect();
        let score =
            |rows: Vec<&[u8]>| average_precision::per_class(&self.probabilities(), &rows.concat(), self.data.classes());
        rows.filter(|rows| !rows.is_empty()).map(score).transpose()
    }

    /// The scores of the mean.
    pub fn finish(self) -> Evaluation {
        let (C, records) = (self.data.classes().len(), self.data.split(self.split));
        let mut scorer = Scorer::new(C);
        for (i, p) in self.probabilities().chunks_exact(C).enumerate() {
            scorer.add(records.label(i), p);
        }
        scorer.finish(self.data.classes())
    }
}

/// Checks that a run's classes are the data's, in the same order.
pub fn same_classes(run: &[String], data: &[String], run_path: &Path, data_path: &Path) -> Result<()> {
    if run == data {
        return Ok(());
    }
    let only = |a: &[String], b: &[String]| {
        let names: Vec<&str> = a.iter().filter(|name| !b.contains(name)).map(String::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let (run_path, data_path) = (run_path.display(), data_path.display());
    Err(Error::Usage(format!(
        "{run_path} tells {} classes apart and {data_path} has {}: only in the run: {}; only in the data: {}{}",
        run.len(),
        data.len(),
        only(run, data),
        only(data, run),
        if only(run, data) == only(data, run) { "; the same names in another order" } else { "" }
    )))
}
