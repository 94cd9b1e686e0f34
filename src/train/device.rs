//! Which machine a network runs on.

use std::fmt;

use crate::device::cuda::{self, Cuda};
#[cfg(feature = "emulator")]
use crate::device::emulator::Emulator;
use crate::error::{Error, Result};
use crate::ops::{Backend, Cpu, Gpu, Precision};

/// Work that is the same on every backend. A closure cannot be generic over the
/// backend's type, a trait can.
pub trait Job {
    /// What the work gives back.
    type Output;
    /// Does the work on `backend`.
    fn run<B: Backend>(self, backend: B) -> Result<Self::Output>;
}

/// A device and what to compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// `Cpu<f32>` on the current rayon pool.
    Cpu,
    /// An NVIDIA GPU, counted from 0.
    Cuda(u32, Precision),
    /// The kernels on the CPU, thread by thread: hundreds of times slower than `Cpu`, to
    /// see that they are right.
    #[cfg(feature = "emulator")]
    Emulator(Precision),
}

/// What a GPU computes in unless told otherwise: as exact as f32 outside the products.
const GPU_PRECISION: Precision = Precision::Tf32;

impl Device {
    /// `cpu`, `cuda` or `cuda:N`, `emulator`, or `auto` for the fastest device that works.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that means nothing, or a precision that the device has not.
    pub fn new(name: &str, precision: Option<Precision>) -> Result<Self> {
        let ordinal = |digits: &str| digits.parse().ok();
        let gpu = precision.unwrap_or(GPU_PRECISION);
        match (name, name.strip_prefix("cuda:").and_then(ordinal)) {
            ("auto", _) if cuda::works() => Ok(Device::Cuda(0, gpu)),
            ("auto" | "cpu", _) if precision.is_none_or(|p| p == Precision::F32) => Ok(Device::Cpu),
            ("auto" | "cpu", _) => Err(Error::Usage(format!(
                "--precision {gpu} needs a GPU, and {name} is the CPU here, which computes in f32: leave it out"
            ))),
            ("cuda", _) => Ok(Device::Cuda(0, gpu)),
            (_, Some(ordinal)) => Ok(Device::Cuda(ordinal, gpu)),
            #[cfg(feature = "emulator")]
            ("emulator", _) => Ok(Device::Emulator(precision.unwrap_or_default())),
            #[cfg(not(feature = "emulator"))]
            ("emulator", _) => {
                Err(Error::Usage("this program was built without the emulator: add --features emulator".into()))
            }
            (other, _) => Err(Error::Usage(format!("device {other}: expected auto, cpu, cuda:N or emulator"))),
        }
    }

    /// The same device computing in f32.
    pub fn in_f32(self) -> Self {
        match self {
            Device::Cpu => Device::Cpu,
            Device::Cuda(ordinal, _) => Device::Cuda(ordinal, Precision::F32),
            #[cfg(feature = "emulator")]
            Device::Emulator(_) => Device::Emulator(Precision::F32),
        }
    }

    /// By how much it rounds the operands of products: 0 for f32.
    pub fn operand_roundoff(self) -> f64 {
        match self {
            Device::Cpu => 0.0,
            Device::Cuda(_, precision) => precision.operand_roundoff(),
            #[cfg(feature = "emulator")]
            Device::Emulator(precision) => precision.operand_roundoff(),
        }
    }

    /// Opens the device and runs `job` on it.
    pub fn run<J: Job>(self, job: J) -> Result<J::Output> {
        match self {
            Device::Cpu => job.run(Cpu::<f32>::new()),
            Device::Cuda(ordinal, precision) => job.run(Gpu::new(Cuda::new(ordinal)?, precision)),
            #[cfg(feature = "emulator")]
            Device::Emulator(precision) => job.run(Gpu::new(Emulator::new(0), precision)),
        }
    }
}

impl fmt::Display for Device {
    /// As the command line names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(ordinal, precision) => write!(f, "cuda:{ordinal}, {precision}"),
            #[cfg(feature = "emulator")]
            Device::Emulator(precision) => write!(f, "emulator, {precision}"),
        }
    }
}
