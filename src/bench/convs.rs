//! Convolutions by themselves, each layer and direction, beside another library's.
//!
//! Each is verified before it is timed: on one image against the CPU, and the rival's result on
//! the whole batch against ours. Timed are launches in a row, without the host, on operands that
//! take turns so that no cache answers for memory. Both sides get the same operands in the
//! same layout and precision, but that images, the input of the first layer, lie as the input stage
//! leaves them to us (padded pixels) and without padding for the rival, which chooses its fastest algorithm
//! by its own search.

use super::Cost;
use super::cudnn::Cudnn;
use super::layer::{Bench, Multiplied, WEIGHTS, agree, filled, pattern};
use crate::device::Device;
use crate::device::cuda::Cuda;
#[cfg(feature = "emulator")]
use crate::device::emulator::Emulator;
use crate::error::{Error, Result};
use crate::net::Plan;
use crate::ops::conv::Conv;
use crate::ops::roof::RoofOp;
use crate::ops::{Direction, Gpu, Precision, Role, Storage, Version};
use crate::train::device as train;

/// One convolution, one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTime {
    /// The layer's name.
    pub layer: String,
    /// Which direction.
    pub direction: Direction,
    /// What it has to do.
    pub cost: Cost,
    /// What it takes.
    pub seconds: f64,
    /// What our kernels for every GPU take, where those of one generation are faster or should be.
    pub portable: Option<f64>,
    /// The least that it can take: see [`Cost::floor`].
    pub floor: f64,
    /// The other library, where there is one.
    pub rival: Option<RivalTime>,
}

/// The same by another library.
#[derive(Clone, Debug, PartialEq)]
pub struct RivalTime {
    /// The algorithm that its search found fastest.
    pub algorithm: String,
    /// What it takes.
    pub seconds: f64,
}

/// Device addresses of x (N, H, W, C), w (K, R, S, C/g), y (N, P, Q, K), in the type of the
/// activations. A direction writes one of them and reads the others.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Input, or its gradient.
    pub x: u64,
    /// Filters, or their gradient.
    pub w: u64,
    /// Output, or its gradient.
    pub y: u64,
}

/// Another library's convolution on device `D`.
pub trait Rival<D: Device> {
    /// Gets ready for a convolution of `N` images, and names the algorithm that it will use.
    fn prepare(&mut self, gpu: &Gpu<D>, conv: &Conv, N: usize, direction: Direction) -> Result<String>;

    /// Asks for the convolution that was prepared, in the order of the device's work.
    fn run(&mut self, operands: Operands) -> Result<()>;
}

/// What [`measure_on`] found.
#[derive(Clone, Debug)]
pub struct Convs {
    /// What ran: see [`Storage::describe`].
    pub device: String,
    /// Layer by layer, direction by direction.
    pub times: Vec<ConvTime>,
    /// Why there is no rival, if there is none.
    pub without_rival: Option<String>,
}

/// [`measure`] on a device that has kernels, beside cuDNN on a GPU that has it.
///
/// # Errors
/// Those of [`measure`]; [`Error::Usage`] for the CPU, which `bench step --profile` measures.
pub fn measure_on(device: train::Device, plan: &Plan, batch: usize, runs: usize) -> Result<Convs> {
    match device {
        train::Device::Cpu => Err(Error::Usage(
            "bench convs measures kernels: --device cuda:0; for the CPU there is bench step --profile".into(),
        )),
        train::Device::Cuda(ordinal, precision) => {
            let mut gpu = Gpu::new(Cuda::new(ordinal)?, precision);
            let (mut cudnn, without_rival) = match Cudnn::new(&gpu) {
                Ok(cudnn) => (Some(cudnn), None),
                Err(error) => (None, Some(error.to_string())),
            };
            let rival = cudnn.as_mut().map(|cudnn| cudnn as &mut dyn Rival<Cuda>);
            let times = measure(&mut gpu, plan, batch, runs, rival)?;
            Ok(Convs { device: gpu.describe(), times, without_rival })
        }
        #[cfg(feature = "emulator")]
        train::Device::Emulator(precision) => {
            let mut gpu = Gpu::new(Emulator::new(0), precision);
            let times = measure(&mut gpu, plan, batch, runs, None)?;
            Ok(Convs { device: gpu.describe(), times, without_rival: Some("the emulator is no GPU".into()) })
        }
    }
}

/// Where it is, its kind is.
const A_HOPPER_KERNEL: &str = "conv_fprop_4_bf16_n128";

