//! A small ZFNet: all kinds of layers, dropout on.

use super::{Row, distance, draws};
use crate::error::Result;
use crate::net::config::NetConfig;
use crate::net::{Net, Part, Pass, Plan};
use crate::ops::{Backend, Cpu};
use crate::philox::{Purpose, Stream};
use crate::tensor::NamedTensor;

const NET: &str = r#"
[net]
name = "gradcheck"
input = 33

[[layer]]
conv = "conv1"
filters = 6
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
filters = 8
kernel = 3
pad = 1

[[layer]]
pool = "pool2"
kernel = 3
stride = 2

[[layer]]
linear = "fc3"
outputs = 11
dropout = 0.5

[[layer]]
linear = "fc4"
"#;

const CLASSES: usize = 5;
const N: usize = 3;
const PASS: Pass = Pass::Train { step: 3 };
const SEED: u64 = 20_131_112;

/// A step that moves no unit across the kink of a ReLU or a pooling window; the differences
/// err by its fourth power and by 1e-16 / it: about 1e-10.
const STEP: f64 = 3e-6;

/// The gradient of every parameter: on the backend component by component, by differences
/// along one random direction through each tensor.
pub(super) fn check<B: Backend>(backend: B, allowed: f64) -> Result<Vec<Row>> {
    let mut exact = prepared(Cpu::<f64>::new())?;
    let mut given = prepared(backend)?;
    walk(&mut exact)?;
    walk(&mut given)?;
    let (exact_grads, given_grads) = (exact.export(Part::Grad)?, given.export(Part::Grad)?);
    let mut rows = vec![];
    for (p, (right, device)) in exact_grads.iter().zip(&given_grads).enumerate() {
        let widened = |t: &NamedTensor| t.data.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let direction = draws(100 + p as u32, right.data.len());
        let derived: f64 = widened(right).iter().zip(&direction).map(|(g, d)| g * d).sum();
        let value = exact.params()[p].value.clone();
        let mut loss_at = |t: f64| {
            exact.params_mut()[p].value = value.iter().zip(&direction).map(|(v, d)| v + t * d).collect();
            exact.forward(PASS)?;
            Ok(exact.loss()?.loss / N as f64)
        };
        let numeric = super::difference::derivative_with(0.0, STEP, &mut loss_at)?;
        exact.params_mut()[p].value = value;
        rows.push(Row {
            case: "net, dropout on".into(),
            by: right.name.clone(),
            components: right.data.len(),
            derivation: distance(&[derived], &[numeric]),
            backend: distance(&widened(device), &widened(right)),
            allowed,
        });
    }
    Ok(rows)
}

/// The network with He-scaled weights and a batch, the same on every backend.
fn prepared<B: Backend>(backend: B) -> Result<Net<B>> {
    let plan = Plan::new(&NetConfig::parse("gradcheck", NET)?, CLASSES)?;
    let len = N * plan.input.len();
    let mut net = Net::new(backend, plan, N, true, SEED)?;
    net.init(|fan_in| (2.0 / fan_in as f64).sqrt())?;
    let stream = Stream::new(SEED, Purpose::Test, 99);
    let x: Vec<f32> = (0..len as u64).map(|i| stream.normal(0, i) as f32).collect();
    net.load_input(&x, &[0, 3, 1])?;
    Ok(net)
}

fn walk<B: Backend>(net: &mut Net<B>) -> Result<()> {
    net.forward(PASS)?;
    net.backward(PASS)?;
    Ok(())
}
