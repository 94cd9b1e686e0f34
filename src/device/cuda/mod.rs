//! NVIDIA GPUs through the driver's own interface, which cudarc loads at run time:
//! this program starts on a machine that has no CUDA at all.
//!
//! A buffer is one allocation of the driver. All work goes into one stream, so it
//! happens in order. Errors of a kernel surface at the next call that waits.

mod context;
mod functions;
mod graph;
mod mark;
mod memory;
mod tensor_map;

use std::collections::HashMap;
use std::ffi::{c_uint, c_void};
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use self::context::Context;
use self::functions::Function;
use self::graph::Recording;
use self::mark::Mark;
use self::memory::{Allocation, SLOT_BYTES, Slots};
use super::image::{IMAGES, Image, MISSING};
use super::{Arg, Device, HostMemory, Launch, Packed, Properties, check_range, first};
use crate::error::{Error, Result};

pub use self::context::{count, works};
pub use self::graph::Graph;
pub use self::memory::{CudaBuffer, Download, Pinned, Upload};

/// A GPU, with the kernels of this library loaded.
pub struct Cuda {
    context: Arc<Context>,
    stream: sys::CUstream,
    /// For large copies from the host, beside the work.
    copies: sys::CUstream,
    functions: HashMap<&'static str, Function>,
    properties: Properties,
    /// For copies that nobody waits for.
    slots: Slots,
    recording: Recording,
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
        let stream = || {
            result::stream::create(result::stream::StreamKind::NonBlocking)
                .map_err(|e| context.refused("make a stream", e))
        };
        let (stream, copies) = (stream()?, stream()?);
        let (slots, recording) = (Slots::default(), Recording::default());
        Ok(Cuda { context, stream, copies, functions, properties, slots, recording })
    }

    /// Adds kernels compiled elsewhere: those of the tests.
    pub fn with_images(mut self, images: &[Image]) -> Result<Self> {
        self.context.enter()?;
        let more = functions::load(&self.context, &self.properties, images)?;
        self.functions.extend(more);
        Ok(self)
    }

    /// Where its work goes, for libraries that work beside our kernels.
    pub(crate) fn stream(&self) -> sys::CUstream {
        self.stream
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
            let _ = unsafe { (result::stream::destroy(self.stream), result::stream::destroy(self.copies)) };
        }
    }
}

impl Device for Cuda {
    type Buffer = CudaBuffer;
    type Mark = Mark;
    type Download = Download;
    type Host = Pinned;
    type Upload = Upload;
    type Graph = Graph;

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn alloc(&self, bytes: usize) -> Result<CudaBuffer> {
        let context = self.context.clone();
        if bytes == 0 {
            return Ok(CudaBuffer(Arc::new(Allocation { context, address: 0, bytes }))); // The driver refuses empty allocations.
        }
        self.context.enter()?;
        // SAFETY: the context is current.
        let address = unsafe { result::malloc_sync(bytes) }.map_err(|e| {
            let (free, total) = result::mem_get_info().unwrap_or_default();
            let verb = format!("allocate {bytes} bytes: {free} of {total} are free");
            self.context.refused(&verb, e)
        })?;
        Ok(CudaBuffer(Arc::new(Allocation { context, address, bytes })))
    }

    fn upload(&self, from: &[u8], to: &mut CudaBuffer, offset: usize) -> Result<()> {
        check_range(&self.properties, "upload to", to, offset..offset + from.len())?;
        self.recording.refuse(&self.context, "upload")?;
        if from.is_empty() {
            return Ok(());
        }
        let (verb, target) = (format!("upload {} bytes", from.len()), to.0.address + offset as u64);
        if from.len() > SLOT_BYTES {
            // SAFETY: the range lies in `to`; `from` is not used any more when the wait is over.
            return self.call(&verb, || unsafe {
                result::memcpy_htod_async(target, from, self.stream)?;
                result::stream::synchronize(self.stream)
            });
        }
        let mut slot = self.slots.take(&self.context)?;
        slot.memory[..from.len()].copy_from_slice(from);
        // SAFETY: the range lies in `to`; the slot is not used again before its mark has passed.
        self.call(&verb, || unsafe { result::memcpy_htod_async(target, &slot.memory[..from.len()], self.stream) })?;
        slot.copied.set(self.stream)?;
        self.slots.give(slot);
        Ok(())
    }

    fn download(&self, from: &CudaBuffer, offset: usize, to: &mut [u8]) -> Result<()> {
        check_range(&self.properties, "download", from, offset..offset + to.len())?;
        self.recording.refuse(&self.context, "download")?;
        if to.is_empty() {
            return Ok(());
        }
        // SAFETY: the range lies in `from`, and `to` is not used before the wait is over.
        self.call(&format!("download {} bytes", to.len()), || unsafe {
            result::memcpy_dtoh_async(to, from.0.address + offset as u64, self.stream)?;
            result::stream::synchronize(self.stream)
        })
    }

