//! Checkpoints: everything a run needs to go on, in one safetensors file.
//!
//! | tensor | shape | what it is |
//! |---|---|---|
//! | `conv1.weight`, ... | as in the network | parameters |
//! | `momentum.conv1.weight`, ... | the same | momentum |
//! | `mean` | (record, record, 3) | mean training image |
//!
//! All F32. The metadata entry `zfnet` is a JSON object: the [`Header`], with the
//! version of the format and a CRC-32 of everything: the entry itself (with
//! `crc32` 0), then name, shape and bytes of each tensor. Random numbers are
//! counter-based (see [`crate::philox`]), so seed and step are the whole state
//! of the generator.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::net::Plan;
use crate::tensor::NamedTensor;
use crate::train::replace::replace_file;
use crate::train::schedule::ScheduleState;

/// Version of the format that this program writes and reads.
const VERSION: u32 = 1;
/// Name of the metadata entry.
const ENTRY: &str = "zfnet";
const MOMENTUM: &str = "momentum.";
const MEAN: &str = "mean";

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs finished, validation included.
    pub epoch: u64,
    /// Updates made since the beginning.
    pub step: u64,
    /// Updates made in the epoch after those finished.
    pub step_in_epoch: u64,
    /// Sums over those updates.
    pub running: Running,
    /// What the learning rate depends on.
    pub schedule: ScheduleState,
    /// The best epoch so far.
    pub best: Option<Best>,
}

/// Sums over the part of an epoch that is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Sum of the losses of all images, in nats.
    pub loss: f64,
    /// Images whose class came first.
    pub top1: u64,
    /// Images seen.
    pub images: u64,
    /// Seconds spent on them.
    pub seconds: f64,
}

/// The epoch whose checkpoint is `best.safetensors`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Epochs finished when it was measured.
    pub epoch: u64,
    /// Its [`crate::train::metrics::EpochMetrics::score`].
    pub score: f64,
}

/// Everything in a checkpoint that is not a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The resolved configuration, in TOML.
    pub config: String,
    /// Class names, in the order of the outputs.
    pub classes: Vec<String>,
    /// Side of the square image records that `mean` and training are of.
    pub record: usize,
    /// Where the run stands.
    pub progress: Progress,
}

/// The metadata entry.
#[derive(Serialize, Deserialize)]
struct Entry<H> {
    version: u32,
    crc32: u32,
    #[serde(flatten)]
    header: H,
}

/// Read alone first: a later version may have other fields.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// A checkpoint in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Everything but the tensors.
    pub header: Header,
    /// Parameters.
    pub weights: Vec<NamedTensor>,
    /// Momentum, under the parameters' names.
    pub momentum: Vec<NamedTensor>,
    /// Mean training image: (record, record, 3).
    pub mean: NamedTensor,
}

impl Checkpoint {
    /// Writes the file, whole or not at all: see [`replace_file`].
    ///
    /// # Errors
    /// [`Error::Io`] with the path; an older file stands as it was.
    pub fn write(&self, path: &Path) -> Result<()> {
        let broken = |e: &dyn std::fmt::Display| Error::format(path, format!("cannot describe the tensors: {e}"));
        let mut infos = Vec::new();
        let mut end = 0;
        for (name, tensor) in self.tensors() {
            let offsets = (end, end + size_of_val(&tensor.data[..]));
            infos.push((name, TensorInfo { dtype: Dtype::F32, shape: tensor.shape.clone(), data_offsets: offsets }));
            end = offsets.1;
        }
        let crc32 = self.crc32().map_err(|e| broken(&e))?;
        let entry = serde_json::to_string(&self.entry(crc32)).map_err(|e| broken(&e))?;
        let metadata =
            Metadata::new(Some(HashMap::from([(ENTRY.to_owned(), entry)])), infos).map_err(|e| broken(&e))?;
        let mut head = serde_json::to_vec(&metadata).map_err(|e| broken(&e))?;
        // Spaces up to a multiple of 8, so that tensors can be used where they are mapped.
        head.resize(head.len().next_multiple_of(8), b' ');
        replace_file(path, |out| {
            out.write_all(&(head.len() as u64).to_le_bytes())?;
            out.write_all(&head)?;
            self.tensors().try_for_each(|(_, tensor)| out.write_all(bytemuck::cast_slice(&tensor.data)))
        })
    }

    /// Every tensor with its name in the file.
    fn tensors(&self) -> impl Iterator<Item = (String, &NamedTensor)> {
        let weights = self.weights.iter().map(|t| (t.name.clone(), t));
        let momentum = self.momentum.iter().map(|t| (format!("{MOMENTUM}{}", t.name), t));
        weights.chain(momentum).chain([(MEAN.to_owned(), &self.mean)])
    }

    fn entry(&self, crc32: u32) -> Entry<&Header> {
        Entry { version: VERSION, crc32, header: &self.header }
    }

