//! The whole walk: gradients, PyTorch's trajectory, agreement of precisions and threads.

use zfnet::net::config::NetConfig;
use zfnet::net::{Net, Part, Pass, Plan, Update};
use zfnet::ops::{Backend, Cpu, Real};
use zfnet::philox::{Purpose, Stream};
use zfnet::tensor::NamedTensor;
use zfnet::train::Config;

use crate::common::compare::{Tolerance, assert_close, assert_thread_independent, roundoff};
use crate::common::goldens::{self, Case};
use crate::common::on_cpu;
use crate::common::values::cast;

/// Every kind of layer with sizes that differ: grouped and padded convolution,
/// overlapping and clipped pooling, normalisation before and after it (with a
/// strong effect), dropout, unrectified layers.
pub const TINY: &str = r#"
[net]
name = "tiny"
input = 29

[[layer]]
conv = "conv1"
filters = 6
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
alpha = 0.5
k = 1.0

[[layer]]
conv = "conv2"
filters = 8
kernel = 3
pad = 1
groups = 2

[[layer]]
lrn = "lrn2"
n = 5
alpha = 0.1

[[layer]]
pool = "pool2"
kernel = 3
stride = 2
rounding = "floor"

[[layer]]
conv = "conv3"
filters = 5
kernel = 2
relu = false

[[layer]]
linear = "fc4"
outputs = 11
dropout = 0.3

[[layer]]
linear = "fc5"
"#;

pub const CLASSES: usize = 7;
const SEED: u64 = 20_131_112;
const UPDATE: Update = Update { lr: 0.02, momentum: 0.9, weight_decay: 5e-4, decay_biases: false, rms_clip: Some(0.1) };

pub fn plan(text: &str, classes: usize) -> Plan {
    Plan::new(&NetConfig::parse("test", text).unwrap(), classes).unwrap()
}

/// He-scaled weights, so that signals neither vanish nor grow.
pub fn he(fan_in: usize) -> f64 {
    (2.0 / fan_in as f64).sqrt()
}

fn tiny<T: Real>(N: usize) -> Net<Cpu<T>>
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let mut net = Net::new(Cpu::<T>::new(), plan(TINY, CLASSES), N, true, SEED).unwrap();
    net.init(he).unwrap();
    net
}

/// Unit normal images and labels that take turns: batch `j`.
pub fn batch(j: u64, N: usize, len: usize) -> (Vec<f32>, Vec<i32>) {
    let stream = Stream::new(SEED, Purpose::Test, 1);
    let x = (0..(N * len) as u64).map(|i| stream.normal(j, i) as f32).collect();
    (x, (0..N).map(|n| ((3 * n + j as usize) % CLASSES) as i32).collect())
}

/// d/dt of the loss along a random direction through each parameter tensor,
/// by central differences, against <gradient, direction>. Dropout is on: its
/// mask depends on the step alone.
///
/// Error: rounding of the loss (a few hundred times 1e-16, its size about 2)
/// over 2h, and h^2 times the third derivative; with h = 1e-5 both are near
/// 1e-9 or below. A kink of ReLU or pooling between the two points would
/// show as a much larger one; 1e-5 moves no unit of this seed across its own.
#[test]
fn gradient_matches_finite_differences() {
    const H: f64 = 1e-5;
    const TOLERANCE: f64 = 1e-7;
    let N = 3;
    let mut net = tiny::<f64>(N);
    let (x, labels) = batch(0, N, net.plan().input.len());
    net.load_input(&x, &labels).unwrap();
    let pass = Pass::Train { step: 5 };
    net.forward(pass).unwrap();
    net.backward(pass).unwrap();
    let mut compared = 0;
    for p in 0..net.params().len() {
        let stream = Stream::new(SEED, Purpose::Test, 100 + p as u32);
        let direction: Vec<f64> = (0..net.params()[p].len()).map(|i| stream.normal(0, i as u64)).collect();
        let grad = net.params()[p].training.as_ref().unwrap().grad.clone();
        let exact: f64 = grad.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let value = net.params()[p].value.clone();
        let mut loss_at = |t: f64| {
            let moved = value.iter().zip(&direction).map(|(v, d)| v + t * d).collect();
            net.params_mut()[p].value = moved;
            net.forward(pass).unwrap();
            net.loss().unwrap().loss / N as f64
        };
        let numeric = (loss_at(H) - loss_at(-H)) / (2.0 * H);
        net.params_mut()[p].value = value;
        let error = (numeric - exact).abs() / numeric.abs().max(exact.abs());
        let name = &net.params()[p].name;
        assert!(error <= TOLERANCE, "{name}: {numeric} by differences, {exact} by derivation, {error:e} apart");
        compared += 1;
    }
    assert_eq!(compared, 10);
}

