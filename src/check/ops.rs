//! A small case of every operation. The loss is a random projection of the output, `<r, f(x)>`;
//! its gradient is what backward makes of r.

use super::{Case, Row, check, draws, filled, narrow, projected, values};
use crate::error::Result;
use crate::ops::conv::{Conv, ConvOp};
use crate::ops::dropout::{Dropout, DropoutOp};
use crate::ops::linear::{Linear, LinearOp};
use crate::ops::lrn::{Lrn, LrnOp};
use crate::ops::pool::{Pool, PoolOp, Rounding, UnpoolMode};
use crate::ops::relu::ReluRule;
use crate::ops::softmax::{LossSums, SoftmaxOp};
use crate::ops::{Backend, Cpu, Role, StepScalars};
use crate::tensor::Extent;

/// All of them on `backend`.
pub(super) fn all<B: Backend>(backend: &mut B, allowed: f64) -> Result<Vec<Row>> {
    let mut rows = vec![];
    for (input, filters, kernel, stride, pad, groups) in [
        (Extent::new(9, 8, 3), 5, 7, 2, 1, 1),  // conv1, with what a stride leaves over
        (Extent::new(8, 7, 4), 6, 5, 2, 0, 1),  // conv2
        (Extent::new(5, 6, 8), 16, 3, 1, 1, 1), // conv3, channels that fill vectors
        (Extent::new(7, 5, 6), 4, 3, 2, 1, 2),  // groups
    ] {
        let conv = Conv::new(input, filters, (kernel, kernel), stride, pad, groups)?;
        rows.extend(check(ConvCase { conv, N: 2 }, backend, allowed)?);
    }
    rows.extend(check(LinearCase { linear: Linear::new(13, 11)?, N: 3 }, backend, allowed)?);
    rows.extend(check(LinearCase { linear: Linear::new(24, 16)?, N: 5 }, backend, allowed)?);
    for rounding in [Rounding::Ceil, Rounding::Floor] {
        let pool = Pool::new(Extent::new(8, 7, 5), 3, 2, rounding)?;
        rows.extend(check(PoolCase { pool, N: 2 }, backend, allowed)?);
    }
    for n in [5, 4] {
        let lrn = Lrn::new(n, 2.0, 0.5, 0.75, true)?;
        rows.extend(check(LrnCase { lrn, rows: 3, C: 7 }, backend, allowed)?);
    }
    rows.extend(check(ReluCase { len: 37 }, backend, allowed)?);
    rows.extend(check(DropoutCase { dropout: Dropout::new(0.4, 7, 3)?, len: 37 }, backend, allowed)?);
    rows.extend(check(SoftmaxCase { N: 5, C: 7 }, backend, allowed)?);
    Ok(rows)
}

struct ConvCase {
    conv: Conv,
    N: usize,
}

impl ConvCase {
    /// What the output is projected on: (N, P, Q, K).
    fn projection(&self) -> Vec<f64> {
        draws(4, self.N * self.conv.output().len())
    }
}

impl Case for ConvCase {
    fn name(&self) -> String {
        let Conv { R, S, stride, pad, groups, .. } = self.conv;
        let (input, output) = (self.conv.input(), self.conv.output());
        format!("conv {input} -> {output}, {R} x {S} / {stride}, pad {pad}, groups {groups}")
    }

    fn arguments(&self) -> Vec<(String, Vec<f64>)> {
        let Conv { K, .. } = self.conv;
        let x = draws(1, self.N * self.conv.input().len());
        vec![("x".into(), x), ("w".into(), draws(2, self.conv.weights())), ("bias".into(), draws(3, K))]
    }

    fn loss(&mut self, a: &[Vec<f64>]) -> Result<f64> {
        let r = self.projection();
        let mut y = vec![0.0; r.len()];
        Cpu::<f64>::new().conv_fprop(&self.conv, self.N, &a[0], &a[1], &a[2], false, &mut y)?;
        Ok(projected(&r, &y))
    }

    fn gradients<B: Backend>(&self, backend: &mut B, a: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let (conv, N) = (&self.conv, self.N);
        let x = filled(backend, Role::Activation, &a[0])?;
        let w = filled(backend, Role::Weight, &a[1])?;
        let dy = filled(backend, Role::Activation, &narrow(&self.projection()))?;
        let mut dx = backend.alloc(Role::Activation, a[0].len())?;
        let [mut dw, mut db] = [backend.alloc(Role::Full, a[1].len())?, backend.alloc(Role::Full, a[2].len())?];
        backend.conv_dgrad(conv, N, &dy, &w, &mut dx)?;
        backend.conv_wgrad(conv, N, &x, &dy, &mut dw, &mut db)?;
        [(dx, 0), (dw, 1), (db, 2)].iter().map(|(d, i)| values(backend, d, a[*i].len())).collect()
    }
}

