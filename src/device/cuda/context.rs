//! The driver, and a GPU's primary context.

use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::device::Properties;
use crate::device::image::IMAGES;
use crate::error::{Error, Result};

/// The device's primary context; released with the last buffer.
pub(super) struct Context {
    pub device: sys::CUdevice,
    pub handle: sys::CUcontext,
    pub name: String,
}

// SAFETY: a context handle is an opaque pointer that any thread may make current.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Makes this thread's calls go to the device.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: the handle is retained until drop.
        unsafe { result::ctx::set_current(self.handle) }.map_err(|e| self.refused("enter its context", e))
    }

    /// The driver's answer to `verb`.
    pub fn refused(&self, verb: &str, error: DriverError) -> Error {
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

/// How many GPUs the driver shows; an error says why there is no driver.
pub fn count() -> Result<u32> {
    driver()?;
    let count = result::device::get_count().map_err(|e| Error::device("cuda", format!("cannot count GPUs: {e:?}")))?;
    Ok(count.max(0) as u32)
}

/// Whether there is a GPU, and kernels for it in this program.
pub fn works() -> bool {
    !IMAGES.is_empty() && count().is_ok_and(|gpus| gpus > 0)
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

/// Opens GPU `ordinal`.
pub(super) fn open(ordinal: u32, name: String) -> Result<Arc<Context>> {
    let failed = |e: DriverError| Error::device(&name, format!("cannot open the GPU: {e:?}"));
    let device = result::device::get(ordinal as i32).map_err(failed)?;
    // SAFETY: `device` is what the driver just returned.
    let handle = unsafe { result::primary_ctx::retain(device) }.map_err(failed)?;
    let context = Context { device, handle, name };
    context.enter()?;
    Ok(Arc::new(context))
}

/// 13000 is CUDA 13.0.
fn driver_version() -> Result<String, DriverError> {
    let mut version = 0;
    // SAFETY: the driver was loaded when the device was opened, and writes one number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok(format!("CUDA {}.{}", version / 1000, version % 1000 / 10))
}

/// What it is and has.
pub(super) fn properties(context: &Context) -> Result<Properties> {
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
        driver: driver_version().map_err(failed)?,
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