    /// The checksum: see the module's documentation.
    fn crc32(&self) -> serde_json::Result<u32> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&serde_json::to_vec(&self.entry(0))?);
        for (name, tensor) in self.tensors() {
            crc.update(name.as_bytes());
            tensor.shape.iter().for_each(|&side| crc.update(&(side as u64).to_le_bytes()));
            crc.update(bytemuck::cast_slice(&tensor.data));
        }
        Ok(crc.finalize())
    }

    /// The first tensor that holds a value that is not finite.
    pub fn first_non_finite(&self) -> Option<String> {
        self.tensors().find(|(_, t)| t.data.iter().any(|v| !v.is_finite())).map(|(name, _)| name)
    }

    /// Reads the file and checks it: whole, of this version, undamaged, finite.
    /// Whether the tensors are those of the network is for [`Checkpoint::expect`].
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] with file and tensor.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let (length, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| {
            Error::format(
                path,
                format!("not a whole safetensors file ({e}): cut short or overwritten; use another checkpoint"),
            )
        })?;
        let data = &bytes[8 + length..];
        let entry = metadata.metadata().as_ref().and_then(|m| m.get(ENTRY));
        let entry = entry.ok_or_else(|| {
            Error::format(
                path,
                format!("a safetensors file without the metadata entry `{ENTRY}`: not a checkpoint of zfnet"),
            )
        })?;
        let Entry { crc32, header, .. } = parse_entry(path, entry)?;
        let (mut weights, mut momentum, mut mean) = (Vec::new(), Vec::new(), None);
        for name in metadata.offset_keys() {
            let mut tensor = tensor(path, &metadata, data, &name)?;
            if let Some(parameter) = name.strip_prefix(MOMENTUM) {
                tensor.name = parameter.to_owned();
                momentum.push(tensor);
            } else if name == MEAN {
                mean = Some(tensor);
            } else {
                weights.push(tensor);
            }
        }
        let mean = mean.ok_or_else(|| Error::format(path, format!("tensor {MEAN} is missing")))?;
        let expected = [header.record, header.record, 3];
        if mean.shape != expected {
            return Err(Error::format(path, format!("tensor {MEAN} is {:?}, expected {expected:?}", mean.shape)));
        }
        let checkpoint = Checkpoint { header, weights, momentum, mean };
        if checkpoint.crc32().ok() != Some(crc32) {
            return Err(Error::format(path, "the checksum is wrong: the file is damaged; use another checkpoint"));
        }
        match checkpoint.first_non_finite() {
            Some(name) => Err(Error::format(path, format!("tensor {name} holds a value that is not finite"))),
            None => Ok(checkpoint),
        }
    }

    /// Checks that weights and momentum are those of `plan`, all of them and no
    /// others. `path` is for the message.
    ///
    /// # Errors
    /// [`Error::Format`] with file and tensor.
    pub fn expect(&self, path: &Path, plan: &Plan) -> Result<()> {
        let params: Vec<_> = plan.params().collect();
        for (prefix, tensors) in [("", &self.weights), (MOMENTUM, &self.momentum)] {
            for param in &params {
                let (name, shape) = (&param.name, &param.shape);
                match tensors.iter().find(|t| t.name == *name) {
                    Some(tensor) if tensor.shape == *shape => {}
                    Some(tensor) => {
                        let reason = format!("tensor {prefix}{name} is {:?}, the network has {shape:?}", tensor.shape);
                        return Err(Error::format(path, reason));
                    }
                    None => return Err(Error::format(path, format!("tensor {prefix}{name} is missing"))),
                }
            }
            if let Some(extra) = tensors.iter().find(|t| params.iter().all(|param| param.name != t.name)) {
                return Err(Error::format(
                    path,
                    format!("tensor {prefix}{} belongs to no layer of the network", extra.name),
                ));
            }
        }
        Ok(())
    }
}

fn parse_entry(path: &Path, entry: &str) -> Result<Entry<Header>> {
    let malformed = |e| Error::format(path, format!("metadata entry `{ENTRY}`: {e}"));
    let VersionOnly { version } = serde_json::from_str(entry).map_err(malformed)?;
    if version != VERSION {
        let reason =
            format!("checkpoint format {version}, this program reads format {VERSION}: use the program that wrote it");
        return Err(Error::format(path, reason));
    }
    serde_json::from_str(entry).map_err(malformed)
}

/// Tensor `name` out of the file's `data`; the offsets have been checked by safetensors.
fn tensor(path: &Path, metadata: &Metadata, data: &[u8], name: &str) -> Result<NamedTensor> {
    let info = metadata.info(name).ok_or_else(|| Error::format(path, format!("tensor {name} is missing")))?;
    if info.dtype != Dtype::F32 {
        return Err(Error::format(path, format!("tensor {name} is {:?}, expected F32", info.dtype)));
    }
    let bytes = &data[info.data_offsets.0..info.data_offsets.1];
    let data = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok(NamedTensor { name: name.to_owned(), shape: info.shape.clone(), data })
}
