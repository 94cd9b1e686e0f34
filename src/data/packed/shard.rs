//! One shard or mean image on disk: safetensors files, read through a mapping.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};

use super::manifest::{Manifest, ShardEntry};
use super::presence;
use crate::error::{Error, Result};

/// Images in a full shard of records of side `S`: 1024, or fewer if their
/// pixels would take more than 256 MiB, for a shard is filled in memory.
pub const fn shard_images(S: usize) -> usize {
    let fit = (256 << 20) / (S * S * 3);
    if fit > 1024 {
        1024
    } else if fit < 1 {
        1
    } else {
        fit
    }
}

/// A mapped shard whose contents have been checked.
#[derive(Debug)]
pub(super) struct Shard {
    map: Mmap,
    images: Range<usize>,
    masks: Option<Range<usize>>,
    presence: Option<Range<usize>>,
    names: Option<Range<usize>>,
}

/// What stands between two names.
pub(super) const NEW_LINE: &str = "\n";

impl Shard {
    /// Maps and checks the shard of `entry`; gives its labels, too.
    pub(super) fn open(root: &Path, entry: &ShardEntry, manifest: &Manifest) -> Result<(Self, Vec<u16>)> {
        let path = inside(root, &entry.file)?;
        let map = map(&path)?;
        let bad = |reason: String| Error::format(&path, format!("{reason}; pack the data set again"));
        if entry.images == 0 {
            return Err(bad("dataset.json lists a shard of 0 images".into()));
        }
        if map.len() as u64 != entry.bytes {
            return Err(bad(format!("{} bytes long, but dataset.json says {}", map.len(), entry.bytes)));
        }
        let tensors = SafeTensors::deserialize(&map).map_err(|e| bad(format!("not a safetensors file: {e}")))?;
        let (n, S) = (entry.images, manifest.size);
        let place = |name, dtype, shape: &[usize]| place(&map, &tensors, name, dtype, shape).map_err(&bad);
        let images = place("images", Dtype::U8, &[n, S, S, 3])?;
        let pairs = map[place("labels", Dtype::U16, &[n])?].chunks_exact(2);
        let labels: Vec<u16> = pairs.map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let classes = manifest.classes.len();
        if let Some(row) = labels.iter().position(|&label| usize::from(label) >= classes) {
            return Err(bad(format!("record {row} has label {} but there are {classes} classes", labels[row])));
        }
        let masks = if manifest.masks { Some(place("masks", Dtype::U8, &[n, S, S])?) } else { None };
        let presence = if manifest.multi_label { Some(place("presence", Dtype::U8, &[n, classes])?) } else { None };
        if let Some(range) = &presence {
            check_presence(&map[range.clone()], &labels, classes).map_err(bad)?;
        }
        let names = match tensors.tensor("names") {
            Ok(view) => Some(place("names", Dtype::U8, &[view.data().len()])?),
            Err(_) => None,
        };
        if let Some(range) = &names {
            let text = str::from_utf8(&map[range.clone()]).map_err(|_| bad("`names` is not UTF-8".into()))?;
            let found = text.split(NEW_LINE).count();
            if found != n {
                return Err(bad(format!("it has {found} names for {n} images")));
            }
        }
        Ok((Shard { images, masks, presence, names, map }, labels))
    }

    /// (n, S, S, 3)
    pub(super) fn images(&self) -> &[u8] {
        &self.map[self.images.clone()]
    }

    /// (n, S, S)
    pub(super) fn masks(&self) -> Option<&[u8]> {
        self.masks.clone().map(|range| &self.map[range])
    }

    /// (n, C)
    pub(super) fn presence(&self) -> Option<&[u8]> {
        self.presence.clone().map(|range| &self.map[range])
    }

    /// The n names, if there are any.
    pub(super) fn names(&self) -> Option<impl Iterator<Item = &str>> {
        let bytes = &self.map[self.names.clone()?];
        // Checked when the shard was opened.
        Some(str::from_utf8(bytes).unwrap_or_default().split(NEW_LINE))
    }
}

