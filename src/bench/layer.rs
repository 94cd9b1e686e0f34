//! A convolution or a linear layer by itself: its operands, its directions, and a check of its results.
//!
//! Operands take turns so that no cache answers for memory. They are numbers that bf16 holds,
//! so products are exact in every precision.

use half::bf16;

use super::Cost;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::net::{LayerOp, Plan};
use crate::ops::conv::{Conv, Laid};
use crate::ops::linear::Linear;
use crate::ops::product::Product;
use crate::ops::{Backend, Cpu, Direction, Gpu, GpuBuf, Role, Storage};
use crate::philox::{Purpose, Stream};

/// A layer that multiplies matrices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Multiplied {
    Conv(Conv),
    /// A convolution of images, as the input stage lays them out: the first layer.
    Images(Conv),
    Linear(Linear),
}

impl Multiplied {
    /// Those of a network, with their names and the directions that training wants: nothing
    /// wants the gradient of the first layer's input.
    pub fn all_of(plan: &Plan) -> Vec<(&str, Multiplied, Vec<Direction>)> {
        let of = |(i, op): (usize, &LayerOp)| {
            let layer = match op {
                LayerOp::Conv { conv, .. } if i == 0 && conv.groups == 1 => Multiplied::Images(*conv),
                LayerOp::Conv { conv, .. } => Multiplied::Conv(*conv),
                LayerOp::Linear { linear, .. } => Multiplied::Linear(*linear),
                LayerOp::Pool(_) | LayerOp::Lrn(_) => return None,
            };
            let directions = Direction::ALL.into_iter().filter(|d| i > 0 || *d != Direction::Dgrad);
            Some((plan.layers[i].name.as_str(), layer, directions.collect()))
        };
        plan.layers.iter().map(|layer| &layer.op).enumerate().filter_map(of).collect()
    }

    pub fn cost(&self, N: usize) -> Cost {
        match self {
            Multiplied::Conv(conv) | Multiplied::Images(conv) => Cost::conv(conv, N),
            Multiplied::Linear(linear) => Cost::linear(linear, N),
        }
    }

    /// Elements of the input and of the output of one image.
    fn maps(&self) -> (usize, usize) {
        match self {
            Multiplied::Conv(conv) | Multiplied::Images(conv) => (conv.input().len(), conv.output().len()),
            Multiplied::Linear(linear) => (linear.inputs, linear.outputs),
        }
    }

    /// Elements of w and of the bias.
    pub fn params(&self) -> (usize, usize) {
        match self {
            Multiplied::Conv(conv) | Multiplied::Images(conv) => (conv.weights(), conv.K),
            Multiplied::Linear(linear) => (linear.weights(), linear.outputs),
        }
    }

    /// One direction of `N` images: fprop writes y, dgrad x, wgrad the gradients.
    fn run<B: Backend>(&self, backend: &mut B, direction: Direction, N: usize, on: Arrays<'_, B>) -> Result<()> {
        let Arrays { x, y, w, bias, dw, db } = on;
        match (self, direction) {
            (Multiplied::Linear(fc), Direction::Fprop) => backend.linear_fprop(fc, N, x, w, bias, false, y),
            (Multiplied::Linear(fc), Direction::Dgrad) => backend.linear_dgrad(fc, N, y, w, x),
            (Multiplied::Linear(fc), Direction::Wgrad) => backend.linear_wgrad(fc, N, x, y, dw, db),
            (Multiplied::Conv(conv) | Multiplied::Images(conv), direction) => match direction {
                Direction::Fprop => backend.conv_fprop(conv, N, x, w, bias, false, y),
                Direction::Dgrad => backend.conv_dgrad(conv, N, y, w, x),
                Direction::Wgrad => backend.conv_wgrad(conv, N, x, y, dw, db),
            },
        }
    }
}

/// The arrays of a layer on some backend; shapes are those of its operations.
struct Arrays<'a, B: Storage> {
    x: &'a mut B::Buf,
    y: &'a mut B::Buf,
    w: &'a B::Buf,
    bias: &'a B::Buf,
    dw: &'a mut B::Buf,
    db: &'a mut B::Buf,
}

