//! Parts marked on images: a small TOML file, or the masks of a data set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zfnet::data::augment::Cropper;
use zfnet::data::decode::decode_file;
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::{Error, Result};
use zfnet::train::model::Model;
use zfnet::understand::score::mask;

use super::occlusion::read_record;

/// One part on one image: (row, column) of the crop that the network sees.
pub struct Place {
    /// Index into [`Marks::records`].
    pub record: usize,
    pub row: f64,
    pub column: f64,
}

/// Images, and where on them the parts are.
pub struct Marks {
    pub records: Vec<Vec<u8>>,
    pub parts: BTreeMap<String, Vec<Place>>,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    image: Vec<Marked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Marked {
    /// Relative to the TOML file.
    file: PathBuf,
    /// (row, column) of the middle of each part, in pixels of the image file.
    parts: BTreeMap<String, [f64; 2]>,
}

impl Marks {
    /// Reads a file of marks and the images that it names.
    pub fn read(path: &Path, model: &Model) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let File { image } = toml::from_str(&text).map_err(|e| {
            let expected = "expected [[image]] tables with file = \"..\" and parts = { name = [row, column] }";
            Error::format(path, format!("{}; {expected}", e.to_string().trim_end()))
        })?;
        let (record, input) = (model.checkpoint.header.record, model.plan.input);
        let window = Cropper::new(record, input.H, input.W)?.centre();
        let mut marks = Marks { records: Vec::new(), parts: BTreeMap::new() };
        for Marked { file, parts } in image {
            let file = path.parent().unwrap_or(Path::new(".")).join(file);
            let size = decode_file(&file)?;
            // As a record is made: the centred square, resized; then the crop.
            let side = size.W.min(size.H);
            let place = |at: f64, length: usize, margin: usize| {
                (at - ((length - side) / 2) as f64) * record as f64 / side as f64 - margin as f64
            };
            for (name, [row, column]) in parts {
                let (row, column) = (place(row, size.H, window.top), place(column, size.W, window.left));
                marks.parts.entry(name).or_default().push(Place { record: marks.records.len(), row, column });
            }
            marks.records.push(read_record(&file, model)?);
        }
        Ok(marks)
    }

    /// The masked part of the first `count` validation images of each class, by its middle.
    pub fn of_masks(data: &Dataset, count: usize, model: &Model) -> Result<Self> {
        let (input, records) = (model.plan.input, data.split(Split::Val));
        let mut marks = Marks { records: Vec::new(), parts: BTreeMap::new() };
        for i in 0..records.len() {
            let part = marks.parts.entry(format!("part of {}", data.classes()[records.label(i)])).or_default();
            if part.len() == count {
                continue;
            }
            let (mut rows, mut columns, mut pixels) = (0.0, 0.0, 0.0);
            for (at, _) in mask(data, Split::Val, i, input)?.into_iter().enumerate().filter(|(_, inside)| *inside) {
                rows += (at / input.W) as f64;
                columns += (at % input.W) as f64;
                pixels += 1.0;
            }
            if pixels > 0.0 {
                let (row, column) = (rows / pixels + 0.5, columns / pixels + 0.5);
                part.push(Place { record: marks.records.len(), row, column });
                marks.records.push(records.record(i).to_vec());
            }
        }
        Ok(marks)
    }
}
