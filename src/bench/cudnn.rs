//! NVIDIA's cuDNN as the rival, loaded when it is asked for.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;

use super::convs::{Operands, Rival};
use crate::device::cuda::{Cuda, CudaBuffer};
use crate::device::{Device, Memory};
use crate::error::{Error, Result};
use crate::ops::conv::Conv;
use crate::ops::{Direction, Gpu, Precision};

/// The oldest version whose interface this is.
const OLDEST: usize = 90_000;

/// How many algorithms a search may return.
const MOST: usize = 8;

/// cuDNN on the stream of a GPU.
pub struct Cudnn {
    handle: sys::cudnnHandle_t,
    prepared: Option<Prepared>,
}

/// A convolution, ready to run.
struct Prepared {
    descriptors: Descriptors,
    algorithm: Algorithm,
    workspace: CudaBuffer,
    workspace_bytes: usize,
}

/// An algorithm of one of the directions.
#[derive(Clone, Copy)]
enum Algorithm {
    Fprop(sys::cudnnConvolutionFwdAlgo_t),
    Dgrad(sys::cudnnConvolutionBwdDataAlgo_t),
    Wgrad(sys::cudnnConvolutionBwdFilterAlgo_t),
}

fn refused(verb: &str, error: CudnnError) -> Error {
    Error::device("cudnn", format!("cannot {verb}: {error:?}"))
}

impl Cudnn {
    /// Loads the library for `gpu`'s work.
    ///
    /// # Errors
    /// [`Error::Device`] if it is not installed or too old.
    pub fn new(gpu: &Gpu<Cuda>) -> Result<Self> {
        // SAFETY: loads the library, whose initialisers NVIDIA wrote for that. Asked first
        // because cudarc panics where it finds none.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::device("cudnn", "the library cannot be loaded (libcudnn.so.9 on LD_LIBRARY_PATH)"));
        }
        let version = result::get_version();
        if version < OLDEST {
            return Err(Error::device("cudnn", format!("version {version} is too old: install 9 or newer")));
        }
        let handle = result::create_handle().map_err(|e| refused("start", e))?;
        let cudnn = Cudnn { handle, prepared: None };
        // SAFETY: the handle was just made, the stream lives as long as the device.
        unsafe { result::set_stream(handle, gpu.device.stream().cast()) }.map_err(|e| refused("use a stream", e))?;
        Ok(cudnn)
    }
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// What cuDNN knows a convolution by.
struct Descriptors {
    x: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    conv: sys::cudnnConvolutionDescriptor_t,
}

impl Descriptors {
    fn new(conv: &Conv, N: usize, precision: Precision) -> Result<Self, CudnnError> {
        let &Conv { H, W, C, K, R, S, stride, pad, groups, P, Q } = conv;
        let int = |sizes: [usize; 4]| sizes.map(|size| size as c_int);
        let (stride, pad) = (stride as c_int, pad as c_int);
        let nhwc = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let f32_ = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        let (number, math) = match precision {
            Precision::F32 => (f32_, sys::cudnnMathType_t::CUDNN_FMA_MATH),
            Precision::Tf32 => (f32_, sys::cudnnMathType_t::CUDNN_DEFAULT_MATH),
            Precision::Bf16 => (sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16, sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH),
        };
        let d = Descriptors {
            x: result::create_tensor_descriptor()?,
            w: result::create_filter_descriptor()?,
            y: result::create_tensor_descriptor()?,
            conv: result::create_convolution_descriptor()?,
        };
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        // SAFETY: all four were just made.
        unsafe {
            result::set_tensor4d_descriptor(d.x, nhwc, number, int([N, C, H, W]))?;
            result::set_filter4d_descriptor(d.w, number, nhwc, int([K, C / groups, R, S]))?;
            result::set_tensor4d_descriptor(d.y, nhwc, number, int([N, K, P, Q]))?;
            result::set_convolution2d_descriptor(d.conv, pad, pad, stride, stride, 1, 1, mode, f32_)?;
            result::set_convolution_math_type(d.conv, math)?;
            result::set_convolution_group_count(d.conv, groups as i32)?;
        }
        Ok(d)
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once.
        unsafe {
            let _ = result::destroy_tensor_descriptor(self.x);
            let _ = result::destroy_filter_descriptor(self.w);
            let _ = result::destroy_tensor_descriptor(self.y);
            let _ = result::destroy_convolution_descriptor(self.conv);
        }
    }
}