    fn download_later(&self, from: &CudaBuffer, offset: usize, bytes: usize) -> Result<Download> {
        check_range(&self.properties, "download", from, offset..offset + bytes)?;
        self.recording.refuse(&self.context, "download")?;
        let most = SLOT_BYTES;
        if bytes > most {
            let reason = format!("{bytes} bytes are more than the {most} that are downloaded in the background");
            return Err(Error::device(&self.properties.name, reason));
        }
        let mut slot = self.slots.take(&self.context)?;
        let source = from.0.address + offset as u64;
        // SAFETY: the range lies in `from`; the slot is read when its mark has passed.
        self.call(&format!("download {bytes} bytes"), || unsafe {
            result::memcpy_dtoh_async(&mut slot.memory[..bytes], source, self.stream)
        })?;
        slot.copied.set(self.stream)?;
        Ok(Download { slot, bytes })
    }

    fn await_download(&self, download: Download) -> Result<Vec<u8>> {
        let Download { slot, bytes } = download;
        slot.copied.wait()?;
        let copy = slot.memory[..bytes].to_vec();
        self.slots.give(slot);
        Ok(copy)
    }

    fn host_memory(&self) -> HostMemory<Pinned> {
        let context = self.context.clone();
        Arc::new(move |bytes| Pinned::new(&context, bytes))
    }

    fn upload_later(&self, from: Pinned, bytes: usize, to: CudaBuffer) -> Result<Upload> {
        check_range(&self.properties, "upload to", &to, 0..bytes)?;
        first(&self.properties, &from, bytes)?;
        let (asked, copied) = (Mark::new(&self.context)?, Mark::new(&self.context)?);
        asked.set(self.stream)?;
        asked.hold(self.copies)?;
        let upload = Upload { copied, from: Some(from), to: Some(to) };
        if let (Upload { from: Some(from), to: Some(to), copied }, true) = (&upload, bytes > 0) {
            // SAFETY: the range lies in both, which `upload` keeps until the mark has passed.
            self.call(&format!("upload {bytes} bytes"), || unsafe {
                result::memcpy_htod_async(to.0.address, &from[..bytes], self.copies)
            })?;
            copied.set(self.copies)?;
        }
        Ok(upload)
    }

    fn await_upload(&self, mut upload: Upload) -> Result<(Pinned, CudaBuffer)> {
        upload.copied.wait()?;
        let lost = || Error::device(&self.properties.name, "an upload has lost its memory");
        Ok((upload.from.take().ok_or_else(lost)?, upload.to.take().ok_or_else(lost)?))
    }

    fn copy(&self, from: &CudaBuffer, range: Range<usize>, to: &mut CudaBuffer, offset: usize) -> Result<()> {
        check_range(&self.properties, "copy from", from, range.clone())?;
        check_range(&self.properties, "copy to", to, offset..offset + range.len())?;
        if range.is_empty() {
            return Ok(());
        }
        self.recording.keep([&from.0, &to.0]);
        let (source, target) = (from.0.address + range.start as u64, to.0.address + offset as u64);
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
        self.recording.keep([&to.0]);
        // SAFETY: the range lies in `to`.
        self.call(&format!("fill {} bytes", range.len()), || unsafe {
            result::memset_d8_async(to.0.address + range.start as u64, value, range.len(), self.stream)
        })
    }

    fn has(&self, kernel: &str) -> bool {
        self.functions.contains_key(kernel)
    }

    fn launch(&self, launch: &Launch, args: &[Arg<'_, CudaBuffer>]) -> Result<()> {
        launch.check(&self.properties)?;
        let function = self
            .functions
            .get(launch.kernel)
            .ok_or_else(|| Error::device(&self.properties.name, format!("no kernel is called {}", launch.kernel)))?;
        self.allow_shared(launch.kernel, function, launch.shared)?;
        self.recording.keep(args.iter().filter_map(Arg::buffer).map(|buffer| &buffer.0));
        let packed = Packed::new(&self.properties, launch, args, |map, address| {
            tensor_map::encode(&self.context, map, address)
        })?;
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

    fn begin_record(&self) -> Result<()> {
        self.recording.begin(&self.context, self.stream)
    }

    fn end_record(&self) -> Result<Graph> {
        self.recording.end(&self.context, self.stream)
    }

    fn replay(&self, graph: &Graph) -> Result<()> {
        graph.replay(self.stream)
    }

    fn mark(&self) -> Result<Mark> {
        let mark = Mark::timed(&self.context)?;
        mark.set(self.stream)?;
        Ok(mark)
    }

    fn seconds_between(&self, from: &Mark, to: &Mark) -> Result<f64> {
        to.seconds_since(from)
    }

    fn free_bytes(&self) -> Result<u64> {
        self.call("ask for its free memory", || result::mem_get_info().map(|(free, _)| free as u64))
    }

    fn synchronise(&self) -> Result<()> {
        // SAFETY: the stream lives as long as `self`.
        self.call("finish the work asked for", || unsafe { result::stream::synchronize(self.stream) })
    }
}
