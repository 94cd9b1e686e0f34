//! Where the time of a training step goes: by layer and operation, against the roof.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::Receiver;

use super::clock::median;
use super::recorder::{Call, Op};
use super::{Cost, Recorder, Workload};
use crate::device::Device;
use crate::device::cuda::Cuda;
#[cfg(feature = "emulator")]
use crate::device::emulator::Emulator;
use crate::device::watched::{Asked, Watched};
use crate::error::Result;
use crate::net::{Layer, LayerOp, Plan};
use crate::ops::roof::Roof;
use crate::ops::{Backend, Cpu, Gpu, Precision, Role, Storage};
use crate::train::{Config, device as train};

/// One operation of one layer, in the order of the step.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The layer's name, or those that the operation fuses; `input`, `loss`, or `all` for the update
    /// of all parameters.
    pub layer: String,
    /// `fprop`, `dgrad`, `wgrad`, `forward`, `backward`, `relu`, `dropout`, ...
    pub op: &'static str,
    /// The kernels that it launches, each once; none on the CPU.
    pub kernels: Vec<&'static str>,
    /// What it has to do in a step.
    pub cost: Cost,
    /// What it takes in a step, the median of several.
    pub seconds: f64,
    /// The least that it can take: see [`Cost::floor`].
    pub floor: f64,
}

/// A training step, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its operations.
    pub entries: Vec<Entry>,
    /// What the machine can do.
    pub roof: Roof,
    /// Bytes of an element.
    pub element_bytes: usize,
    /// What ran: see [`Storage::describe`].
    pub device: String,
}

impl Profile {
    /// Takes `steps` training steps on `device`, which fuse layers or not, apart, after one that is not looked at.
    ///
    /// # Errors
    /// Those of the device, [`Workload::new`] and [`Workload::train`].
    pub fn measure(
        device: train::Device,
        config: &Config,
        classes: usize,
        batch: usize,
        fused: bool,
        steps: usize,
    ) -> Result<Self> {
        match device {
            train::Device::Cpu => Self::of(Cpu::<f32>::new(), None, config, classes, batch, fused, steps),
            train::Device::Cuda(ordinal, precision) => {
                Self::of_kernels(Cuda::new(ordinal)?, precision, config, classes, batch, fused, steps)
            }
            #[cfg(feature = "emulator")]
            train::Device::Emulator(precision) => {
                Self::of_kernels(Emulator::new(0), precision, config, classes, batch, fused, steps)
            }
        }
    }

    fn of_kernels<D: Device>(
        device: D,
        precision: Precision,
        config: &Config,
        classes: usize,
        batch: usize,
        fused: bool,
        steps: usize,
    ) -> Result<Self> {
        let (device, asked) = Watched::new(device);
        Self::of(Gpu::new(device, precision), Some(asked), config, classes, batch, fused, steps)
    }

    fn of<B: Backend>(
        mut backend: B,
        asked: Option<Receiver<Asked>>,
        config: &Config,
        classes: usize,
        batch: usize,
        fused: bool,
        steps: usize,
    ) -> Result<Self> {
        let roof = backend.roof()?;
        let (backend, calls) = Recorder::new(backend, asked);
        let mut workload = Workload::new(backend, config, classes, batch, fused)?;
        workload.train()?;
        calls.try_iter().for_each(drop);
        let mut rows = Rows::default();
        for _ in 0..steps.max(1) {
            workload.train()?;
            rows.add(workload.net().plan(), &calls);
        }
        let backend = workload.net().backend();
        let element_bytes = backend.element_bytes(Role::Activation);
        Ok(Profile {
            entries: rows.entries(|cost| cost.floor(&roof, element_bytes)),
            roof,
            element_bytes,
            device: backend.describe(),
        })
    }
}

impl Profile {
    /// All operations together. A step is more: copies from the host, and on a GPU what lies between
    /// kernels; or less, where kernels overlap.
    pub fn seconds(&self) -> f64 {
        self.entries.iter().map(|entry| entry.seconds).sum()
    }

    /// The least that the step can take: all its operations at their floors.
    pub fn floor(&self) -> f64 {
        self.entries.iter().map(|entry| entry.floor).sum()
    }
}

/// What is known so far of each operation.
#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
}

struct Row {
    layer: String,
    op: &'static str,
    kernels: Vec<&'static str>,
    cost: Cost,
    /// One sum a step.
    seconds: Vec<f64>,
}

