//! A backend that times every operation of another one.
//!
//! It stands between a network and its backend, so the operations run exactly as in
//! training. Shapes of the buffers are those of the operations' own traits.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::Cost;
use crate::device::HostMemory;
use crate::device::watched::Asked;
use crate::error::Result;
use crate::ops::conv::{Conv, ConvOp};
use crate::ops::conv_pool_lrn::{ConvPoolLrn, ConvPoolLrnOp};
use crate::ops::crop::{Crop, CropOp};
use crate::ops::dropout::{Dropout, DropoutOp};
use crate::ops::keep::KeepOp;
use crate::ops::linear::{Linear, LinearOp};
use crate::ops::linear_sgd::{LinearSgdOp, Trained};
use crate::ops::lrn::{Lrn, LrnOp};
use crate::ops::occlude::OccludeOp;
use crate::ops::pool::{Pool, PoolOp, UnpoolMode};
use crate::ops::pool_lrn::PoolLrnOp;
use crate::ops::relu::{ReluOp, ReluRule};
use crate::ops::roof::{Roof, RoofOp};
use crate::ops::sgd::{SgdOp, SgdTensor};
use crate::ops::softmax::{LossSums, SoftmaxOp};
use crate::ops::{Backend, Role, StepScalars, Storage};
use crate::tensor::Extent;

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is a method of the operations' traits
pub enum Op {
    Crop,
    ConvFprop,
    ConvDgrad,
    ConvWgrad,
    ConvPoolLrnForward,
    ReluBackward,
    PoolForward,
    PoolLrnForward,
    Unpool,
    LrnForward,
    LrnBackward,
    LinearFprop,
    LinearDgrad,
    LinearWgrad,
    LinearWgradSgd,
    Dropout,
    Softmax,
    Sgd,
    Occlude,
    Keep,
}

/// One call of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which.
    pub op: Op,
    /// What it had to do.
    pub cost: Cost,
    /// What it took.
    pub seconds: f64,
    /// The kernels that it launched, in order; none on the CPU.
    pub kernels: Vec<&'static str>,
}

/// `B`, with a stopwatch. Copies to and from buffers are not recorded.
pub struct Recorder<B> {
    inner: B,
    calls: Sender<Call>,
    /// What is asked of the backend's device, where it has one.
    asked: Option<Receiver<Asked>>,
}

impl<B: Backend> Recorder<B> {
    /// A recorder of `inner`, and where its calls arrive, in order. `asked` is what its device is asked,
    /// see [`Watched`](crate::device::watched::Watched); `None` for a backend without kernels.
    pub fn new(inner: B, asked: Option<Receiver<Asked>>) -> (Self, Receiver<Call>) {
        let (calls, arriving) = channel();
        (Recorder { inner, calls, asked }, arriving)
    }

    /// The kernels launched since the last question.
    fn launched(&self) -> Vec<&'static str> {
        self.asked.iter().flat_map(Receiver::try_iter).filter_map(Asked::kernel).collect()
    }

    fn time<R>(&mut self, op: Op, cost: Cost, run: impl FnOnce(&mut B) -> Result<R>) -> Result<R> {
        self.launched();
        let start = self.inner.mark()?;
        let result = run(&mut self.inner)?;
        let end = self.inner.mark()?;
        let seconds = self.inner.seconds_between(&start, &end)?;
        // Nobody listening is no error: then nobody wants to know.
        let _ = self.calls.send(Call { op, cost, seconds, kernels: self.launched() });
        Ok(result)
    }
}

impl<B: Backend> Storage for Recorder<B> {
    type Buf = B::Buf;
    type Bytes = B::Bytes;
    type Ints = B::Ints;
    type Scalars = B::Scalars;
    type Mark = B::Mark;
    type Host = B::Host;
    type Sent = B::Sent;
    type Recorded = B::Recorded;

