//! Memory of a GPU.

use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys;

use super::context::Context;
use crate::device::Memory;

/// Memory of a GPU.
pub struct CudaBuffer {
    pub(super) context: Arc<Context>,
    pub(super) address: sys::CUdeviceptr,
    pub(super) bytes: usize,
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
