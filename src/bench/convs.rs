//! Convolutions by themselves, each layer and direction, beside another library's.
//!
//! Each is verified before it is timed: on one image against the CPU, and the rival's result on
//! the whole batch against ours. Timed are launches in a row, without the host, on operands that
//! take turns so that no cache answers for memory. Both sides get the same operands in the
//! same layout and precision, but that images, the input of the first layer, lie as the input stage
//! leaves them to us (padded pixels) and without padding for the rival, which chooses its fastest algorithm
//! by its own search.

use std::fmt;

use half::bf16;

use super::Cost;
use super::cudnn::Cudnn;
use crate::device::Device;
use crate::device::cuda::Cuda;
#[cfg(feature = "emulator")]
use crate::device::emulator::Emulator;
use crate::error::{Error, Result};
use crate::net::{LayerOp, Plan};
use crate::ops::conv::{Conv, ConvOp};
use crate::ops::roof::RoofOp;
use crate::ops::{Cpu, Gpu, GpuBuf, Precision, Role, Storage, Version};
use crate::philox::{Purpose, Stream};
use crate::train::device as train;

/// A direction of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// y from x and w.
    Fprop,
    /// dx from dy and w.
    Dgrad,
    /// dw from x and dy.
    Wgrad,
}

impl Direction {
    /// All of them.
    pub const ALL: [Direction; 3] = [Direction::Fprop, Direction::Dgrad, Direction::Wgrad];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Fprop => "fprop",
            Direction::Dgrad => "dgrad",
            Direction::Wgrad => "wgrad",
        })
    }
}

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

/// Bytes of operands that take turns: beyond any second-level cache.
const ROTATED: usize = 512 << 20;

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
    for (i, layer) in plan.layers.iter().enumerate() {
        let LayerOp::Conv { conv, .. } = &layer.op else { continue };
        let mut bench = Bench::new(gpu, conv, batch, i == 0 && conv.groups == 1)?;
        bench.verify(gpu, &layer.name)?;
        for direction in Direction::ALL.into_iter().filter(|d| i > 0 || *d != Direction::Dgrad) {
            let cost = Cost::conv(conv, batch);
            let seconds = bench.seconds(gpu, direction, runs)?;
            let portable = bench.portable_seconds(gpu, direction, runs)?;
            let rival = match &mut rival {
                Some(rival) => Some(bench.rival(gpu, &layer.name, direction, runs, *rival)?),
                None => None,
            };
            let floor = cost.floor(&roof, gpu.element_bytes(Role::Activation));
            times.push(ConvTime { layer: layer.name.clone(), direction, cost, seconds, portable, floor, rival });
        }
    }
    Ok(times)
}

/// The operands of one convolution.
struct Bench<B: Storage> {
    conv: Conv,
    N: usize,
    /// Whether the inputs are images: see [`Storage::alloc_images`].
    of_images: bool,
    /// Inputs and outputs that take turns.
    sets: Vec<(B::Buf, B::Buf)>, // (N, H, W, C), (N, P, Q, K)
    w: B::Buf,    // (K, R, S, C/g)
    bias: B::Buf, // (K), zeros
    dw: B::Buf,   // (K, R, S, C/g)
    db: B::Buf,   // (K)
}

impl<D: Device> Bench<Gpu<D>> {
    fn new(gpu: &mut Gpu<D>, conv: &Conv, N: usize, of_images: bool) -> Result<Self> {
        let (inputs, outputs) = (N * conv.input().len(), N * conv.output().len());
        let bytes = (inputs + outputs) * gpu.element_bytes(Role::Activation);
        let mut sets = vec![];
        for set in 0..(ROTATED / bytes).clamp(1, 4) as u32 {
            let x = pattern(2 * set, inputs);
            let x = if of_images { images(gpu, N, conv, &x)? } else { filled(gpu, Role::Activation, &x)? };
            sets.push((x, filled(gpu, Role::Activation, &pattern(2 * set + 1, outputs))?));
        }
        Ok(Bench {
            conv: *conv,
            N,
            of_images,
            sets,
            w: filled(gpu, Role::Weight, &pattern(100, conv.weights()))?,
            bias: gpu.alloc(Role::Full, conv.K)?,
            dw: gpu.alloc(Role::Full, conv.weights())?,
            db: gpu.alloc(Role::Full, conv.K)?,
        })
    }

