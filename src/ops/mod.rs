//! The operations of the network, one folder each.
//!
//! `mod.rs` of an operation holds its formula and derivation, its geometry
//! (sizes, checked once, when a network is planned) and its trait: what a
//! backend must be able to do. `cpu.rs` is the implementation in plain Rust,
//! `cuda.rs` launches the kernels of `kernels/<op>.cu`.
//!
//! | op | forward | backward | deconvnet step |
//! |---|---|---|---|
//! | [`crop`] | crop + flip + mean subtraction + conversion of u8 records | - | - |
//! | [`conv`] | `conv_fprop` (bias and ReLU in the epilogue) | `conv_dgrad`, `conv_wgrad` | `conv_dgrad` |
//! | [`conv_pool_lrn`] | `conv_pool_lrn_forward`, all three in one | - | - |
//! | [`relu`] | in the epilogue of conv and linear | `relu_backward` | `relu_rectify` |
//! | [`pool`] | `pool_forward`, records switches | `pool_backward` | `unpool` |
//! | [`lrn`] | `lrn_forward` | `lrn_backward` | skipped |
//! | [`pool_lrn`] | `pool_lrn_forward`, both in one | `pool_lrn_backward` | - |
//! | [`linear`] | `linear_fprop` | `linear_dgrad`, `linear_wgrad` | `linear_dgrad` |
//! | [`linear_sgd`] | - | `linear_wgrad_sgd`, with the update of its parameters | - |
//! | [`dropout`] | `dropout` in place | the same call | identity |
//! | [`softmax`] | `softmax_loss` | gradient in the same call | - |
//! | [`sgd`] | `sgd_step` (RMS clip in it) | - | - |
//! | [`occlude`] | `occlude`: copies of an image with rectangles hidden | - | - |
//! | [`keep`] | - | - | `keep`: what a projection starts from |
//!
//! Arrays are NHWC, filters KRSC, linear weights (out, in).

pub mod conv;
pub mod conv_pool_lrn;
pub mod crop;
pub mod dropout;
pub mod keep;
pub mod linear;
pub mod linear_sgd;
pub mod lrn;
pub mod occlude;
pub mod pool;
pub mod pool_lrn;
pub mod relu;
pub mod roof;
pub mod sgd;
pub mod softmax;
pub mod tile_table;

mod cpu;
mod divisor;
mod gpu;
mod pixels;
pub(crate) mod product;
mod real;
mod tile;
mod waves;

pub use cpu::Cpu;
pub use gpu::{Gpu, GpuBuf, Precision, Version};
pub use product::{Direction, ProductSize};
pub use real::Real;

use std::ops::DerefMut;

use crate::device::HostMemory;
use crate::error::Result;
use crate::tensor::Extent;

/// What changes from one training step to the next. A backend keeps it where its
/// operations read it, so that a step that was recorded once runs again with other values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepScalars {
    /// Global step, counted from 0: it keys the dropout masks.
    pub step: u64,
    /// Learning rate.
    pub lr: f64,
    /// Momentum, mu.
    pub momentum: f64,
    /// Weight decay, wd, of the tensors that decay.
    pub weight_decay: f64,
}

/// What a buffer is for, which decides the type of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Outputs of layers and their gradients: the type that the backend computes with.
    Activation,
    /// Filters and matrices: f32 at least, with a copy in the type that products are computed with.
    Weight,
    /// Biases, gradients of parameters, momentum, the mean image: f32 at least.
    Full,
}

/// Buffers of a backend: allocated when a network is planned, then reused.
pub trait Storage {
    /// Activations, parameters and gradients.
    type Buf: Send;
    /// [`StepScalars`], where operations read them.
    type Scalars: Send;
    /// A place in the order of operations, to measure times between.
    type Mark: Send;
    /// Memory of the host that records are read into.
    type Host: DerefMut<Target = [u8]> + Send + 'static;
    /// Records on their way to a buffer.
    type Sent: Send;
    /// Operations that were recorded, to run again and again on the same buffers.
    type Recorded: Send;
    /// Image records and pooling switches, one byte an element.
    type Bytes: Send;
    /// Labels and crop windows.
    type Ints: Send;

