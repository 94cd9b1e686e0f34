//! What is looked at: layers and maps, checked before any work begins.

use std::path::{Path, PathBuf};

use zfnet::data::packed::{Dataset, Split};
use zfnet::error::Result;
use zfnet::net::{LayerOp, Plan};
use zfnet::train::evaluate::same_classes;
use zfnet::train::model::Model;

/// Opens a data set and checks that it is one that `model` was made for, with images in `split`.
pub fn data(path: &Path, model: &Model, split: Split) -> anyhow::Result<Dataset> {
    let data = Dataset::open(path)?;
    same_classes(&model.checkpoint.header.classes, data.classes(), &model.path, data.root())?;
    let record = model.checkpoint.header.record;
    if data.size() != record {
        let (at, size) = (path.display(), data.size());
        anyhow::bail!(
            "the run was trained on {record}-pixel records and {at} has {size}: pack it with --size {record}"
        );
    }
    if data.split(split).is_empty() {
        anyhow::bail!("{} has no {split} images: choose another --split", path.display());
    }
    Ok(data)
}

/// The folder for the figures, beside the checkpoint, which lies in the run's folder.
pub fn folder(checkpoint: &Path) -> PathBuf {
    checkpoint.parent().unwrap_or(Path::new(".")).join("figures")
}

/// The layers' names, checked; the convolutions if none is asked for.
pub fn layers(asked: &[String], plan: &Plan) -> Result<Vec<String>> {
    let chosen = plan.layers.iter().filter(|layer| match asked {
        [] => matches!(layer.op, LayerOp::Conv { .. }),
        [all] if all == "all" => true,
        names => names.contains(&layer.name),
    });
    if asked != ["all"] {
        asked.iter().try_for_each(|name| plan.layer_index(name).map(|_| ()))?;
    }
    Ok(chosen.map(|layer| layer.name.clone()).collect())
}
