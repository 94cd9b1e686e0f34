//! A trained network from its file, ready to evaluate.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::packed::Dataset;
use crate::error::{Error, Result};
use crate::net::{Net, Part, Plan};
use crate::ops::Backend;
use crate::train::checkpoint::Checkpoint;
use crate::train::config::Config;
use crate::train::run::checkpoint_path;

/// A checkpoint with the network it belongs to.
pub struct Model {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub checkpoint: Checkpoint,
    /// Its configuration, parsed.
    pub config: Config,
    /// Its network.
    pub plan: Plan,
}

impl Model {
    /// Opens checkpoint `which` (`best`, `last`, `epoch-5`) of a run's folder, or the
    /// file `run` itself. Checks that its tensors are those of its network.
    pub fn open(run: &Path, which: &str) -> Result<Self> {
        let path = if run.is_file() { run.to_path_buf() } else { in_folder(run, which)? };
        let checkpoint = Checkpoint::read(&path)?;
        let config = Config::parse(&path.display().to_string(), &checkpoint.header.config)?;
        let plan = Plan::new(&config.net, checkpoint.header.classes.len())?;
        checkpoint.expect(&path, &plan)?;
        Ok(Model { path, checkpoint, config, plan })
    }

    /// The network on a backend, for up to `max_batch` images, without the means to
    /// train. Its source is set to the records it was trained on.
    pub fn net<B: Backend>(&self, backend: B, max_batch: usize) -> Result<Net<B>> {
        let mut net = Net::new(backend, self.plan.clone(), max_batch, false, self.config.train.seed)?;
        net.import(Part::Value, &self.checkpoint.weights)?;
        net.set_source(self.checkpoint.header.record, &self.checkpoint.mean.data)?;
        Ok(net)
    }

    /// Checks that the records of `data` are as large as those it was trained on: its mean image is.
    ///
    /// # Errors
    /// [`Error::Usage`] with both sizes if they are not.
    pub fn takes(&self, data: &Dataset) -> Result<()> {
        let record = self.checkpoint.header.record;
        match data.size() {
            size if size == record => Ok(()),
            size => Err(Error::Usage(format!(
                "the run was trained on {record}-pixel records and {} has {size}: pack it with --size {record}",
                data.root().display()
            ))),
        }
    }

    /// What tells this network from others: a checksum of configuration, weights and mean image.
    pub fn fingerprint(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(self.checkpoint.header.config.as_bytes());
        let tensors = self.checkpoint.weights.iter().chain([&self.checkpoint.mean]);
        tensors.for_each(|tensor| crc.update(bytemuck::cast_slice(&tensor.data)));
        crc.finalize()
    }
}

/// The file of checkpoint `which`, with advice if there is none.
fn in_folder(run: &Path, which: &str) -> Result<PathBuf> {
    let padded = match which.strip_prefix("epoch-").map(str::parse::<u64>) {
        Some(Ok(epoch)) => format!("epoch-{epoch:03}"),
        _ => which.to_owned(),
    };
    let path = checkpoint_path(run, &padded);
    if path.is_file() {
        return Ok(path);
    }
    if !run.is_dir() {
        return Err(Error::Usage(format!("{} is neither a run's folder nor a checkpoint", run.display())));
    }
    let mut there: Vec<String> = fs::read_dir(run)
        .map_err(Error::io("read", run))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".safetensors").map(str::to_owned))
        .collect();
    there.sort();
    Err(Error::Usage(match there.is_empty() {
        true => format!("{} holds no checkpoint: is it the folder of a run?", run.display()),
        false => format!("{} has no checkpoint {which}; there are {}", run.display(), there.join(", ")),
    }))
}
