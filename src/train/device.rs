//! Which machine a network runs on.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::ops::{Backend, Cpu};

/// Work that is the same on every backend. A closure cannot be generic over the
/// backend's type, a trait can.
pub trait Job {
    /// What the work gives back.
    type Output;
    /// Does the work on `backend`.
    fn run<B: Backend>(self, backend: B) -> Result<Self::Output>;
}

/// The devices of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// `Cpu<f32>` on the current rayon pool.
    Cpu,
}

impl Device {
    /// Opens the device and runs `job` on it.
    pub fn run<J: Job>(self, job: J) -> Result<J::Output> {
        match self {
            Device::Cpu => job.run(Cpu::<f32>::new()),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// `cpu`, or `auto` for the fastest device there is.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" | "cpu" => Ok(Device::Cpu),
            other => {
                Err(Error::Usage(format!("device {other}: this build has only `cpu` (and `auto`, which takes it)")))
            }
        }
    }
}