/// Bytes of operands that take turns: beyond any second-level cache.
const ROTATED: usize = 512 << 20;

/// Input and output of a layer.
type Set<B> = (<B as Storage>::Buf, <B as Storage>::Buf);

/// The operands of one layer.
pub(super) struct Bench<B: Storage> {
    layer: Multiplied,
    N: usize,
    /// Inputs and outputs that take turns.
    sets: Vec<Set<B>>, // (N, in), (N, out)
    w: B::Buf,    // as the layer's weights
    bias: B::Buf, // (K), zeros
    dw: B::Buf,   // as w
    db: B::Buf,   // (K)
}

impl<D: Device> Bench<Gpu<D>> {
    pub fn new(gpu: &mut Gpu<D>, layer: Multiplied, N: usize) -> Result<Self> {
        let (input, output) = layer.maps();
        let (weights, biases) = layer.params();
        let bytes = N * (input + output) * gpu.element_bytes(Role::Activation);
        let mut sets = vec![];
        for set in 0..(ROTATED / bytes).clamp(1, 4) as u32 {
            let values = pattern(2 * set, N * input);
            let x = match layer {
                Multiplied::Images(conv) => images(gpu, N, &conv, &values)?,
                Multiplied::Conv(_) | Multiplied::Linear(_) => filled(gpu, Role::Activation, &values)?,
            };
            sets.push((x, filled(gpu, Role::Activation, &pattern(2 * set + 1, N * output))?));
        }
        Ok(Bench {
            layer,
            N,
            sets,
            w: filled(gpu, Role::Weight, &pattern(WEIGHTS, weights))?,
            bias: gpu.alloc(Role::Full, biases)?,
            dw: gpu.alloc(Role::Full, weights)?,
            db: gpu.alloc(Role::Full, biases)?,
        })
    }

    /// The first `N` images of a set in one direction.
    pub fn run(&mut self, gpu: &mut Gpu<D>, direction: Direction, N: usize, set: usize) -> Result<()> {
        let turn = set % self.sets.len();
        let Bench { layer, w, bias, dw, db, sets, .. } = self;
        let (x, y) = &mut sets[turn];
        layer.run(gpu, direction, N, Arrays { x, y, w, bias, dw, db })
    }

    /// What a direction makes of the first `N` images of the first set, whose arrays and the gradients
    /// are poisoned or filled anew before; weight gradients first, then those of the bias.
    pub fn result(&mut self, gpu: &mut Gpu<D>, direction: Direction, N: usize) -> Result<Vec<f32>> {
        self.refill(gpu)?;
        self.run(gpu, direction, N, 0)?;
        self.written(gpu, direction, N)
    }

    /// What a direction last wrote for the first `N` images of the first set.
    pub fn written(&self, gpu: &mut Gpu<D>, direction: Direction, N: usize) -> Result<Vec<f32>> {
        let ((input, output), (weights, biases)) = (self.layer.maps(), self.layer.params());
        let (x, y) = &self.sets[0];
        let mut values = match direction {
            Direction::Fprop => vec![0.0; N * output],
            Direction::Dgrad => vec![0.0; N * input],
            Direction::Wgrad => vec![0.0; weights + biases],
        };
        match direction {
            Direction::Fprop => gpu.download(y, &mut values)?,
            Direction::Dgrad => gpu.download(x, &mut values)?,
            Direction::Wgrad => {
                let (dw, db) = values.split_at_mut(weights);
                gpu.download(&self.dw, dw)?;
                gpu.download(&self.db, db)?;
            }
        }
        Ok(values)
    }

    /// One image in `directions`, against the CPU.
    ///
    /// # Errors
    /// [`Error::Usage`] for a wrong result: it is not worth timing.
    pub fn verify(&mut self, gpu: &mut Gpu<D>, name: &str, directions: &[Direction]) -> Result<()> {
        for &direction in directions {
            let given = self.result(gpu, direction, 1)?;
            let expected = on_the_cpu(&self.layer, direction)?;
            agree(gpu, &format!("{name} {direction}, one image on the CPU"), &given, &expected)?;
        }
        self.refill(gpu)
    }

