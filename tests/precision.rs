//! Training in bf16 follows training in f32: the losses of 200 steps on drawings that are really learned.

use zfnet::data::packed::Split;
use zfnet::data::synthetic::Synthetic;
use zfnet::net::{Net, Part, Plan, Update};
use zfnet::ops::{Backend, Cpu, Gpu, Precision};
use zfnet::philox::{Purpose, Stream};
use zfnet::train::Config;

use crate::common::device::{emulator, gpu};
use crate::net::{he, plan};

const SEED: u64 = 20_131_112;
const STEPS: u64 = 200;
/// Losses are compared as means of so many steps: of several batches, under several dropout masks.
const WINDOW: usize = 20;

/// ZFNet in miniature, for drawings of 32 px at half their size.
const MINIATURE: &str = r#"
[net]
name = "miniature"
input = 16
[[layer]]
conv = "conv1"
filters = 8
kernel = 5
stride = 2
pad = 1
[[layer]]
pool = "pool1"
kernel = 3
stride = 2
[[layer]]
lrn = "lrn1"
n = 3
[[layer]]
conv = "conv2"
filters = 12
kernel = 3
pad = 1
[[layer]]
pool = "pool2"
kernel = 3
stride = 2
rounding = "floor"
[[layer]]
linear = "fc3"
outputs = 16
dropout = 0.2
[[layer]]
linear = "fc4"
"#;

/// What is trained: a network, a batch of so many images in turn, and how fast.
struct Task {
    plan: Plan,
    N: usize,
    lr: f64,
    /// Images (H, W, C) with their classes.
    images: Vec<(Vec<f32>, i32)>,
}

impl Task {
    /// `N` images a batch, three batches; pixels at `at` of drawings of side `size`.
    fn new(plan: Plan, N: usize, lr: f64, size: usize, at: impl Fn(&[u8], usize, usize, usize) -> f32) -> Self {
        let (side, classes) = (plan.input.H, plan.classes);
        let drawings = Synthetic { classes, first: 0, train: 3 * N, val: classes, size, seed: 5, force: false };
        let image = |i| {
            let drawing = drawings.draw(Split::Train, i);
            let pixels = (0..side * side * 3).map(|e| at(&drawing.image, e / 3 / side, e / 3 % side, e % 3));
            // Into a range of about -2 to 2, in which networks initialised by He learn at once.
            (pixels.map(|v| (v - 127.5) / 64.0).collect(), drawing.label as i32)
        };
        let images = (0..3 * N).map(image).collect();
        Task { plan, N, lr, images }
    }

    /// The first pixel of 32 at (0, 0), (0, 2), ... with its neighbours: half the size.
    fn miniature() -> Self {
        let at = |image: &[u8], h: usize, w: usize, c: usize| {
            let pixel = |h: usize, w: usize| f32::from(image[(h * 32 + w) * 3 + c]);
            let (h, w) = (2 * h, 2 * w);
            (pixel(h, w) + pixel(h, w + 1) + pixel(h + 1, w) + pixel(h + 1, w + 1)) / 4.0
        };
        Task::new(plan(MINIATURE, 3), 4, 0.003, 32, at)
    }

    /// The preset on the middle of drawings of 256 px. On the CPU its loss goes from 2.8 to 0.35 in 60 steps.
    fn zfnet() -> Self {
        let at = |image: &[u8], h: usize, w: usize, c: usize| f32::from(image[((h + 16) * 256 + w + 16) * 3 + c]);
        Task::new(Plan::new(&Config::preset("zfnet").unwrap().net, 4).unwrap(), 8, 0.0003, 256, at)
    }