impl Rows {
    /// Adds the calls of one step.
    fn add(&mut self, plan: &Plan, calls: &Receiver<Call>) {
        let mut order = Order { plan, made: HashMap::new() };
        let mut step: Vec<Row> = Vec::new();
        for Call { op, cost, seconds, kernels } in calls.try_iter() {
            let (layer, op) = (order.layer_of(op), name(op));
            match step.iter_mut().find(|row| row.layer == layer && row.op == op) {
                // Weights and biases, dropout up and down.
                Some(row) => {
                    row.cost = row.cost + cost;
                    row.seconds[0] += seconds;
                    row.kernels.extend(kernels);
                }
                None => step.push(Row { layer, op, kernels, cost, seconds: vec![seconds] }),
            }
        }
        if self.rows.is_empty() {
            self.rows = step;
        } else {
            self.rows.iter_mut().zip(step).for_each(|(row, new)| row.seconds.extend(new.seconds));
        }
    }

    fn entries(self, floor: impl Fn(&Cost) -> f64) -> Vec<Entry> {
        let entry = |Row { layer, op, kernels, cost, mut seconds }: Row| Entry {
            layer,
            op,
            kernels: each_once(kernels),
            cost,
            seconds: median(&mut seconds),
            floor: floor(&cost),
        };
        self.rows.into_iter().map(entry).collect()
    }
}

fn each_once(kernels: Vec<&'static str>) -> Vec<&'static str> {
    let mut seen = HashSet::new();
    kernels.into_iter().filter(|kernel| seen.insert(*kernel)).collect()
}

/// Which layer the next call of each operation belongs to: the network walks up
/// through its layers, then down.
struct Order<'a> {
    plan: &'a Plan,
    made: HashMap<Op, usize>,
}

impl Order<'_> {
    fn layer_of(&mut self, op: Op) -> String {
        let layers = &self.plan.layers;
        let up = |of: fn(&Layer) -> bool| layers.iter().filter(move |l| of(l));
        let down = |of: fn(&Layer) -> bool| layers.iter().rev().filter(move |l| of(l));
        let made = self.made.entry(op).or_default();
        let n = *made;
        *made += 1;
        let layer = match op {
            Op::Crop | Op::Occlude => return "input".into(),
            Op::Keep => return "signal".into(),
            Op::Softmax => return "loss".into(),
            Op::Sgd => return "all".into(),
            Op::ConvFprop => up(is_conv).nth(n),
            Op::ConvDgrad | Op::ConvWgrad => down(is_conv).nth(n),
            Op::LinearFprop => up(is_linear).nth(n),
            Op::LinearDgrad | Op::LinearWgrad | Op::LinearWgradSgd => down(is_linear).nth(n),
            Op::PoolForward => up(is_pool).nth(n),
            Op::PoolLrnForward => {
                let [pool, lrn] = [Op::PoolForward, Op::LrnForward].map(|op| self.layer_of(op));
                return format!("{pool}, {lrn}");
            }
            Op::ConvPoolLrnForward => {
                let [conv, behind] = [Op::ConvFprop, Op::PoolLrnForward].map(|op| self.layer_of(op));
                return format!("{conv}, {behind}");
            }
            Op::Unpool => down(is_pool).nth(n),
            Op::LrnForward => up(is_lrn).nth(n),
            Op::LrnBackward => down(is_lrn).nth(n),
            Op::ReluBackward => down(Layer::relu).nth(n),
            Op::Dropout => up(drops).chain(down(drops)).nth(n),
        };
        layer.map_or_else(|| "?".into(), |layer| layer.name.clone())
    }
}

fn is_conv(layer: &Layer) -> bool {
    matches!(layer.op, LayerOp::Conv { .. })
}

fn is_linear(layer: &Layer) -> bool {
    matches!(layer.op, LayerOp::Linear { .. })
}

fn is_pool(layer: &Layer) -> bool {
    matches!(layer.op, LayerOp::Pool(_))
}

fn is_lrn(layer: &Layer) -> bool {
    matches!(layer.op, LayerOp::Lrn(_))
}

fn drops(layer: &Layer) -> bool {
    matches!(layer.op, LayerOp::Linear { dropout, .. } if dropout > 0.0)
}

/// What a table calls an operation.
fn name(op: Op) -> &'static str {
    match op {
        Op::Crop => "crop",
        Op::ConvFprop | Op::LinearFprop => "fprop",
        Op::ConvDgrad | Op::LinearDgrad => "dgrad",
        Op::ConvWgrad | Op::LinearWgrad => "wgrad",
        Op::LinearWgradSgd => "wgrad + sgd",
        Op::PoolForward | Op::LrnForward | Op::PoolLrnForward | Op::ConvPoolLrnForward => "forward",
        Op::Unpool | Op::LrnBackward => "backward",
        Op::ReluBackward => "relu backward",
        Op::Dropout => "dropout",
        Op::Softmax => "softmax",
        Op::Sgd => "sgd",
        Op::Occlude => "occlude",
        Op::Keep => "keep",
    }
}
