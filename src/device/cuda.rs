//! NVIDIA GPUs through the driver's own interface, which cudarc loads at run time:
//! this program starts on a machine that has no CUDA at all.
//!
//! A buffer is one allocation of the driver. All work goes into one stream, so it
//! happens in order. Errors of a kernel surface at the next call that waits.

use std::collections::HashMap;
use std::ffi::{CString, c_uint, c_void};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use super::image::{ARCHS, IMAGES, Image, MISSING};
use super::{Arg, Device, Launch, Memory, Packed, Properties, check_range};
use crate::error::{Error, Result};

/// Dynamic shared memory that a launch gets without asking the function for more.
const SHARED_UNASKED: usize = 48 * 1024;

/// A GPU, with the kernels of this library loaded.
pub struct Cuda {
    context: Arc<Context>,
    stream: sys::CUstream,
    functions: HashMap<&'static str, Function>,
    properties: Properties,
}

struct Function {
    handle: sys::CUfunction,
    /// The most dynamic shared memory it has been allowed.
    shared: Mutex<usize>,
}

// SAFETY: the driver's handles may be used from any thread; each use makes the context current first.
unsafe impl Send for Cuda {}
// SAFETY: as above; the driver locks its own state, and `Function::shared` has a lock.
unsafe impl Sync for Cuda {}

/// The device's primary context; released with the last buffer.
struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
    name: String,
}

// SAFETY: a context handle is an opaque pointer that any thread may make current.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Makes this thread's calls go to the device.
    fn enter(&self) -> Result<()> {
        // SAFETY: the handle is retained until drop.
        unsafe { result::ctx::set_current(self.handle) }.map_err(|e| self.refused("enter its context", e))
    }

    /// The driver's answer to `verb`.
    fn refused(&self, verb: &str, error: DriverError) -> Error {
        let name = error.error_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let text = error.error_string().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Error::device(&self.name, format!("cannot {verb}: {name}, {text}"))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, in `Cuda::new`. An error here has no one left to hear it.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// Memory of a GPU.
pub struct CudaBuffer {
    context: Arc<Context>,
    address: sys::CUdeviceptr,
    bytes: usize,
}

impl std::fmt::Debug for CudaBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes at {:#x} of {}", self.bytes, self.address, self.context.name)
    }
}

impl Memory for CudaBuffer {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for CudaBuffer {
    fn drop(&mut self) {
        if self.bytes > 0 && self.context.enter().is_ok() {
            // SAFETY: allocated by `alloc`, freed once; cuMemFree waits for kernels that use it.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

/// How many GPUs the driver shows; an error says why there is no driver.
pub fn count() -> Result<u32> {
    driver()?;
    let count = result::device::get_count().map_err(|e| Error::device("cuda", format!("cannot count GPUs: {e:?}")))?;
    Ok(count.max(0) as u32)
}

/// Loads and starts the driver.
fn driver() -> Result<()> {
    // SAFETY: loads the driver's library, whose initialisers NVIDIA wrote for that. Asked
    // first because cudarc panics where it finds none.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::device(
            "cuda",
            "no NVIDIA driver on this machine (libcuda.so.1 cannot be loaded); install it, or use --device cpu",
        ));
    }
    result::init().map_err(|e| {
        Error::device("cuda", format!("the NVIDIA driver does not start ({e:?}); `nvidia-smi` may say more"))
    })
}

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
        let context = context(ordinal, name)?;
        let properties = properties(&context)?;
        let functions = functions(&context, &properties, IMAGES)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|e| context.refused("make a stream", e))?;
        Ok(Cuda { context, stream, functions, properties })
    }

    /// Adds kernels compiled elsewhere: those of the tests.
    pub fn with_images(mut self, images: &[Image]) -> Result<Self> {
        self.context.enter()?;
        let more = functions(&self.context, &self.properties, images)?;
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

fn context(ordinal: u32, name: String) -> Result<Arc<Context>> {
    let failed = |e: DriverError| Error::device(&name, format!("cannot open the GPU: {e:?}"));
    let device = result::device::get(ordinal as i32).map_err(failed)?;
    // SAFETY: `device` is what the driver just returned.
    let handle = unsafe { result::primary_ctx::retain(device) }.map_err(failed)?;
    let context = Context { device, handle, name };
    context.enter()?;
    Ok(Arc::new(context))
}

fn properties(context: &Context) -> Result<Properties> {
    use sys::CUdevice_attribute as attribute;
    let number = |which| {
        // SAFETY: the device is open.
        let value = unsafe { result::device::get_attribute(context.device, which) };
        value.map(|v| v.max(0) as u32).map_err(|e| context.refused("read its properties", e))
    };
    let failed = |e| context.refused("read its properties", e);
    Ok(Properties {
        name: context.name.clone(),
        model: result::device::get_name(context.device).map_err(failed)?,
        capability: (
            number(attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            number(attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: number(attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_bytes: number(attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize,
        // SAFETY: the device is open.
        memory_bytes: unsafe { result::device::total_mem(context.device) }.map_err(failed)?,
        cache_bytes: number(attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as usize,
    })
}

/// Loads every image; they stay loaded until the context goes.
fn functions(context: &Context, properties: &Properties, images: &[Image]) -> Result<HashMap<&'static str, Function>> {
    let mut functions = HashMap::new();
    for image in images {
        // SAFETY: a fatbin that nvcc wrote; it names its own length.
        let module = unsafe { result::module::load_data(image.fatbin.as_ptr().cast()) }.map_err(|e| {
            let (major, minor) = properties.capability;
            let verb = format!(
                "load the kernels of {}.cu, built for {ARCHS}, on compute capability {major}.{minor}",
                image.stem
            );
            context.refused(&verb, e)
        })?;
        for &kernel in image.kernels {
            let symbol = CString::new(kernel).map_err(|e| Error::device(&context.name, format!("{kernel}: {e}")))?;
            // SAFETY: the module was just loaded.
            let handle = unsafe { result::module::get_function(module, symbol) }
                .map_err(|e| context.refused(&format!("find the kernel {kernel} in {}.cu", image.stem), e))?;
            functions.insert(kernel, Function { handle, shared: Mutex::new(SHARED_UNASKED) });
        }
    }
    Ok(functions)
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