    /// What the first set held at first, its arrays being results as well; the gradients are NaN.
    pub fn refill(&mut self, gpu: &mut Gpu<D>) -> Result<()> {
        let ((input, output), (weights, biases)) = (self.layer.maps(), self.layer.params());
        let (x, y) = &mut self.sets[0];
        gpu.upload(&pattern(0, self.N * input), x)?;
        gpu.upload(&pattern(1, self.N * output), y)?;
        gpu.upload(&vec![f32::NAN; weights], &mut self.dw)?;
        gpu.upload(&vec![f32::NAN; biases], &mut self.db)
    }

    /// The matrix product that a direction is.
    pub fn product(&self, gpu: &Gpu<D>, direction: Direction) -> Result<Product> {
        Ok(match &self.layer {
            Multiplied::Conv(conv) | Multiplied::Images(conv) => {
                let pitch = self.sets[0].0.pitch(conv.C);
                Laid::new("bench", conv, pitch, gpu.version)?.product(self.N, direction)
            }
            Multiplied::Linear(linear) => linear.product(self.N, direction),
        })
    }

    /// The inputs as a rival reads them, where that is not how they lie here.
    pub fn unpadded(&self, gpu: &mut Gpu<D>) -> Result<Vec<Option<GpuBuf<D::Buffer>>>> {
        let len = self.N * self.layer.maps().0;
        let of_set = |set: usize| match self.layer {
            Multiplied::Images(_) => filled(gpu, Role::Activation, &pattern(2 * set as u32, len)).map(Some),
            Multiplied::Conv(_) | Multiplied::Linear(_) => Ok(None),
        };
        (0..self.sets.len()).map(of_set).collect()
    }

    /// Inputs and outputs that take turns.
    pub fn sets(&self) -> &[Set<Gpu<D>>] {
        &self.sets
    }
}

/// [`Bench::result`] of one image, computed here.
fn on_the_cpu(layer: &Multiplied, direction: Direction) -> Result<Vec<f32>> {
    let ((input, output), (weights, biases)) = (layer.maps(), layer.params());
    let (mut x, mut y) = (pattern(0, input), pattern(1, output));
    let (w, bias) = (pattern(WEIGHTS, weights), vec![0.0; biases]);
    let (mut dw, mut db) = (vec![0.0; weights], vec![0.0; biases]);
    let on = Arrays { x: &mut x, y: &mut y, w: &w, bias: &bias, dw: &mut dw, db: &mut db };
    layer.run(&mut Cpu::<f32>::new(), direction, 1, on)?;
    Ok(match direction {
        Direction::Fprop => y,
        Direction::Dgrad => x,
        Direction::Wgrad => [dw, db].concat(),
    })
}

/// Refuses results that differ by more than the roundings of precision and sums.
///
/// A sum of n terms of random sign errs by some sqrt(n) roundings, n up to 10^6 in a weight gradient; and each
/// side may round once to bf16.
pub(super) fn agree<D: Device>(gpu: &Gpu<D>, what: &str, a: &[f32], b: &[f32]) -> Result<()> {
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

/// The draws that weights are made of.
pub(super) const WEIGHTS: u32 = 100;

/// Normal draws of 8 significant bits, again and again.
pub(super) fn pattern(lane: u32, len: usize) -> Vec<f32> {
    const PERIOD: usize = 1 << 16;
    let stream = Stream::new(20_131_112, Purpose::Test, lane);
    let draw = |i: usize| bf16::from_f64(stream.normal(0, i as u64)).to_f32();
    let period: Vec<f32> = (0..PERIOD.min(len)).map(draw).collect();
    period.iter().copied().cycle().take(len).collect()
}

pub(super) fn filled<D: Device>(gpu: &mut Gpu<D>, role: Role, values: &[f32]) -> Result<GpuBuf<D::Buffer>> {
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