    /// A buffer of `len` zeros.
    fn alloc(&self, role: Role, len: usize) -> Result<Self::Buf>;
    /// A buffer of zeros for `N` images: activations that crops, [`occlude`] and convolutions without
    /// groups take, and copies from and to the host, but no other operation. How their pixels lie is
    /// the backend's choice.
    fn alloc_images(&self, N: usize, image: Extent) -> Result<Self::Buf> {
        self.alloc(Role::Activation, N * image.len())
    }
    /// A place for [`StepScalars`], all 0.
    fn alloc_scalars(&self) -> Result<Self::Scalars>;
    /// A buffer of `len` zero bytes.
    fn alloc_bytes(&self, len: usize) -> Result<Self::Bytes>;
    /// A buffer of `len` zero integers.
    fn alloc_ints(&self, len: usize) -> Result<Self::Ints>;

    /// Copies `src` to the first `src.len()` elements of `dst`.
    fn upload(&mut self, src: &[f32], dst: &mut Self::Buf) -> Result<()>;
    /// Copies `src` to the first `src.len()` elements of `dst`.
    fn upload_bytes(&mut self, src: &[u8], dst: &mut Self::Bytes) -> Result<()>;
    /// What allocates memory of the host, for the threads that read records.
    fn host_memory(&self) -> HostMemory<Self::Host>;
    /// Starts to copy the first `len` bytes of `src` to `dst`, beside what is asked for later.
    fn send(&mut self, src: Self::Host, len: usize, dst: Self::Bytes) -> Result<Self::Sent>;
    /// Waits for a copy, and gives both back.
    fn receive(&mut self, sent: Self::Sent) -> Result<(Self::Host, Self::Bytes)>;
    /// Copies `src` to the first `src.len()` elements of `dst`.
    fn upload_ints(&mut self, src: &[i32], dst: &mut Self::Ints) -> Result<()>;
    /// Sets the scalars for the operations that are asked for from now on.
    fn set_scalars(&mut self, src: &StepScalars, dst: &mut Self::Scalars) -> Result<()>;
    /// Copies the first `dst.len()` elements of `src` to `dst`, rounding to f32.
    fn download(&mut self, src: &Self::Buf, dst: &mut [f32]) -> Result<()>;
    /// Copies the first `dst.len()` elements of `src` to `dst`.
    fn download_bytes(&mut self, src: &Self::Bytes, dst: &mut [u8]) -> Result<()>;

    /// From here to [`Storage::end_record`] operations are written down and not run; false,
    /// and nothing of the kind, on a backend that gains nothing by it. The same operations must
    /// have run once before, so that all their memory is there.
    fn begin_record(&mut self) -> Result<bool>;
    /// Ends what [`Storage::begin_record`] began.
    fn end_record(&mut self) -> Result<Self::Recorded>;
    /// Runs recorded operations.
    fn replay(&mut self, recorded: &Self::Recorded) -> Result<()>;

    /// The place behind everything asked for so far, with its time.
    fn mark(&self) -> Result<Self::Mark>;
    /// Seconds from one place to a later one; waits until it is reached.
    fn seconds_between(&self, from: &Self::Mark, to: &Self::Mark) -> Result<f64>;

    /// Waits until everything asked for is done.
    fn synchronise(&mut self) -> Result<()>;

    /// Bytes that one element of a buffer for `role` takes.
    fn element_bytes(&self, role: Role) -> usize;
    /// Memory that is free for buffers, where the system tells.
    fn available_bytes(&self) -> Option<u64>;
    /// What runs, for people: `cpu, f32, 2 threads`.
    fn describe(&self) -> String;
}

/// Everything a network needs from the machine it runs on.
pub trait Backend:
    Storage
    + conv::ConvOp
    + conv_pool_lrn::ConvPoolLrnOp
    + crop::CropOp
    + dropout::DropoutOp
    + keep::KeepOp
    + linear::LinearOp
    + linear_sgd::LinearSgdOp
    + lrn::LrnOp
    + occlude::OccludeOp
    + pool::PoolOp
    + pool_lrn::PoolLrnOp
    + relu::ReluOp
    + roof::RoofOp
    + sgd::SgdOp
    + softmax::SoftmaxOp
    + Send
{
}

impl<B> Backend for B where
    B: Storage
        + conv::ConvOp
        + conv_pool_lrn::ConvPoolLrnOp
        + crop::CropOp
        + dropout::DropoutOp
        + keep::KeepOp
        + linear::LinearOp
        + linear_sgd::LinearSgdOp
        + lrn::LrnOp
        + occlude::OccludeOp
        + pool::PoolOp
        + pool_lrn::PoolLrnOp
        + relu::ReluOp
        + roof::RoofOp
        + sgd::SgdOp
        + softmax::SoftmaxOp
        + Send
{
}