    /// The mean loss of each window. `disturbed`: with initial weights that are off by up to half a unit in the
    /// last of bf16's 8 bits, in a way that each number makes its own.
    fn train<B: Backend>(&self, backend: B, disturbed: Option<u32>) -> Vec<f64> {
        let mut net = Net::new(backend, self.plan.clone(), self.N, true, SEED).unwrap();
        net.init(he).unwrap();
        if let Some(run) = disturbed {
            let mut weights = net.export(Part::Value).unwrap();
            for (lane, tensor) in weights.iter_mut().enumerate() {
                let stream = Stream::new(SEED, Purpose::Test, 1000 + 100 * run + lane as u32);
                let u = Precision::Bf16.operand_roundoff() as f32;
                let off = |i: usize| 1.0 + u * (2.0 * stream.uniform(0, i as u64) - 1.0);
                tensor.data.iter_mut().enumerate().for_each(|(i, w)| *w *= off(i));
            }
            net.import(Part::Value, &weights).unwrap();
        }
        let update =
            Update { lr: self.lr, momentum: 0.9, weight_decay: 5e-4, decay_biases: false, rms_clip: Some(0.3) };
        let losses: Vec<f64> = (0..STEPS)
            .map(|step| {
                let batch = &self.images[step as usize % 3 * self.N..][..self.N];
                let x: Vec<f32> = batch.iter().flat_map(|(image, _)| image.iter().copied()).collect();
                let labels: Vec<i32> = batch.iter().map(|(_, label)| *label).collect();
                net.load_input(&x, &labels).unwrap();
                let posted = net.train_step(step, &update).unwrap();
                net.await_loss(posted).unwrap().loss / self.N as f64
            })
            .collect();
        losses.chunks(WINDOW).map(|window| window.iter().sum::<f64>() / WINDOW as f64).collect()
    }

    /// `open` opens a backend in f32. The band is measured: four runs in f32 from weights that differ by bf16's
    /// roundoff drift apart, since descent magnifies differences and units switch at other steps;
    /// twice the root of their mean square is where 19 of 20 such runs stay, and bf16 rounds two more operands
    /// (activations, gradients) as often: another root of 3 on top.
    fn reference<B: Backend>(&self, open: impl Fn() -> B) -> (Vec<f64>, f64) {
        let exact = self.train(open(), None);
        assert!(exact[exact.len() - 1] < 0.3 * exact[0], "nothing is learned, so nothing is compared: {exact:?}");
        let runs = (0..4).map(|run| self.train(open(), Some(run)));
        let squares: Vec<f64> = runs
            .flat_map(|run| run.into_iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).collect::<Vec<_>>())
            .collect();
        let band = 2.0 * 3f64.sqrt() * (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        // A band as wide as what is learned would hold anything.
        assert!(band < 0.1 * (exact[0] - exact[exact.len() - 1]), "a band of {band} around {exact:?}");
        (exact, band)
    }
}

#[track_caller]
fn assert_within(what: &str, losses: &[f64], (exact, band): &(Vec<f64>, f64)) {
    assert_eq!(losses.len(), exact.len());
    let apart = losses.iter().zip(exact).map(|(a, b)| (a - b).abs());
    let most = apart.fold(0.0, |most: f64, d| if d.is_nan() { f64::INFINITY } else { most.max(d) });
    println!(
        "{what}: at most {most:.4} apart where {band:.4} is the band; f32 goes {:.3} to {:.3}",
        exact[0], exact[9]
    );
    assert!(most <= *band, "{what}: {losses:?}, f32 has {exact:?}; {most} apart, the band is {band}");
}

/// f32 on the CPU, whose f64 it follows to a hundred-thousandth (`trajectory`).
#[test]
fn bf16_follows_f32_on_the_emulator() {
    let task = Task::miniature();
    let reference = task.reference(Cpu::<f32>::new);
    assert_within("bf16", &task.train(Gpu::new(emulator(0), Precision::Bf16), None), &reference);
}

/// The preset itself.
#[test]
fn bf16_and_tf32_follow_f32_on_a_gpu() {
    if gpu().is_none() {
        return;
    }
    let task = Task::zfnet();
    let open = |precision| Gpu::new(gpu().unwrap(), precision);
    let reference = task.reference(|| open(Precision::F32));
    for precision in [Precision::Bf16, Precision::Tf32] {
        assert_within(&precision.to_string(), &task.train(open(precision), None), &reference);
    }
}