/// With weights from N(0, 0.01^2) the logits are so small that every class gets 1/C.
#[test]
fn an_untrained_net_knows_nothing() {
    let N = 4;
    let mut net = tiny::<f64>(N);
    net.init(|_| 0.01).unwrap();
    let (x, labels) = batch(1, N, net.plan().input.len());
    net.load_input(&x, &labels).unwrap();
    net.forward(Pass::Eval).unwrap();
    let loss = net.loss().unwrap().loss / N as f64;
    // Logits of size z move the loss by at most 2 z; five layers of 0.01 leave z below 1e-4.
    assert!((loss - (CLASSES as f64).ln()).abs() <= 2e-4, "loss {loss}");
}

/// Losses before each of `steps` updates, and the final weights.
fn trajectory<T: Real>(steps: u64) -> (Vec<f64>, Vec<f32>)
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let N = 5;
    let mut net = tiny::<T>(N);
    let mut losses = Vec::new();
    for step in 0..steps {
        let (x, labels) = batch(step % 3, N, net.plan().input.len());
        net.load_input(&x, &labels).unwrap();
        let pass = Pass::Train { step };
        net.forward(pass).unwrap();
        losses.push(net.backward(pass).unwrap().loss / N as f64);
        net.update(&UPDATE).unwrap();
    }
    let weights = net.export(Part::Value).unwrap();
    (losses, weights.into_iter().flat_map(|t| t.data).collect())
}

/// The single-precision run differs by the rounding of its own sums: 2^-24 times
/// the square root of the longest chain of additions that reaches the loss (about
/// 2000 terms over the layers), 2.7e-6 relative to a loss of 2, at the first step.
/// Nothing damps or feeds the difference much in 20 steps at this rate (measured:
/// 2.6e-7 at most); a wrong constant or a forgotten term shows at 1e-3 and above.
#[test]
fn single_and_double_precision_take_the_same_way() {
    const TOLERANCE: f64 = 6e-6;
    let (single, single_weights) = trajectory::<f32>(20);
    let (double, double_weights) = trajectory::<f64>(20);
    assert_close("losses", &single, &double, Tolerance::abs(TOLERANCE));
    // Weights of order 0.1 to 1 move by lr times gradients of order 1.
    let double_weights: Vec<f64> = double_weights.iter().map(|w| f64::from(*w)).collect();
    assert_close("weights", &single_weights, &double_weights, Tolerance::abs(TOLERANCE));
    assert!((double[0] - double[19]).abs() > 0.1, "the run stood still: it compares nothing");
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    assert_thread_independent("losses", || trajectory::<f32>(4).0);
    assert_thread_independent("weights", || trajectory::<f32>(4).1);
}

/// The network of the golden vectors (their README describes it).
const GOLDEN: &str = r#"
[net]
name = "golden"
input = 64

[[layer]]
conv = "conv1"
filters = 8
kernel = 7
stride = 2
pad = 1

[[layer]]
pool = "pool1"
kernel = 3
stride = 2

[[layer]]
lrn = "lrn1"

[[layer]]
conv = "conv2"
filters = 16
kernel = 5
stride = 2

