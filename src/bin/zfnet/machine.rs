//! The options that say where a network runs.

use zfnet::device::cuda;
use zfnet::device::image::MISSING;
use zfnet::error::{Error, Result};
use zfnet::ops::Precision;
use zfnet::train::device::Device;

use crate::print::talk;

/// Where to run.
#[derive(clap::Args)]
pub struct Machine {
    /// Device: auto takes the fastest there is
    #[arg(long, value_name = "auto|cpu|cuda:N|emulator", default_value = "auto")]
    device: String,

    /// What a GPU computes in: f32, tf32 or bf16 [default: tf32; on the emulator f32]
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,

    /// Threads for computing [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl Machine {
    /// The same options as words of a command line.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["--device".to_owned(), self.device.clone()];
        words.extend(self.precision.iter().flat_map(|precision| ["--precision".to_owned(), precision.to_string()]));
        words.extend(self.threads.iter().flat_map(|threads| ["--threads".to_owned(), threads.to_string()]));
        words
    }

    /// Sets the threads up and gives the device. Call it once, before any work.
    pub fn open(&self) -> Result<Device> {
        let device = Device::new(&self.device, self.precision)?;
        if device == Device::Cpu && self.device == "auto" && cuda::count().is_ok_and(|gpus| gpus > 0) {
            talk!("there is a GPU, but {MISSING}; this runs on the CPU");
        }
        if let Some(threads) = self.threads {
            if threads == 0 {
                return Err(Error::Usage("--threads 0: at least one thread must compute".into()));
            }
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .map_err(|e| Error::Usage(format!("--threads {threads}: {e}")))?;
        }
        Ok(device)
    }
}
