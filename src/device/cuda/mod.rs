//! NVIDIA GPUs through the driver's own interface, which cudarc loads at run time:
//! this program starts on a machine that has no CUDA at all.
//!
//! A buffer is one allocation of the driver. All work goes into one stream, so it
//! happens in order. Errors of a kernel surface at the next call that waits.

mod context;
mod functions;
mod memory;

use std::collections::HashMap;
use std::ffi::{c_uint, c_void};
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use self::context::Context;
use self::functions::Function;
use super::image::{IMAGES, Image, MISSING};
use super::{Arg, Device, Launch, Packed, Properties, check_range};
use crate::error::{Error, Result};

pub use self::context::count;
pub use self::memory::CudaBuffer;

/// A GPU, with the kernels of this library loaded.
pub struct Cuda {
    context: Arc<Context>,
    stream: sys::CUstream,
    functions: HashMap<&'static str, Function>,
    properties: Properties,
}

// SAFETY: the driver's handles may be used from any thread; each use makes the context current first.
unsafe impl Send for Cuda {}
// SAFETY: as above; the driver locks its own state, and `Function::shared` has a lock.
unsafe impl Sync for Cuda {}

impl Cuda {
    /// Opens GPU `ordinal`, counted from 0, and loads the kernels.
    ///
    /// Errors: no driver, no such GPU, or a library that was built without nvcc.
    pub fn new(ordinal: u32) -> Result<Self> {
        let count = count()?;
        let name = format!("cuda:{ordinal}");
        if ordinal >= count {
            return Err(Error::device(name, format!("no such GPU: the driver shows {count}, counted from 0")));
        }
        if IMAGES.is_empty() {
            return Err(Error::device(name, MISSING));
        }
        let context = context::open(ordinal, name)?;
        let properties = context::properties(&context)?;
        let functions = functions::load(&context, &properties, IMAGES)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|e| context.refused("make a stream", e))?;
        Ok(Cuda { context, stream, functions, properties })
    }

    /// Adds kernels compiled elsewhere: those of the tests.
    pub fn with_images(mut self, images: &[Image]) -> Result<Self> {
        self.context.enter()?;
        let more = functions::load(&self.context, &self.properties, images)?;
        self.functions.extend(more);
        Ok(self)
    }

    /// Runs `call` with the context current.
    fn call<T>(&self, verb: &str, call: impl FnOnce() -> Result<T, DriverError>) -> Result<T> {
        self.context.enter()?;
        call().map_err(|e| self.context.refused(verb, e))
    }

    /// Lets `function` have `bytes` of dynamic shared memory.
    fn allow_shared(&self, kernel: &str, function: &Function, bytes: usize) -> Result<()> {
        let mut allowed = function.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > *allowed {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let verb = format!("give {kernel} {bytes} bytes of shared memory");
            // SAFETY: the function belongs to a module that stays loaded.
            self.call(&verb, || unsafe {
                result::function::set_function_attribute(function.handle, attribute, bytes as i32)
            })?;
            *allowed = bytes;
        }
        Ok(())
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: made in `new`, destroyed once; the driver finishes its work first.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
    }
}

impl Device for Cuda {
    type Buffer = CudaBuffer;

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn alloc(&self, bytes: usize) -> Result<CudaBuffer> {
        let context = self.context.clone();
        if bytes == 0 {
            return Ok(CudaBuffer { context, address: 0, bytes }); // The driver refuses empty allocations.
        }
        self.context.enter()?;
        // SAFETY: the context is current.
        let address = unsafe { result::malloc_sync(bytes) }.map_err(|e| {
            let (free, total) = result::mem_get_info().unwrap_or_default();
            let verb = format!("allocate {bytes} bytes: {free} of {total} are free");
            self.context.refused(&verb, e)
        })?;
        Ok(CudaBuffer { context, address, bytes })
    }

    fn upload(&self, from: &[u8], to: &mut CudaBuffer, offset: usize) -> Result<()> {
        check_range(&self.properties, "upload to", to, offset..offset + from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        // SAFETY: the range lies in `to`; from pageable memory the driver has read `from` when it
        // returns, and the wait makes that true of any memory.
        self.call(&format!("upload {} bytes", from.len()), || unsafe {
            result::memcpy_htod_async(to.address + offset as u64, from, self.stream)?;
            result::stream::synchronize(self.stream)
        })
    }

    fn download(&self, from: &CudaBuffer, offset: usize, to: &mut [u8]) -> Result<()> {
        check_range(&self.properties, "download", from, offset..offset + to.len())?;
        if to.is_empty() {
            return Ok(());
        }
        // SAFETY: the range lies in `from`, and `to` is not used before the wait is over.
        self.call(&format!("download {} bytes", to.len()), || unsafe {
            result::memcpy_dtoh_async(to, from.address + offset as u64, self.stream)?;
            result::stream::synchronize(self.stream)
        })
    }

    fn copy(&self, from: &CudaBuffer, range: Range<usize>, to: &mut CudaBuffer, offset: usize) -> Result<()> {
        check_range(&self.properties, "copy from", from, range.clone())?;
        check_range(&self.properties, "copy to", to, offset..offset + range.len())?;
        if range.is_empty() {
            return Ok(());
        }
        let (source, target) = (from.address + range.start as u64, to.address + offset as u64);
        // SAFETY: both ranges lie in their buffers, which differ because `to` is borrowed mutably.
        self.call(&format!("copy {} bytes", range.len()), || unsafe {
            result::memcpy_dtod_async(target, source, range.len(), self.stream)
        })
    }

    fn fill(&self, to: &mut CudaBuffer, range: Range<usize>, value: u8) -> Result<()> {
        check_range(&self.properties, "fill", to, range.clone())?;
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: the range lies in `to`.
        self.call(&format!("fill {} bytes", range.len()), || unsafe {
            result::memset_d8_async(to.address + range.start as u64, value, range.len(), self.stream)
        })
    }

    fn launch(&self, launch: &Launch, args: &[Arg<'_, CudaBuffer>]) -> Result<()> {
        launch.check(&self.properties)?;
        let function = self
            .functions
            .get(launch.kernel)
            .ok_or_else(|| Error::device(&self.properties.name, format!("no kernel is called {}", launch.kernel)))?;
        self.allow_shared(launch.kernel, function, launch.shared)?;
        let packed = Packed::new(&self.properties, launch, args)?;
        let mut pointers: Vec<*mut c_void> = packed.pointers();
        let size = |[x, y, z]: [u32; 3]| -> (c_uint, c_uint, c_uint) { (x, y, z) };
        // SAFETY: the driver copies the parameters before it returns. That they are those the
        // kernel declares is what the emulator checks for every launch in the tests.
        self.call(&format!("launch {launch:?}"), || unsafe {
            result::launch_kernel(
                function.handle,
                size(launch.grid),
                size(launch.block),
                launch.shared as u32,
                self.stream,
                &mut pointers,
            )
        })
    }

    fn free_bytes(&self) -> Result<u64> {
        self.call("ask for its free memory", || result::mem_get_info().map(|(free, _)| free as u64))
    }

    fn synchronise(&self) -> Result<()> {
        // SAFETY: the stream lives as long as `self`.
        self.call("finish the work asked for", || unsafe { result::stream::synchronize(self.stream) })
    }
}