struct LinearCase {
    linear: Linear,
    N: usize,
}

impl LinearCase {
    /// (N, out)
    fn projection(&self) -> Vec<f64> {
        draws(14, self.N * self.linear.outputs)
    }
}

impl Case for LinearCase {
    fn name(&self) -> String {
        format!("linear {} -> {}", self.linear.inputs, self.linear.outputs)
    }

    fn arguments(&self) -> Vec<(String, Vec<f64>)> {
        let Linear { inputs, outputs } = self.linear;
        let x = draws(11, self.N * inputs);
        vec![("x".into(), x), ("w".into(), draws(12, inputs * outputs)), ("bias".into(), draws(13, outputs))]
    }

    fn loss(&mut self, a: &[Vec<f64>]) -> Result<f64> {
        let r = self.projection();
        let mut y = vec![0.0; r.len()];
        Cpu::<f64>::new().linear_fprop(&self.linear, self.N, &a[0], &a[1], &a[2], false, &mut y)?;
        Ok(projected(&r, &y))
    }

    fn gradients<B: Backend>(&self, backend: &mut B, a: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let (linear, N) = (&self.linear, self.N);
        let x = filled(backend, Role::Activation, &a[0])?;
        let w = filled(backend, Role::Weight, &a[1])?;
        let dy = filled(backend, Role::Activation, &narrow(&self.projection()))?;
        let mut dx = backend.alloc(Role::Activation, a[0].len())?;
        let [mut dw, mut db] = [backend.alloc(Role::Full, a[1].len())?, backend.alloc(Role::Full, a[2].len())?];
        backend.linear_dgrad(linear, N, &dy, &w, &mut dx)?;
        backend.linear_wgrad(linear, N, &x, &dy, &mut dw, &mut db)?;
        [(dx, 0), (dw, 1), (db, 2)].iter().map(|(d, i)| values(backend, d, a[*i].len())).collect()
    }
}

struct PoolCase {
    pool: Pool,
    N: usize,
}

impl PoolCase {
    /// (N, P, Q, C)
    fn projection(&self) -> Vec<f64> {
        draws(22, self.N * self.pool.output().len())
    }
}

impl Case for PoolCase {
    fn name(&self) -> String {
        let Pool { R, stride, .. } = self.pool;
        format!("pool {} -> {}, {R} x {R} / {stride}", self.pool.input(), self.pool.output())
    }

    /// Values far enough apart that no difference changes a maximum: neighbours in a window
    /// differ by 1/8 at least, and bf16 holds them all.
    fn arguments(&self) -> Vec<(String, Vec<f64>)> {
        let len = self.N * self.pool.input().len();
        let Pool { W, C, .. } = self.pool;
        let level = |i: usize| (i / C % W * 5 + i / C / W * 7) % 32;
        vec![("x".into(), (0..len).map(|i| level(i) as f64 / 8.0 - 2.0).collect())]
    }

    fn loss(&mut self, a: &[Vec<f64>]) -> Result<f64> {
        let r = self.projection();
        let (mut y, mut switches) = (vec![0.0; r.len()], vec![0; r.len()]);
        Cpu::<f64>::new().pool_forward(&self.pool, self.N, &a[0], &mut y, &mut switches)?;
        Ok(projected(&r, &y))
    }

    fn gradients<B: Backend>(&self, backend: &mut B, a: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let (pool, N, r) = (&self.pool, self.N, self.projection());
        let x = filled(backend, Role::Activation, &a[0])?;
        let dy = filled(backend, Role::Activation, &narrow(&r))?;
        let (mut y, mut switches) = (backend.alloc(Role::Activation, r.len())?, backend.alloc_bytes(r.len())?);
        let mut dx = backend.alloc(Role::Activation, a[0].len())?;
        backend.pool_forward(pool, N, &x, &mut y, &mut switches)?;
        backend.unpool(pool, N, UnpoolMode::Add, &dy, &switches, &mut dx)?;
        Ok(vec![values(backend, &dx, a[0].len())?])
    }
}

struct LrnCase {
    lrn: Lrn,
    rows: usize,
    C: usize,
}

impl Case for LrnCase {
    fn name(&self) -> String {
        format!("lrn {} x {}, n {}", self.rows, self.C, self.lrn.n)
    }

    fn arguments(&self) -> Vec<(String, Vec<f64>)> {
        vec![("a".into(), draws(31, self.rows * self.C))]
    }