/// Refuses values that mean nothing, and labels that are not what presence says.
fn check_presence(
    presence: &[u8], // (n, C)
    labels: &[u16],  // (n)
    classes: usize,
) -> Result<(), String> {
    for (row, (presence, &label)) in presence.chunks_exact(classes).zip(labels).enumerate() {
        if let Some(c) = presence.iter().position(|&value| value > presence::DIFFICULT) {
            return Err(format!("record {row} has the presence {} for class {c}: expected 0, 1 or 2", presence[c]));
        }
        if presence::label(presence) != Some(usize::from(label)) {
            return Err(format!("record {row} has label {label}, which is not what its presence says"));
        }
    }
    Ok(())
}

/// Where tensor `name` lies in the mapped file, if it is what it should be.
fn place(map: &[u8], tensors: &SafeTensors, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Range<usize>, String> {
    let view: TensorView = tensors.tensor(name).map_err(|_| format!("it has no tensor `{name}`"))?;
    if view.dtype() != dtype || view.shape() != shape {
        return Err(format!("`{name}` is {:?} {:?}: expected {dtype:?} {shape:?}", view.dtype(), view.shape()));
    }
    let start = view.data().as_ptr() as usize - map.as_ptr() as usize;
    Ok(start..start + view.data().len())
}

/// The mean image: F32 (S, S, 3), finite.
pub(super) fn read_mean(path: &Path, S: usize) -> Result<Vec<f32>> {
    let map = map(path)?;
    let bad = |reason: String| Error::format(path, format!("{reason}; pack the data set again"));
    let tensors = SafeTensors::deserialize(&map).map_err(|e| bad(format!("not a safetensors file: {e}")))?;
    let range = place(&map, &tensors, "mean", Dtype::F32, &[S, S, 3]).map_err(bad)?;
    let quads = map[range].chunks_exact(4);
    let mean: Vec<f32> = quads.map(|quad| f32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]])).collect();
    match mean.iter().position(|value| !(0.0..=255.0).contains(value)) {
        None => Ok(mean),
        Some(i) => Err(Error::format(
            path,
            format!("element {i} of `mean` is {}, not a grey value; pack the data set again", mean[i]),
        )),
    }
}

/// `file` under `root`; a manifest must not point anywhere else.
pub(super) fn inside(root: &Path, file: &str) -> Result<PathBuf> {
    let relative = Path::new(file);
    if file.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Error::format(
            root.join(super::MANIFEST),
            format!("it names the file \"{file}\", which is not inside the data set's folder"),
        ));
    }
    Ok(root.join(relative))
}

fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    // SAFETY: the mapping is private and read-only. Its bytes change only if
    // someone else writes to the file meanwhile; packed data sets are never
    // written in place (they are renamed into place whole), and no value read
    // from the mapping is used as an offset after it has been checked.
    unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))
}

/// One tensor to write.
pub(super) struct Tensor<'a> {
    pub(super) name: &'static str,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Row-major, little-endian.
    pub(super) bytes: &'a [u8],
}

/// Writes a safetensors file, syncs it, and gives its length and CRC-32.
///
/// The crate's own writer goes through a temporary file that only its owner
/// may read and does not sync; a packed data set is shared and must be on disk
/// before its manifest is.
pub(super) fn write(path: &Path, tensors: &[Tensor]) -> Result<(u64, String)> {
    let mut end = 0;
    let infos = tensors.iter().map(|tensor| {
        let start = end;
        end += tensor.bytes.len();
        let info = TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (start, end) };
        (tensor.name.to_string(), info)
    });
    let header = Metadata::new(None, infos.collect())
        .map_err(|e| e.to_string())
        .and_then(|metadata| serde_json::to_string(&metadata).map_err(|e| e.to_string()))
        .map_err(|reason| Error::format(path, format!("cannot describe its tensors: {reason}")))?;
    // Spaces up to a multiple of 8 keep the tensors aligned in a mapping.
    let padded = format!("{header:<width$}", width = header.len().next_multiple_of(8));

    let mut file = File::create(path).map_err(Error::io("create", path))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut bytes = 0;
    let length = (padded.len() as u64).to_le_bytes();
    for part in [&length[..], padded.as_bytes()].into_iter().chain(tensors.iter().map(|tensor| tensor.bytes)) {
        file.write_all(part).map_err(Error::io("write", path))?;
        hasher.update(part);
        bytes += part.len() as u64;
    }
    file.sync_all().map_err(Error::io("sync", path))?;
    Ok((bytes, format!("{:08x}", hasher.finalize())))
}

/// CRC-32 (IEEE) of a file, as eight hexadecimal digits.
pub(super) fn checksum(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(format!("{:08x}", hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}
