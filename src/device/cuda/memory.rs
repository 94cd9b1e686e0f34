//! Memory of a GPU, and page-locked memory of the host for small copies that nobody waits for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::result;
use cudarc::driver::sys;

use super::context::Context;
use crate::device::Memory;
use crate::error::Result;

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

/// Page-locked memory of the host, and the event of its last copy.
pub(super) struct Slot {
    context: Arc<Context>,
    memory: *mut u8,
    event: sys::CUevent,
}

/// Bytes of a slot: labels and windows of 4096 images.
pub(super) const SLOT_BYTES: usize = 64 * 1024;

// SAFETY: memory and event may be used from any thread; the slot has one owner at a time.
unsafe impl Send for Slot {}

impl Slot {
    fn new(context: &Arc<Context>) -> Result<Self> {
        context.enter()?;
        // SAFETY: a new allocation, freed in `drop`.
        let memory = unsafe { result::malloc_host(SLOT_BYTES, 0) }
            .map_err(|e| context.refused("allocate page-locked memory", e))?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let event = result::event::create(flags).map_err(|e| context.refused("make an event", e));
        let event = event.inspect_err(|_| {
            // SAFETY: just allocated, and nobody has it.
            let _ = unsafe { result::free_host(memory) };
        })?;
        // SAFETY: the driver gave SLOT_BYTES bytes; written so that every byte has a value.
        unsafe { memory.cast::<u8>().write_bytes(0, SLOT_BYTES) };
        Ok(Slot { context: context.clone(), memory: memory.cast(), event })
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: SLOT_BYTES initialised bytes; no copy is under way when the owner looks at them.
        unsafe { std::slice::from_raw_parts(self.memory, SLOT_BYTES) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.memory, SLOT_BYTES) }
    }

    /// Marks the place in the stream behind the copy that was just asked for.
    pub fn mark(&self, stream: sys::CUstream) -> Result<()> {
        // SAFETY: both are alive.
        unsafe { result::event::record(self.event, stream) }.map_err(|e| self.context.refused("mark a copy", e))
    }

    /// Waits until the stream has passed the mark.
    pub fn wait(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the event is alive.
        unsafe { result::event::synchronize(self.event) }.map_err(|e| self.context.refused("wait for a copy", e))
    }

    fn is_done(&self) -> bool {
        // SAFETY: the event is alive.
        unsafe { result::event::query(self.event) }.is_ok()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.wait().is_ok() {
            // SAFETY: made in `new`, destroyed once, no copy under way.
            let _ = unsafe { (result::event::destroy(self.event), result::free_host(self.memory.cast())) };
        }
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
        match self.lock().pop_front_if(|slot| slot.is_done()) {
            Some(slot) => Ok(slot),
            None => Slot::new(context),
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
