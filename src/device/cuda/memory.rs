//! Memory of a GPU, and page-locked memory of the host for small copies that nobody waits for.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::result;
use cudarc::driver::sys;

use super::context::Context;
use super::mark::Mark;
use crate::device::Memory;
use crate::error::{Error, Result};

/// Memory of a GPU.
pub struct CudaBuffer(pub(super) Arc<Allocation>);

/// One allocation of the driver.
pub(super) struct Allocation {
    pub context: Arc<Context>,
    pub address: sys::CUdeviceptr,
    pub bytes: usize,
}

impl std::fmt::Debug for CudaBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Allocation { context, address, bytes } = &*self.0;
        write!(f, "{bytes} bytes at {address:#x} of {}", context.name)
    }
}

impl Memory for CudaBuffer {
    fn bytes(&self) -> usize {
        self.0.bytes
    }

    fn address(&self) -> u64 {
        self.0.address
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if self.bytes > 0 && self.context.enter().is_ok() {
            // SAFETY: allocated by `alloc`, freed once; cuMemFree waits for kernels that use it.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

/// Page-locked memory of the host, which a GPU reads and writes by itself.
pub struct Pinned {
    context: Arc<Context>,
    memory: NonNull<u8>,
    bytes: usize,
}

// SAFETY: plain memory with one owner; the driver frees it on any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// `bytes` zeros.
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self> {
        context.enter()?;
        // SAFETY: a new allocation, freed in `drop`.
        let memory = unsafe { result::malloc_host(bytes.max(1), 0) }
            .map_err(|e| context.refused(&format!("allocate {bytes} bytes of page-locked memory"), e))?;
        let memory = NonNull::new(memory.cast::<u8>())
            .ok_or_else(|| Error::device(&context.name, "the driver gave no page-locked memory"))?;
        // SAFETY: the driver gave that many bytes; written so that every byte has a value.
        unsafe { memory.write_bytes(0, bytes) };
        Ok(Pinned { context: context.clone(), memory, bytes })
    }
}

impl Deref for Pinned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: initialised bytes; whoever starts a copy owns the memory until it is over.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Pinned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: allocated in `new`, freed once.
            let _ = unsafe { result::free_host(self.memory.as_ptr().cast()) };
        }
    }
}

/// Page-locked memory for one small copy.
pub(super) struct Slot {
    pub memory: Pinned,
    /// Behind its last copy.
    pub copied: Mark,
}

/// Bytes of a slot: labels and windows of 4096 images.
pub(super) const SLOT_BYTES: usize = 64 * 1024;

impl Drop for Slot {
    fn drop(&mut self) {
        // The driver must not write to memory that is gone; an error here has no one to hear it.
        let _ = self.copied.wait();
    }
}

/// Bytes on their way to the device.
pub struct Upload {
    pub(super) copied: Mark,
    pub(super) from: Option<Pinned>,
    pub(super) to: Option<CudaBuffer>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        // As for a slot.
        let _ = self.copied.wait();
    }
}

/// Bytes on their way to the host.
pub struct Download {
    pub(super) slot: Slot,
    pub(super) bytes: usize,
}

/// Slots that wait for their copies to pass, oldest first.
#[derive(Default)]
pub(super) struct Slots(Mutex<VecDeque<Slot>>);

impl Slots {
    /// One whose copy has passed, or a new one.
    pub fn take(&self, context: &Arc<Context>) -> Result<Slot> {
        match self.lock().pop_front_if(|slot| slot.copied.has_passed()) {
            Some(slot) => Ok(slot),
            None => Ok(Slot { memory: Pinned::new(context, SLOT_BYTES)?, copied: Mark::new(context)? }),
        }
    }

    /// Back among the others.
    pub fn give(&self, slot: Slot) {
        self.lock().push_back(slot);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