[[layer]]
pool = "pool2"
kernel = 3
stride = 2

[[layer]]
lrn = "lrn2"

[[layer]]
conv = "conv3"
filters = 16
kernel = 3
pad = 1

[[layer]]
conv = "conv4"
filters = 16
kernel = 3
pad = 1

[[layer]]
conv = "conv5"
filters = 16
kernel = 3
pad = 1

[[layer]]
pool = "pool5"
kernel = 3
stride = 2

[[layer]]
linear = "fc6"
outputs = 32

[[layer]]
linear = "fc7"
outputs = 32

[[layer]]
linear = "fc8"
"#;

/// Tensor `<part>.<parameter>` of the case, in our layout.
fn golden_parameter(case: &Case, part: &str, parameter: &str) -> Vec<f64> {
    let name = format!("{part}.{parameter}");
    match case.tensor(&name).shape.len() {
        4 => case.channels_last(&name),
        _ => case.values(&name),
    }
}

/// The golden network for N images with the weights it starts from.
pub fn golden_net<B: Backend>(backend: B, case: &Case, N: usize, training: bool) -> Net<B> {
    let mut net = Net::new(backend, plan(GOLDEN, case.count("classes")), N, training, 0).unwrap();
    let tensor = |p: &zfnet::net::Param<B>| NamedTensor {
        name: p.name.clone(),
        shape: p.shape.clone(),
        data: cast(&golden_parameter(case, "init", &p.name)),
    };
    let init: Vec<NamedTensor> = net.params().iter().map(tensor).collect();
    net.import(Part::Value, &init).unwrap();
    net
}

/// Every parameter's `part` against the golden ones. The allowance is the
/// golden's own (see [`Case::tolerance`]), named by its part in `f32_err`.
fn compare_parameters<T: Real>(case: &Case, net: &mut Net<Cpu<T>>, part: Part, golden: &str)
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    for tensor in net.export(part).unwrap() {
        let expected = golden_parameter(case, golden, &tensor.name);
        let largest = expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let tolerance = golden_tolerance::<T>(case, golden, largest);
        assert_close(&format!("{golden}.{}", tensor.name), &tensor.data, &expected, tolerance);
    }
}

/// Golden and result are each rounded once to f32 (export does that in f64 too), in f64
/// nothing else is lost that f32 could show; in f32 four times what PyTorch lost.
fn golden_tolerance<T: Real>(case: &Case, part: &str, largest: f64) -> Tolerance {
    let once = roundoff::<f32>();
    match size_of::<T>() {
        4 => Tolerance { rel: 4.0 * once, abs: 4.0 * case.f32_error(part) },
        _ => Tolerance { rel: 2.0 * once, abs: 1e-12 * largest },
    }
}

fn golden_steps<T: Real>()
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let Some(cases) = goldens::cases("net") else { return };
    for case in &cases {
        let N = case.count("batch");
        let mut net = golden_net(Cpu::<T>::new(), case, N, true);
        let update = Update {
            lr: case.number("lr"),
            momentum: case.number("momentum"),
            weight_decay: case.number("wd"),
            decay_biases: true,
            rms_clip: None,
        };
        let losses = case.numbers("losses_f64");
        for (step, expected) in (0..).zip(&losses) {
            let x: Vec<f32> = case.channels_last(&format!("x{}", step + 1));
            let labels: Vec<i32> = case.values::<f64>(&format!("y{}", step + 1)).iter().map(|y| *y as i32).collect();
            net.load_input(&x, &labels).unwrap();
            let pass = Pass::Train { step };
            net.forward(pass).unwrap();
            if step == 0 {
                let logits: Vec<f64> = case.values("logits1");
                let largest = logits.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
                assert_close(
                    "logits1",
                    &net.blob("fc8").unwrap(),
                    &logits,
                    golden_tolerance::<T>(case, "logits1", largest),
                );
            }
            let loss = net.backward(pass).unwrap().loss / N as f64;
            // These were stored in f64.
            let tolerance = if size_of::<T>() == 4 { 4.0 * case.f32_error("losses") } else { 1e-12 };
            assert_close(&format!("loss {step}"), &[loss], &[*expected], Tolerance::abs(tolerance));
            if step == 0 {
                compare_parameters(case, &mut net, Part::Grad, "grad1");
            }
            net.update(&update).unwrap();
            if step == 0 {
                compare_parameters(case, &mut net, Part::Value, "step1");
            }
        }
        assert_eq!(losses.len(), 5);
        compare_parameters(case, &mut net, Part::Value, "final");
    }
}

