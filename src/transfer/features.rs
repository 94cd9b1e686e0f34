//! Features of every image of a data set, in one safetensors file that is mapped into memory.
//!
//! | tensor | type and shape | what it is |
//! |---|---|---|
//! | `lrn1`, `fc6`, ... | F32 (N, d) | what a layer hands on, a row for each image |
//! | `labels` | U16 (N) | classes |
//!
//! Rows stand in the order of the data set, `train` before `val`. The metadata entry `zfnet`
//! says whose features of which images these are: a file made from other weights or other
//! images is never taken for one of these.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::data::packed::{Dataset, Split};
use crate::error::{Error, Result};
use crate::train::model::Model;
use crate::transfer::retained::Retained;

/// Version of the layout.
const VERSION: u32 = 1;
/// Name of the metadata entry.
const ENTRY: &str = "zfnet";
const LABELS: &str = "labels";

/// The metadata entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    version: u32,
    subject: String,
}

/// Feature vectors of images: a row each.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Length of a row.
    pub d: usize,
    /// (N, d)
    pub values: &'a [f32],
}

impl<'a> Matrix<'a> {
    /// Features of image `i`.
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.d..][..self.d]
    }
}

/// A mapped file of features.
#[derive(Debug)]
pub struct Features {
    path: PathBuf,
    map: Mmap,
    /// Blob, length of a row, and bytes in the file.
    layers: Vec<(String, usize, Range<usize>)>,
    labels: Vec<u16>,
}

impl Features {
    /// Maps the file at `path` if it holds features of `layers` of `subject` (see [`subject`]);
    /// `None` if there is no file or it is about something else.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] if the file is damaged.
    pub fn open(path: &Path, subject: &str, layers: &[Retained]) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let damaged = |reason: String| Error::format(path, format!("{reason}; delete it to compute the features anew"));
        let file = File::open(path).map_err(Error::io("read", path))?;
        // SAFETY: the mapping is private and read-only. Its bytes change only if someone else
        // writes to the file meanwhile; files of features are never written in place (they are
        // renamed into place whole), and no value read from the mapping is used as an offset
        // after it has been checked.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        let (length, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|e| damaged(format!("not a whole safetensors file of features ({e})")))?;
        let start = 8 + length;
        let entry =
            metadata.metadata().as_ref().and_then(|m| m.get(ENTRY)).map(|text| serde_json::from_str::<Entry>(text));
        let wanted = Entry { version: VERSION, subject: subject.to_owned() };
        if !matches!(entry, Some(Ok(entry)) if entry == wanted) {
            return Ok(None);
        }
        let place = |name: &str, dtype: Dtype, shape: &[usize]| match metadata.info(name) {
            Some(info) if info.dtype == dtype && info.shape == shape => {
                // That they lie inside the file has been checked by safetensors.
                Ok(start + info.data_offsets.0..start + info.data_offsets.1)
            }
            Some(info) => Err(damaged(format!("`{name}` is {:?} {:?}: expected {shape:?}", info.dtype, info.shape))),
            None => Err(damaged(format!("it has no tensor `{name}`"))),
        };
        if layers.iter().any(|layer| metadata.info(&layer.blob).is_none()) {
            return Ok(None);
        }
        let N = metadata.info(LABELS).map_or(0, |info| info.shape.iter().product());
        let pairs = map[place(LABELS, Dtype::U16, &[N])?].chunks_exact(2);
        let labels: Vec<u16> = pairs.map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let mut found = Vec::new();
        for layer in layers {
            let range = place(&layer.blob, Dtype::F32, &[N, layer.d])?;
            if bytemuck::try_cast_slice::<u8, f32>(&map[range.clone()]).is_err() {
                return Err(damaged(format!("`{}` begins at byte {}, no multiple of 4", layer.blob, range.start)));
            }
            found.push((layer.blob.clone(), layer.d, range));
        }
        Ok(Some(Features { path: path.to_path_buf(), map, layers: found, labels }))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Class of each image.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// Features of a layer.
    ///
    /// # Errors
    /// [`Error::Format`] if the file was not opened for it.
    pub fn matrix(&self, layer: &Retained) -> Result<Matrix<'_>> {
        let found = self.layers.iter().find(|(blob, d, _)| (blob, *d) == (&layer.blob, layer.d));
        let missing = || Error::format(&self.path, format!("not opened for the features of {}", layer.blob));
        let (_, d, range) = found.ok_or_else(missing)?;
        // Checked when the file was opened.
        let values = bytemuck::try_cast_slice(&self.map[range.clone()]).map_err(|_| missing())?;
        Ok(Matrix { d: *d, values })
    }
}

/// What tells features from others: checksums of the network and of the images.
pub fn subject(model: &Model, data: &Dataset) -> String {
    let [train, val] = Split::ALL.map(|split| data.fingerprint(split));
    format!("weights {:08x}, train {train:08x}, val {val:08x}", model.fingerprint())
}

/// The layout of a file of features: its first bytes, and where everything else goes.
pub(super) struct Layout {
    /// Length, header, and spaces up to a multiple of 8.
    pub head: Vec<u8>,
    /// Where each layer's rows begin in the file.
    pub starts: Vec<u64>,
    /// Where the labels begin.
    pub labels: u64,
    /// Length of the file.
    pub bytes: u64,
}

impl Layout {
    /// For `N` images; `path` is for the message.
    pub fn new(path: &Path, subject: &str, layers: &[Retained], N: usize) -> Result<Self> {
        let broken = |e: &dyn std::fmt::Display| Error::format(path, format!("cannot describe its tensors: {e}"));
        let mut end = 0;
        let mut infos = Vec::new();
        let f32s = layers.iter().map(|layer| (layer.blob.as_str(), Dtype::F32, vec![N, layer.d], 4));
        for (name, dtype, shape, size) in f32s.chain([(LABELS, Dtype::U16, vec![N], 2)]) {
            let start = end;
            end += size * shape.iter().product::<usize>();
            infos.push((name.to_owned(), TensorInfo { dtype, shape, data_offsets: (start, end) }));
        }
        let mut starts: Vec<u64> = infos.iter().map(|(_, info)| info.data_offsets.0 as u64).collect();
        let entry = Entry { version: VERSION, subject: subject.to_owned() };
        let entry = serde_json::to_string(&entry).map_err(|e| broken(&e))?;
        let metadata =
            Metadata::new(Some(HashMap::from([(ENTRY.to_owned(), entry)])), infos).map_err(|e| broken(&e))?;
        let mut header = serde_json::to_vec(&metadata).map_err(|e| broken(&e))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut head = (header.len() as u64).to_le_bytes().to_vec();
        head.extend(header);
        let offset = head.len() as u64;
        starts.iter_mut().for_each(|start| *start += offset);
        let labels = starts.pop().unwrap_or(offset);
        Ok(Layout { head, starts, labels, bytes: offset + end as u64 })
    }
}
