//! The kernels, loaded.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Mutex;

use cudarc::driver::result;
use cudarc::driver::sys;

use super::context::Context;
use crate::device::Properties;
use crate::device::image::{ARCHS, Image};
use crate::error::{Error, Result};

/// Dynamic shared memory that a launch gets without asking the function for more.
const SHARED_UNASKED: usize = 48 * 1024;

/// A kernel.
pub(super) struct Function {
    pub handle: sys::CUfunction,
    /// The most dynamic shared memory it has been allowed.
    pub shared: Mutex<usize>,
}

/// Loads every image that the device runs; they stay loaded until the context goes.
pub(super) fn load(
    context: &Context,
    properties: &Properties,
    images: &[Image],
) -> Result<HashMap<&'static str, Function>> {
    let mut functions = HashMap::new();
    for image in images.iter().filter(|image| image.runs_on(properties.capability)) {
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
