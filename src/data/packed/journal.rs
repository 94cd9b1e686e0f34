//! What a pack has finished so far, so that it can go on after it was stopped.
//!
//! `journal.safetensors` in the working folder holds the sum of the training
//! images so far, `sum` U64 [S,S,3], and `state` U8 [n], a JSON object with the
//! manifest so far, the fingerprint of settings and source, and what the caller
//! wants to know. It is replaced whole after each shard, when that is on disk.

use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::shard::{self, Tensor};
use crate::error::{Error, Result};

/// The journal's file name.
pub(super) const JOURNAL: &str = "journal.safetensors";
/// Its name until it is whole.
const PARTIAL: &str = "journal.partial";

/// The part that is JSON.
#[derive(Serialize, Deserialize)]
struct State {
    fingerprint: String,
    manifest: Manifest,
    progress: serde_json::Value,
}

/// What an earlier pack had done.
pub(super) struct Journal {
    pub(super) manifest: Manifest,
    pub(super) sum: Vec<u64>, // (S, S, 3)
    /// The caller's part.
    pub(super) progress: serde_json::Value,
}

impl Journal {
    /// Puts the journal into `folder`.
    pub(super) fn write(self, folder: &Path, fingerprint: &str) -> Result<()> {
        let Journal { manifest, sum, progress } = self;
        let (path, partial, S) = (folder.join(JOURNAL), folder.join(PARTIAL), manifest.size);
        let state = State { fingerprint: fingerprint.to_string(), manifest, progress };
        let state = serde_json::to_vec(&state).map_err(|e| Error::format(&path, format!("cannot be written: {e}")))?;
        let sum: Vec<u8> = sum.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        let tensors = [
            Tensor { name: "sum", dtype: Dtype::U64, shape: vec![S, S, 3], bytes: &sum },
            Tensor { name: "state", dtype: Dtype::U8, shape: vec![state.len()], bytes: &state },
        ];
        shard::write(&partial, &tensors)?;
        fs::rename(&partial, &path).map_err(Error::io("rename to", &path))
    }

    /// The journal in `folder`, if there is one, and if it belongs to
    /// `manifest` and `fingerprint` and all its shards are there. The error is
    /// the reason, in words, why the pack cannot go on from it.
    pub(super) fn read(folder: &Path, manifest: &Manifest, fingerprint: &str) -> Result<Option<Self>, String> {
        let path = folder.join(JOURNAL);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let damaged = || format!("{} is damaged", path.display());
        let tensors = SafeTensors::deserialize(&bytes).map_err(|_| damaged())?;
        let data = |name| tensors.tensor(name).map(|tensor| tensor.data()).map_err(|_| damaged());
        let state: State = serde_json::from_slice(data("state")?).map_err(|_| damaged())?;
        let sum: Vec<u64> = data("sum")?.as_chunks().0.iter().map(|eight| u64::from_le_bytes(*eight)).collect();
        let same = Manifest { train: manifest.train.clone(), val: manifest.val.clone(), ..state.manifest.clone() };
        if state.fingerprint != fingerprint || same != *manifest {
            return Err("its settings or its source were different".into());
        }
        if sum.len() != manifest.size * manifest.size * 3 {
            return Err(damaged());
        }
        for entry in state.manifest.train.shards.iter().chain(&state.manifest.val.shards) {
            let there = fs::metadata(folder.join(&entry.file)).map(|metadata| metadata.len());
            if there.ok() != Some(entry.bytes) {
                return Err(format!("{} is not whole", entry.file));
            }
        }
        Ok(Some(Journal { manifest: state.manifest, sum, progress: state.progress }))
    }
}