/// Runs a search and gives the fastest algorithm that works: itself, its name and its workspace.
macro_rules! fastest {
    ($kind:ident, $find:ident, $perf:ty, $handle:expr, $a:expr, $b:expr, $c:expr, $d:expr) => {{
        let mut found = [MaybeUninit::<$perf>::uninit(); MOST];
        let mut count: c_int = 0;
        // SAFETY: handle and descriptors are alive; `found` has room for MOST results, of which the
        // library writes the first `count`, fastest first.
        let (status, found) = unsafe {
            let status = sys::$find($handle, $a, $b, $c, $d, MOST as c_int, &mut count, found.as_mut_ptr().cast());
            (
                status,
                found[..count.clamp(0, MOST as c_int) as usize].iter().map(|f| f.assume_init()).collect::<Vec<_>>(),
            )
        };
        status.result().map_err(|e| refused("search for an algorithm", e))?;
        let works = |f: &&$perf| f.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS;
        let best =
            found.iter().find(works).ok_or_else(|| Error::device("cudnn", "no algorithm for this convolution"))?;
        (Algorithm::$kind(best.algo), format!("{:?}", best.algo), best.memory)
    }};
}

impl Rival<Cuda> for Cudnn {
    fn prepare(&mut self, gpu: &Gpu<Cuda>, conv: &Conv, N: usize, direction: Direction) -> Result<String> {
        self.prepared = None;
        let d = Descriptors::new(conv, N, gpu.precision()).map_err(|e| refused("describe a convolution", e))?;
        let handle = self.handle;
        let (algorithm, name, workspace_bytes) = match direction {
            Direction::Fprop => fastest!(
                Fprop,
                cudnnFindConvolutionForwardAlgorithm,
                sys::cudnnConvolutionFwdAlgoPerf_t,
                handle,
                d.x,
                d.w,
                d.conv,
                d.y
            ),
            Direction::Dgrad => fastest!(
                Dgrad,
                cudnnFindConvolutionBackwardDataAlgorithm,
                sys::cudnnConvolutionBwdDataAlgoPerf_t,
                handle,
                d.w,
                d.y,
                d.conv,
                d.x
            ),
            Direction::Wgrad => fastest!(
                Wgrad,
                cudnnFindConvolutionBackwardFilterAlgorithm,
                sys::cudnnConvolutionBwdFilterAlgoPerf_t,
                handle,
                d.x,
                d.y,
                d.conv,
                d.w
            ),
        };
        let workspace = gpu.device.alloc(workspace_bytes)?;
        self.prepared = Some(Prepared { descriptors: d, algorithm, workspace, workspace_bytes });
        Ok(name)
    }

    fn run(&mut self, Operands { x, w, y }: Operands) -> Result<()> {
        let Some(Prepared { descriptors: d, algorithm, workspace, workspace_bytes }) = &self.prepared else {
            return Err(Error::Usage("a convolution runs before it was prepared".into()));
        };
        let (one, zero) = (1f32, 0f32);
        let (alpha, beta) = ((&raw const one).cast::<c_void>(), (&raw const zero).cast::<c_void>());
        let (space, bytes, handle) = (workspace.address() as *mut c_void, *workspace_bytes, self.handle);
        let [x, w, y] = [x, w, y].map(|address| address as *mut c_void);
        // SAFETY: handle, descriptors and workspace are alive; the caller's buffers have the sizes that
        // the descriptors give.
        let done = unsafe {
            match *algorithm {
                Algorithm::Fprop(algorithm) => result::convolution_forward(
                    handle, alpha, d.x, x, d.w, w, d.conv, algorithm, space, bytes, beta, d.y, y,
                ),
                Algorithm::Dgrad(algorithm) => result::convolution_backward_data(
                    handle, alpha, d.w, w, d.y, y, d.conv, algorithm, space, bytes, beta, d.x, x,
                ),
                Algorithm::Wgrad(algorithm) => result::convolution_backward_filter(
                    handle, alpha, d.x, x, d.y, y, d.conv, algorithm, space, bytes, beta, d.w, w,
                ),
            }
        };
        done.map_err(|e| refused("run a convolution", e))
    }
}