    fn loss(&mut self, a: &[Vec<f64>]) -> Result<f64> {
        let mut b = vec![0.0; a[0].len()];
        Cpu::<f64>::new().lrn_forward(&self.lrn, self.rows, self.C, &a[0], &mut b)?;
        Ok(projected(&draws(32, b.len()), &b))
    }

    fn gradients<B: Backend>(&self, backend: &mut B, a: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let len = a[0].len();
        let x = filled(backend, Role::Activation, &a[0])?;
        let db = filled(backend, Role::Activation, &narrow(&draws(32, len)))?;
        let mut da = backend.alloc(Role::Activation, len)?;
        backend.lrn_backward(&self.lrn, self.rows, self.C, &x, &db, &mut da)?;
        Ok(vec![values(backend, &da, len)?])
    }
}

struct ReluCase {
    len: usize,
}

impl Case for ReluCase {
    fn name(&self) -> String {
        format!("relu {}", self.len)
    }

    /// No value within two steps of the kink.
    fn arguments(&self) -> Vec<(String, Vec<f64>)> {
        vec![("x".into(), draws(41, self.len).into_iter().map(|v| if v.abs() < 0.01 { 1.0 } else { v }).collect())]
    }

    fn loss(&mut self, a: &[Vec<f64>]) -> Result<f64> {
        let y: Vec<f64> = a[0].iter().map(|x| x.max(0.0)).collect();
        Ok(projected(&draws(42, y.len()), &y))
    }

    fn gradients<B: Backend>(&self, backend: &mut B, a: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let y: Vec<f32> = a[0].iter().map(|x| x.max(0.0)).collect();
        let y = filled(backend, Role::Activation, &y)?;
        let mut signal = filled(backend, Role::Activation, &narrow(&draws(42, self.len)))?;
        backend.relu_backward(ReluRule::Gradient, self.len, &y, &mut signal)?;
        Ok(vec![values(backend, &signal, self.len)?])
    }
}

struct DropoutCase {
    dropout: Dropout,
    len: usize,
}

/// Any step will do.
const STEP: StepScalars = StepScalars { step: 11, lr: 0.0, momentum: 0.0, weight_decay: 0.0 };

impl Case for DropoutCase {
    fn name(&self) -> String {
        format!("dropout {}, p {}", self.len, self.dropout.p)
    }

    fn arguments(&self) -> Vec<(String, Vec<f64>)> {
        vec![("x".into(), draws(51, self.len))]
    }

    fn loss(&mut self, a: &[Vec<f64>]) -> Result<f64> {
        let mut y = a[0].clone();
        Cpu::<f64>::new().dropout(&self.dropout, &STEP, self.len, &mut y)?;
        Ok(projected(&draws(52, self.len), &y))
    }

    fn gradients<B: Backend>(&self, backend: &mut B, _: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let mut scalars = backend.alloc_scalars()?;
        backend.set_scalars(&STEP, &mut scalars)?;
        let mut d = filled(backend, Role::Activation, &narrow(&draws(52, self.len)))?;
        backend.dropout(&self.dropout, &scalars, self.len, &mut d)?;
        Ok(vec![values(backend, &d, self.len)?])
    }
}

struct SoftmaxCase {
    N: usize,
    C: usize,
}

impl SoftmaxCase {
    fn labels(&self) -> Vec<i32> {
        (0..self.N).map(|n| ((2 * n + 1) % self.C) as i32).collect()
    }
}

impl Case for SoftmaxCase {
    fn name(&self) -> String {
        format!("softmax {} x {}", self.N, self.C)
    }

    fn arguments(&self) -> Vec<(String, Vec<f64>)> {
        vec![("z".into(), draws(61, self.N * self.C))]
    }

    fn loss(&mut self, a: &[Vec<f64>]) -> Result<f64> {
        let mut sums = LossSums::default();
        Cpu::<f64>::new().softmax_loss(self.N, self.C, &a[0], &self.labels(), None, &mut sums)?;
        Ok(sums.loss / self.N as f64)
    }

    fn gradients<B: Backend>(&self, backend: &mut B, a: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let z = filled(backend, Role::Activation, &a[0])?;
        let mut labels = backend.alloc_ints(self.N)?;
        backend.upload_ints(&self.labels(), &mut labels)?;
        let (mut dz, mut tally) = (backend.alloc(Role::Activation, a[0].len())?, backend.alloc_tally()?);
        backend.softmax_loss(self.N, self.C, &z, &labels, Some(&mut dz), &mut tally)?;
        Ok(vec![values(backend, &dz, a[0].len())?])
    }
}