on_cpu!(golden_steps);

#[test]
fn the_first_value_that_is_not_finite_is_found() {
    let N = 2;
    let mut net = tiny::<f32>(N);
    let (x, labels) = batch(2, N, net.plan().input.len());
    let found = |net: &mut Net<Cpu<f32>>| {
        net.forward(Pass::Eval).unwrap();
        net.first_non_finite().unwrap()
    };
    net.load_input(&x, &labels).unwrap();
    assert_eq!(found(&mut net), None);
    let mut with_nan = x.clone();
    with_nan[17] = f32::NAN;
    net.load_input(&with_nan, &labels).unwrap();
    assert_eq!(found(&mut net).as_deref(), Some("the input"));
    net.load_input(&x, &labels).unwrap();
    net.params_mut()[2].value[5] = f32::NEG_INFINITY;
    assert_eq!(found(&mut net).as_deref(), Some("parameter conv2.weight"));
    net.params_mut()[2].value[5] = 0.1;
    net.params_mut()[0].value.fill(1e38);
    assert_eq!(found(&mut net).as_deref(), Some("the output of conv1"));
}

/// Training looks at the loss alone to notice a NaN, so no operation on the way may swallow it.
#[test]
fn a_nan_reaches_the_loss() {
    let N = 2;
    let mut net = tiny::<f32>(N);
    let (x, labels) = batch(2, N, net.plan().input.len());
    for p in 0..net.params().len() {
        net.load_input(&x, &labels).unwrap();
        let kept = std::mem::replace(&mut net.params_mut()[p].value[1], f32::NAN);
        net.forward(Pass::Eval).unwrap();
        let loss = net.loss().unwrap().loss;
        assert!(loss.is_nan(), "{} holds a NaN, the loss is {loss}", net.params()[p].name);
        net.params_mut()[p].value[1] = kept;
    }
}

/// Instead of being killed for it.
#[test]
#[cfg(target_os = "linux")]
fn a_batch_that_memory_cannot_hold_is_refused() {
    let plan = Plan::new(&Config::preset("small").unwrap().net, 5).unwrap();
    let refused = Net::new(Cpu::<f32>::new(), plan, 100_000_000, true, 1).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("small with a batch of 100000000 needs"), "{refused}");
    assert!(refused.contains("choose a batch of"), "{refused}");
}

/// Layers without parameters may come first: nothing below them wants a gradient.
#[test]
fn pooling_and_normalisation_may_come_first() {
    let rest = "[[layer]]\nconv = \"conv1\"\nfilters = 4\nkernel = 3\n\n[[layer]]\nlinear = \"fc2\"\n";
    for first in ["pool = \"pool0\"\nkernel = 3\nstride = 2", "lrn = \"lrn0\""] {
        let text = format!("[net]\nname = \"first\"\ninput = 17\n\n[[layer]]\n{first}\n\n{rest}");
        let mut net = Net::new(Cpu::<f32>::new(), plan(&text, CLASSES), 3, true, SEED).unwrap();
        net.init(he).unwrap();
        let (x, labels) = batch(0, 3, net.plan().input.len());
        net.load_input(&x, &labels).unwrap();
        let losses = [0, 1, 2].map(|step| {
            let posted = net.train_step(step, &UPDATE).unwrap();
            net.await_loss(posted).unwrap().loss
        });
        assert!(losses[2] < losses[0], "{first}: {losses:?}");
    }
}
