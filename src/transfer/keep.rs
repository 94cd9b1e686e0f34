//! A trained classifier in a file, for whoever wants to check it.
//!
//! | tensor | type and shape | what it is |
//! |---|---|---|
//! | `weight` | F32 (C, d) | weights on the scaled features |
//! | `bias` | F64 (C) | biases |
//! | `mean` | F32 (d) | what is subtracted from features before the factor is applied |
//! | `train`, `test` | U64 (n) | rows of the file of features that it learned from and was judged on |
//!
//! The metadata holds `classifier`, `layer`, `blob`, `per_class`, `fold`, `factor`, `cost`,
//! `objective`, `accuracy`.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::error::{Error, Result};
use crate::train::replace::replace_file;
use crate::transfer::study::Outcome;

/// `softmax-layer3-n6-fold0.safetensors`.
pub fn file_name(outcome: &Outcome<'_>) -> String {
    let Outcome { layer, fold, fit, .. } = outcome;
    format!("{}-layer{}-n{}-fold{}.safetensors", fit.classifier, layer.number, fold.per_class, fold.number)
}

/// Writes a classifier to `path`, whole or not at all.
pub fn save(path: &Path, outcome: &Outcome<'_>) -> Result<()> {
    let Outcome { layer, fold, scaling, fit, accuracy } = outcome;
    let broken = |e: safetensors::SafeTensorError| Error::format(path, format!("cannot describe its tensors: {e}"));
    let rows = |rows: &[usize]| rows.iter().flat_map(|&i| (i as u64).to_le_bytes()).collect::<Vec<u8>>();
    let (train, test) = (rows(&fold.train), rows(&fold.test));
    let C = fit.bias.len();
    let tensors = [
        ("weight", Dtype::F32, vec![C, layer.d], bytemuck::cast_slice(&fit.weights)),
        ("bias", Dtype::F64, vec![C], bytemuck::cast_slice(&fit.bias)),
        ("mean", Dtype::F32, vec![layer.d], bytemuck::cast_slice(&scaling.mean)),
        ("train", Dtype::U64, vec![fold.train.len()], &train),
        ("test", Dtype::U64, vec![fold.test.len()], &test),
    ];
    let views = tensors
        .into_iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes).map_err(broken)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from(
        [
            ("classifier", fit.classifier.to_string()),
            ("layer", layer.number.to_string()),
            ("blob", layer.blob.clone()),
            ("per_class", fold.per_class.to_string()),
            ("fold", fold.number.to_string()),
            ("factor", scaling.factor.to_string()),
            ("cost", fit.cost.to_string()),
            ("objective", fit.objective.to_string()),
            ("accuracy", accuracy.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(broken)?;
    replace_file(path, |out| out.write_all(&bytes))
}