    /// The first `N` images of a set in one direction.
    fn run(&mut self, gpu: &mut Gpu<D>, direction: Direction, N: usize, set: usize) -> Result<()> {
        let turn = set % self.sets.len();
        let Bench { conv, w, bias, dw, db, sets, .. } = self;
        let (x, y) = &mut sets[turn];
        match direction {
            Direction::Fprop => gpu.conv_fprop(conv, N, x, w, bias, false, y),
            Direction::Dgrad => gpu.conv_dgrad(conv, N, y, w, x),
            Direction::Wgrad => gpu.conv_wgrad(conv, N, x, y, dw, db),
        }
    }

    /// What a direction wrote for `N` images.
    fn result(&self, gpu: &mut Gpu<D>, direction: Direction, N: usize) -> Result<Vec<f32>> {
        let (x, y) = &self.sets[0];
        let (buffer, len) = match direction {
            Direction::Fprop => (y, N * self.conv.output().len()),
            Direction::Dgrad => (x, N * self.conv.input().len()),
            Direction::Wgrad => (&self.dw, self.conv.weights()),
        };
        let mut values = vec![0.0; len];
        gpu.download(buffer, &mut values)?;
        Ok(values)
    }

    /// One image in all directions, against the CPU.
    fn verify(&mut self, gpu: &mut Gpu<D>, layer: &str) -> Result<()> {
        let conv = self.conv;
        let (x, y) = (pattern(0, conv.input().len()), pattern(1, conv.output().len()));
        let (w, bias) = (pattern(100, conv.weights()), vec![0.0; conv.K]);
        let mut cpu = Cpu::<f32>::new();
        for direction in Direction::ALL {
            let expected = match direction {
                Direction::Fprop => {
                    let mut out = vec![0.0; y.len()];
                    cpu.conv_fprop(&conv, 1, &x, &w, &bias, false, &mut out)?;
                    out
                }
                Direction::Dgrad => {
                    let mut out = vec![0.0; x.len()];
                    cpu.conv_dgrad(&conv, 1, &y, &w, &mut out)?;
                    out
                }
                Direction::Wgrad => {
                    let (mut out, mut db) = (vec![0.0; w.len()], vec![0.0; conv.K]);
                    cpu.conv_wgrad(&conv, 1, &x, &y, &mut out, &mut db)?;
                    out
                }
            };
            self.refill(gpu)?;
            self.run(gpu, direction, 1, 0)?;
            let given = self.result(gpu, direction, 1)?;
            agree(gpu, &format!("{layer} {direction}, one image on the CPU"), &given, &expected)?;
        }
        self.refill(gpu)
    }

    /// What the first set held at first: its arrays are results as well.
    fn refill(&mut self, gpu: &mut Gpu<D>) -> Result<()> {
        let (inputs, outputs) = (self.N * self.conv.input().len(), self.N * self.conv.output().len());
        let (x, y) = &mut self.sets[0];
        gpu.upload(&pattern(0, inputs), x)?;
        gpu.upload(&pattern(1, outputs), y)
    }

    fn seconds(&mut self, gpu: &mut Gpu<D>, direction: Direction, runs: usize) -> Result<f64> {
        let N = self.N;
        timed(gpu, runs, |gpu, turn| self.run(gpu, direction, N, turn))
    }

    /// The same without the kernels for one generation of GPUs; `None` where there are none.
    fn portable_seconds(&mut self, gpu: &mut Gpu<D>, direction: Direction, runs: usize) -> Result<Option<f64>> {
        if gpu.version != Version::Fast || gpu.precision != Precision::Bf16 || !gpu.device.has(A_HOPPER_KERNEL) {
            return Ok(None);
        }
        gpu.version = Version::Portable;
        let seconds = self.seconds(gpu, direction, runs);
        gpu.version = Version::Fast;
        seconds.map(Some)
    }