/// Times all convolutions of `plan` on `batch` images; the first layer has no data gradient.
///
/// # Errors
/// Those of the device, and [`Error::Usage`] for a result that is wrong: it is not worth timing.
pub fn measure<D: Device>(
    gpu: &mut Gpu<D>,
    plan: &Plan,
    batch: usize,
    runs: usize,
    mut rival: Option<&mut dyn Rival<D>>,
) -> Result<Vec<ConvTime>> {
    let roof = gpu.roof()?;
    let mut times = vec![];
    for (name, layer, directions) in Multiplied::all_of(plan) {
        let (Multiplied::Conv(conv) | Multiplied::Images(conv)) = layer else { continue };
        let mut bench = Bench::new(gpu, layer, batch)?;
        bench.verify(gpu, name, &directions)?;
        for direction in directions {
            let cost = layer.cost(batch);
            let seconds = bench.seconds(gpu, direction, batch, runs)?;
            let portable = bench.portable_seconds(gpu, direction, batch, runs)?;
            let rival = match &mut rival {
                Some(rival) => Some(bench.rival(gpu, name, &conv, batch, direction, runs, *rival)?),
                None => None,
            };
            let floor = cost.floor(&roof, gpu.element_bytes(Role::Activation));
            times.push(ConvTime { layer: name.into(), direction, cost, seconds, portable, floor, rival });
        }
    }
    Ok(times)
}

impl<D: Device> Bench<Gpu<D>> {
    fn seconds(&mut self, gpu: &mut Gpu<D>, direction: Direction, N: usize, runs: usize) -> Result<f64> {
        timed(gpu, runs, |gpu, turn| self.run(gpu, direction, N, turn))
    }

    /// The same without the kernels for one generation of GPUs; `None` where there are none.
    fn portable_seconds(
        &mut self,
        gpu: &mut Gpu<D>,
        direction: Direction,
        N: usize,
        runs: usize,
    ) -> Result<Option<f64>> {
        if gpu.version != Version::Fast || gpu.precision != Precision::Bf16 || !gpu.device.has(A_HOPPER_KERNEL) {
            return Ok(None);
        }
        gpu.version = Version::Portable;
        let seconds = self.seconds(gpu, direction, N, runs);
        gpu.version = Version::Fast;
        seconds.map(Some)
    }

    fn rival(
        &mut self,
        gpu: &mut Gpu<D>,
        layer: &str,
        conv: &Conv,
        N: usize,
        direction: Direction,
        runs: usize,
        rival: &mut dyn Rival<D>,
    ) -> Result<RivalTime> {
        let mut ours = self.result(gpu, direction, N)?;
        self.refill(gpu)?;
        // Filters, and room for their gradient, in the type of the activations.
        let w = filled(gpu, Role::Activation, &pattern(WEIGHTS, conv.weights()))?;
        let dw = gpu.alloc(Role::Activation, conv.weights())?;
        let filters = if direction == Direction::Wgrad { &dw } else { &w };
        let algorithm = rival.prepare(gpu, conv, N, direction)?;
        let unpadded = self.unpadded(gpu)?;
        let addresses: Vec<Operands> = (self.sets().iter().zip(&unpadded))
            .map(|((x, y), unpadded)| Operands {
                x: unpadded.as_ref().unwrap_or(x).addresses()[0],
                w: filters.addresses()[0],
                y: y.addresses()[0],
            })
            .collect();
        rival.run(addresses[0])?;
        let theirs = match direction {
            Direction::Wgrad => {
                let mut values = vec![0.0; conv.weights()];
                gpu.download(&dw, &mut values)?;
                // The rival computes no gradient of the bias.
                ours.truncate(conv.weights());
                values
            }
            Direction::Fprop | Direction::Dgrad => self.written(gpu, direction, N)?,
        };
        agree(gpu, &format!("{layer} {direction}, {algorithm}"), &ours, &theirs)?;
        let seconds = timed(gpu, runs, |_, turn| rival.run(addresses[turn % addresses.len()]))?;
        gpu.synchronise()?; // Before `w`, `dw` and `unpadded` go.
        Ok(RivalTime { algorithm, seconds })
    }
}

/// Seconds of one of `runs` runs in a row, after some that are not looked at.
fn timed<D: Device>(
    gpu: &mut Gpu<D>,
    runs: usize,
    mut run: impl FnMut(&mut Gpu<D>, usize) -> Result<()>,
) -> Result<f64> {
    const WARM_UP: usize = 3;
    for turn in 0..WARM_UP {
        run(gpu, turn)?;
    }
    let start = gpu.mark()?;
    for turn in 0..runs {
        run(gpu, turn)?;
    }
    let end = gpu.mark()?;
    Ok(gpu.seconds_between(&start, &end)? / runs as f64)
}