    fn alloc(&self, role: Role, len: usize) -> Result<B::Buf> {
        self.inner.alloc(role, len)
    }
    fn alloc_images(&self, N: usize, image: Extent) -> Result<B::Buf> {
        self.inner.alloc_images(N, image)
    }
    fn alloc_scalars(&self) -> Result<B::Scalars> {
        self.inner.alloc_scalars()
    }
    fn set_scalars(&mut self, src: &StepScalars, dst: &mut B::Scalars) -> Result<()> {
        self.inner.set_scalars(src, dst)
    }
    /// Never: recorded operations have no times of their own.
    fn begin_record(&mut self) -> Result<bool> {
        Ok(false)
    }
    fn end_record(&mut self) -> Result<B::Recorded> {
        self.inner.end_record()
    }
    fn replay(&mut self, recorded: &B::Recorded) -> Result<()> {
        self.inner.replay(recorded)
    }
    fn mark(&self) -> Result<B::Mark> {
        self.inner.mark()
    }
    fn seconds_between(&self, from: &B::Mark, to: &B::Mark) -> Result<f64> {
        self.inner.seconds_between(from, to)
    }
    fn synchronise(&mut self) -> Result<()> {
        self.inner.synchronise()
    }
    fn alloc_bytes(&self, len: usize) -> Result<B::Bytes> {
        self.inner.alloc_bytes(len)
    }
    fn alloc_ints(&self, len: usize) -> Result<B::Ints> {
        self.inner.alloc_ints(len)
    }
    fn upload(&mut self, src: &[f32], dst: &mut B::Buf) -> Result<()> {
        self.inner.upload(src, dst)
    }
    fn upload_bytes(&mut self, src: &[u8], dst: &mut B::Bytes) -> Result<()> {
        self.inner.upload_bytes(src, dst)
    }
    fn host_memory(&self) -> HostMemory<B::Host> {
        self.inner.host_memory()
    }
    fn send(&mut self, src: B::Host, len: usize, dst: B::Bytes) -> Result<B::Sent> {
        self.inner.send(src, len, dst)
    }
    fn receive(&mut self, sent: B::Sent) -> Result<(B::Host, B::Bytes)> {
        self.inner.receive(sent)
    }
    fn upload_ints(&mut self, src: &[i32], dst: &mut B::Ints) -> Result<()> {
        self.inner.upload_ints(src, dst)
    }
    fn download(&mut self, src: &B::Buf, dst: &mut [f32]) -> Result<()> {
        self.inner.download(src, dst)
    }
    fn download_bytes(&mut self, src: &B::Bytes, dst: &mut [u8]) -> Result<()> {
        self.inner.download_bytes(src, dst)
    }
    fn element_bytes(&self, role: Role) -> usize {
        self.inner.element_bytes(role)
    }
    fn available_bytes(&self) -> Option<u64> {
        self.inner.available_bytes()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Forwards each method to the inner backend, timed as an [`Op`] of some [`Cost`].
macro_rules! timed {
    ($($op:expr, $cost:expr => fn $method:ident($($arg:ident: $t:ty),*) -> $r:ty;)+) => {$(
        fn $method(&mut self, $($arg: $t),*) -> Result<$r> {
            self.time($op, $cost, |inner| inner.$method($($arg),*))
        }
    )+};
}

impl<B: Backend> ConvOp for Recorder<B> {
    timed! {
        Op::ConvFprop, Cost::conv(conv, N) =>
            fn conv_fprop(conv: &Conv, N: usize, x: &B::Buf, w: &B::Buf, bias: &B::Buf, relu: bool, y: &mut B::Buf) -> ();
        Op::ConvDgrad, Cost::conv(conv, N) =>
            fn conv_dgrad(conv: &Conv, N: usize, dy: &B::Buf, w: &B::Buf, dx: &mut B::Buf) -> ();
        Op::ConvWgrad, Cost::conv(conv, N) =>
            fn conv_wgrad(conv: &Conv, N: usize, x: &B::Buf, dy: &B::Buf, dw: &mut B::Buf, db: &mut B::Buf) -> ();
    }
}

impl<B: Backend> LinearOp for Recorder<B> {
    timed! {
        Op::LinearFprop, Cost::linear(fc, N) =>
            fn linear_fprop(fc: &Linear, N: usize, x: &B::Buf, w: &B::Buf, bias: &B::Buf, relu: bool, y: &mut B::Buf) -> ();
        Op::LinearDgrad, Cost::linear(fc, N) =>
            fn linear_dgrad(fc: &Linear, N: usize, dy: &B::Buf, w: &B::Buf, dx: &mut B::Buf) -> ();
        Op::LinearWgrad, Cost::linear(fc, N) =>
            fn linear_wgrad(fc: &Linear, N: usize, x: &B::Buf, dy: &B::Buf, dw: &mut B::Buf, db: &mut B::Buf) -> ();
    }
}

/// The walk asks for it only where the backend fuses them.
impl<B: Backend> ConvPoolLrnOp for Recorder<B> {
    fn fuses_conv_pool_lrn_forward(&self, layers: &ConvPoolLrn) -> bool {
        self.inner.fuses_conv_pool_lrn_forward(layers)
    }

    timed! {
        Op::ConvPoolLrnForward, Cost::conv_pool_lrn(layers, N) =>
            fn conv_pool_lrn_forward(
                layers: &ConvPoolLrn, N: usize, x: &B::Buf, w: &B::Buf, bias: &B::Buf, y: &mut B::Buf,
                a: &mut B::Buf, switches: &mut B::Bytes, b: &mut B::Buf
            ) -> ();
    }
}

impl<B: Backend> LinearSgdOp for Recorder<B> {
    timed! {
        Op::LinearWgradSgd, Cost::linear_sgd(fc, N) =>
            fn linear_wgrad_sgd(
                fc: &Linear, N: usize, x: &B::Buf, dy: &B::Buf, scalars: &B::Scalars,
                weights: Trained<'_, B::Buf>, biases: Trained<'_, B::Buf>
            ) -> ();
    }
}

impl<B: Backend> CropOp for Recorder<B> {
    timed! {
        Op::Crop, Cost::crop(crop, N) =>
            fn crop_forward(
                crop: &Crop, N: usize, images: &B::Bytes, windows: &B::Ints, mean: &B::Buf, y: &mut B::Buf
            ) -> ();
    }
}

impl<B: Backend> PoolOp for Recorder<B> {
    timed! {
        Op::PoolForward, Cost::pool(pool, N) =>
            fn pool_forward(pool: &Pool, N: usize, x: &B::Buf, y: &mut B::Buf, switches: &mut B::Bytes) -> ();
        Op::Unpool, Cost::pool(pool, N) =>
            fn unpool(
                pool: &Pool, N: usize, mode: UnpoolMode, y: &B::Buf, switches: &B::Bytes, x: &mut B::Buf
            ) -> ();
    }
}

impl<B: Backend> PoolLrnOp for Recorder<B> {
    fn fuses_pool_lrn_forward(&self, pool: &Pool) -> bool {
        self.inner.fuses_pool_lrn_forward(pool)
    }

    /// One operation where it is one; else the one after the other, each with its own time.
    fn pool_lrn_forward(
        &mut self,
        pool: &Pool,
        lrn: &Lrn,
        N: usize,
        x: &B::Buf,
        a: &mut B::Buf,
        switches: &mut B::Bytes,
        b: &mut B::Buf,
    ) -> Result<()> {
        if self.fuses_pool_lrn_forward(pool) {
            let cost = Cost::pool(pool, N) + Cost::memory(N * pool.output().len());
            return self
                .time(Op::PoolLrnForward, cost, |inner| inner.pool_lrn_forward(pool, lrn, N, x, a, switches, b));
        }
        self.pool_forward(pool, N, x, a, switches)?;
        self.lrn_forward(lrn, N * pool.P * pool.Q, pool.C, a, b)
    }
}

impl<B: Backend> RoofOp for Recorder<B> {
    fn roof(&mut self) -> Result<Roof> {
        self.inner.roof()
    }
}

impl<B: Backend> LrnOp for Recorder<B> {
    timed! {
        Op::LrnForward, Cost::memory(2 * rows * C) =>
            fn lrn_forward(lrn: &Lrn, rows: usize, C: usize, a: &B::Buf, b: &mut B::Buf) -> ();
        Op::LrnBackward, Cost::memory(3 * rows * C) =>
            fn lrn_backward(lrn: &Lrn, rows: usize, C: usize, a: &B::Buf, db: &B::Buf, da: &mut B::Buf) -> ();
    }
}

impl<B: Backend> ReluOp for Recorder<B> {
    timed! {
        Op::ReluBackward, Cost::memory(3 * len) =>
            fn relu_backward(rule: ReluRule, len: usize, y: &B::Buf, signal: &mut B::Buf) -> ();
    }
}

impl<B: Backend> OccludeOp for Recorder<B> {
    timed! {
        Op::Occlude, Cost::memory((M + 1 + N) * image.len()) =>
            fn occlude(
                image: Extent, M: usize, N: usize, x: &B::Buf, z: &B::Buf, copies: &B::Ints, y: &mut B::Buf
            ) -> ();
    }
}

impl<B: Backend> KeepOp for Recorder<B> {
    timed! {
        Op::Keep, Cost::memory(2 * N * blob.len()) =>
            fn keep(blob: Extent, N: usize, y: &B::Buf, units: &B::Ints, signal: &mut B::Buf) -> ();
    }
}

impl<B: Backend> DropoutOp for Recorder<B> {
    timed! {
        Op::Dropout, Cost::memory(2 * len) =>
            fn dropout(dropout: &Dropout, scalars: &B::Scalars, len: usize, x: &mut B::Buf) -> ();
    }
}

impl<B: Backend> SgdOp for Recorder<B> {
    timed! {
        Op::Sgd, Cost::memory(5 * tensors.iter().map(|t| t.K * t.M).sum::<usize>()) =>
            fn sgd_step(scalars: &B::Scalars, tensors: &mut [SgdTensor<'_, B::Buf>]) -> ();
    }
}

impl<B: Backend> SoftmaxOp for Recorder<B> {
    type Tally = B::Tally;
    type Posted = B::Posted;

    fn alloc_tally(&self) -> Result<B::Tally> {
        self.inner.alloc_tally()
    }
    fn post_tally(&mut self, tally: &B::Tally) -> Result<B::Posted> {
        self.inner.post_tally(tally)
    }
    fn read_tally(&mut self, posted: B::Posted) -> Result<LossSums> {
        self.inner.read_tally(posted)
    }
    timed! {
        Op::Softmax, Cost::memory(N * C * (1 + usize::from(dz.is_some()))) =>
            fn softmax_loss(
                N: usize, C: usize, z: &B::Buf, labels: &B::Ints, dz: Option<&mut B::Buf>, tally: &mut B::Tally
            ) -> ();
        Op::Softmax, Cost::memory(2 * N * C) =>
            fn softmax(N: usize, C: usize, z: &B::Buf, p: &mut B::Buf) -> ();
    }
}