    fn rival(
        &mut self,
        gpu: &mut Gpu<D>,
        layer: &str,
        direction: Direction,
        runs: usize,
        rival: &mut dyn Rival<D>,
    ) -> Result<RivalTime> {
        let (conv, N) = (self.conv, self.N);
        self.refill(gpu)?;
        self.run(gpu, direction, N, 0)?;
        let ours = self.result(gpu, direction, N)?;
        self.refill(gpu)?;
        // Filters, and room for their gradient, in the type of the activations.
        let w = filled(gpu, Role::Activation, &pattern(100, conv.weights()))?;
        let dw = gpu.alloc(Role::Activation, conv.weights())?;
        let filters = if direction == Direction::Wgrad { &dw } else { &w };
        let algorithm = rival.prepare(gpu, &conv, N, direction)?;
        let mut unpadded = vec![];
        for set in (0..self.sets.len() as u32).filter(|_| self.of_images) {
            unpadded.push(filled(gpu, Role::Activation, &pattern(2 * set, N * conv.input().len()))?);
        }
        let addresses: Vec<Operands> = self
            .sets
            .iter()
            .enumerate()
            .map(|(set, (x, y))| Operands {
                x: unpadded.get(set).unwrap_or(x).addresses()[0],
                w: filters.addresses()[0],
                y: y.addresses()[0],
            })
            .collect();
        rival.run(addresses[0])?;
        let theirs = match direction {
            Direction::Wgrad => {
                let mut values = vec![0.0; conv.weights()];
                gpu.download(&dw, &mut values)?;
                values
            }
            _ => self.result(gpu, direction, N)?,
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

/// Refuses results that differ by more than the roundings of precision and sums.
///
/// Operands are numbers that bf16 holds, so products are exact in every precision. A sum of n terms
/// of random sign errs by some sqrt(n) roundings, n up to 10^6 in a weight gradient; and each
/// side may round once to bf16.
fn agree<D: Device>(gpu: &Gpu<D>, what: &str, a: &[f32], b: &[f32]) -> Result<()> {
    let store = if gpu.element_bytes(Role::Activation) == 2 { 2f64.powi(-8) } else { 0.0 };
    let allowed = 1e3 * f64::from(f32::EPSILON) + 2.0 * store;
    let largest = b.iter().fold(0.0_f64, |m, v| m.max(f64::from(v.abs())));
    let apart = a.iter().zip(b).fold(0.0_f64, |m, (a, b)| {
        let d = f64::from(*a) - f64::from(*b);
        if d.is_nan() { f64::INFINITY } else { m.max(d.abs()) }
    });
    if a.len() == b.len() && apart <= allowed * largest {
        return Ok(());
    }
    let relative = apart / largest;
    Err(Error::Usage(format!(
        "{what} differs by {relative:.1e} of the largest value, {allowed:.1e} allowed: not timed"
    )))
}

/// Normal draws of 8 significant bits, again and again.
fn pattern(lane: u32, len: usize) -> Vec<f32> {
    const PERIOD: usize = 1 << 16;
    let stream = Stream::new(20_131_112, Purpose::Test, lane);
    let draw = |i: usize| bf16::from_f64(stream.normal(0, i as u64)).to_f32();
    let period: Vec<f32> = (0..PERIOD.min(len)).map(draw).collect();
    period.iter().copied().cycle().take(len).collect()
}

fn filled<D: Device>(gpu: &mut Gpu<D>, role: Role, values: &[f32]) -> Result<GpuBuf<D::Buffer>> {
    let mut buffer = gpu.alloc(role, values.len())?;
    gpu.upload(values, &mut buffer)?;
    Ok(buffer)
}

/// `N` images that a convolution reads, as the input stage leaves them.
fn images<D: Device>(gpu: &mut Gpu<D>, N: usize, conv: &Conv, values: &[f32]) -> Result<GpuBuf<D::Buffer>> {
    let mut buffer = gpu.alloc_images(N, conv.input())?;
    gpu.upload(values, &mut buffer)?;
    Ok(buffer)
}
