//! Table 5: a softmax on the features of the highest layer, and the average precision of each class.

use std::fs;
use std::path::Path;

use anyhow::Context;
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::{Error, Result};
use zfnet::ops::Backend;
use zfnet::paper::comparison::Comparison;
use zfnet::paper::voc::rows;
use zfnet::train::average_precision::{ClassPrecision, per_class};
use zfnet::train::device::Job;
use zfnet::train::evaluate::softmax;
use zfnet::train::model::Model;
use zfnet::transfer::features::Features;
use zfnet::transfer::objective::Classifier;
use zfnet::transfer::probe::{COSTS, Probe};
use zfnet::transfer::retained::Retained;
use zfnet::transfer::split::Examples;

use crate::machine::Machine;
use crate::print::{answer, talk};
use crate::probe::features;
use crate::terminal::Terminal;

/// Makes the table; `None` if `dry_run`, which only says what would be learned.
pub fn make(
    run: &Path,
    data: &Path,
    out: &Path,
    machine: &Machine,
    dry_run: bool,
) -> anyhow::Result<Option<Comparison>> {
    let device = machine.open()?;
    let model = Model::open(run, "best").with_context(|| {
        format!("{}: the network whose features are tried; name another one with --run", run.display())
    })?;
    let data = Dataset::open(data)?;
    model.takes(&data)?;
    let examples = Examples::present(&data)?;
    let layer = Retained::all(&model.plan).into_iter().next_back();
    let layer = layer.ok_or_else(|| Error::Usage(format!("{} has no layer below its classes", model.plan.name)))?;
    let (learned, judged) = (data.split(Split::Train).len(), data.split(Split::Val).len());
    let what = format!(
        "a softmax on {} of {}: {} examples in {learned} images, judged on {judged}",
        layer.blob,
        run.display(),
        examples.rows.len()
    );
    if dry_run {
        answer!("{what}")?;
        return Ok(None);
    }
    talk!("{what}");
    let folder = out.join("probes").join("voc");
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let features = features(device, &model, &data, std::slice::from_ref(&layer), &folder, &mut Terminal::new()?)?;
    let found =
        device.in_f32().run(Softmax { features: &features, layer: &layer, data: &data, examples: &examples })?;
    Ok(Some(Comparison {
        table: 5,
        title: "PASCAL VOC 2012: average precision in %",
        networks: run.display().to_string(),
        data: vec![data.manifest().source.clone()],
        crops: 1,
        rows: rows(&found)?,
    }))
}

/// Learns from `examples`, and ranks the validation images for each class.
struct Softmax<'a> {
    features: &'a Features,
    layer: &'a Retained,
    data: &'a Dataset,
    examples: &'a Examples,
}

impl Job for Softmax<'_> {
    type Output = Vec<ClassPrecision>;

    fn run<B: Backend>(self, mut backend: B) -> Result<Vec<ClassPrecision>> {
        let Softmax { features, layer, data, examples } = self;
        let (classes, records) = (data.classes(), data.split(Split::Val));
        let probe = Probe::new(&mut backend, features.matrix(layer)?, examples, classes.len())?;
        let (cost, _) = probe.choose(Classifier::Softmax, &COSTS)?;
        let fit = probe.fit(&mut backend, Classifier::Softmax, cost)?;
        // The features have the training images first.
        let first = data.split(Split::Train).len();
        let judged: Vec<usize> = (first..first + records.len()).collect();
        let mut scores = probe.scores_of(&mut backend, &fit, &judged)?;
        scores.chunks_exact_mut(classes.len()).for_each(softmax);
        let presence: Vec<u8> = (0..records.len()).filter_map(|i| records.presence(i)).flatten().copied().collect();
        per_class(&scores, &presence, classes)
    }
}
