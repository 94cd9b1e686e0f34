//! A device that counts what is asked of it, for tests of what a step must not do.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use zfnet::device::{Arg, Device, HostMemory, Launch, Properties};
use zfnet::error::Result;

/// Calls so far, shared with whoever watches.
#[derive(Clone, Default)]
pub struct Counts {
    allocations: Arc<AtomicUsize>,
    copies: Arc<AtomicUsize>,
    launches: Arc<AtomicUsize>,
}

impl Counts {
    /// Allocations, copies to and from the host, launches.
    pub fn now(&self) -> [usize; 3] {
        [&self.allocations, &self.copies, &self.launches].map(|count| count.load(Relaxed))
    }
}

pub struct Counting<D> {
    pub device: D,
    pub counts: Counts,
}

impl<D: Device> Device for Counting<D> {
    type Buffer = D::Buffer;
    type Mark = D::Mark;
    type Download = D::Download;
    type Host = D::Host;
    type Upload = D::Upload;
    type Graph = D::Graph;

    fn properties(&self) -> &Properties {
        self.device.properties()
    }

    fn alloc(&self, bytes: usize) -> Result<D::Buffer> {
        self.counts.allocations.fetch_add(1, Relaxed);
        self.device.alloc(bytes)
    }

    fn upload(&self, from: &[u8], to: &mut D::Buffer, offset: usize) -> Result<()> {
        self.counts.copies.fetch_add(1, Relaxed);
        self.device.upload(from, to, offset)
    }

    fn download(&self, from: &D::Buffer, offset: usize, to: &mut [u8]) -> Result<()> {
        self.counts.copies.fetch_add(1, Relaxed);
        self.device.download(from, offset, to)
    }

    fn download_later(&self, from: &D::Buffer, offset: usize, bytes: usize) -> Result<D::Download> {
        self.counts.copies.fetch_add(1, Relaxed);
        self.device.download_later(from, offset, bytes)
    }

    fn await_download(&self, download: D::Download) -> Result<Vec<u8>> {
        self.device.await_download(download)
    }

    fn host_memory(&self) -> HostMemory<D::Host> {
        self.device.host_memory()
    }

    fn upload_later(&self, from: D::Host, bytes: usize, to: D::Buffer) -> Result<D::Upload> {
        self.counts.copies.fetch_add(1, Relaxed);
        self.device.upload_later(from, bytes, to)
    }

    fn await_upload(&self, upload: D::Upload) -> Result<(D::Host, D::Buffer)> {
        self.device.await_upload(upload)
    }

    fn copy(&self, from: &D::Buffer, range: Range<usize>, to: &mut D::Buffer, offset: usize) -> Result<()> {
        self.device.copy(from, range, to, offset)
    }

    fn fill(&self, to: &mut D::Buffer, range: Range<usize>, value: u8) -> Result<()> {
        self.device.fill(to, range, value)
    }

    fn has(&self, kernel: &str) -> bool {
        self.device.has(kernel)
    }

    fn launch(&self, launch: &Launch, args: &[Arg<'_, D::Buffer>]) -> Result<()> {
        self.counts.launches.fetch_add(1, Relaxed);
        self.device.launch(launch, args)
    }

    fn begin_record(&self) -> Result<()> {
        self.device.begin_record()
    }

    fn end_record(&self) -> Result<D::Graph> {
        self.device.end_record()
    }

    fn replay(&self, graph: &D::Graph) -> Result<()> {
        self.device.replay(graph)
    }

    fn mark(&self) -> Result<D::Mark> {
        self.device.mark()
    }

    fn seconds_between(&self, from: &D::Mark, to: &D::Mark) -> Result<f64> {
        self.device.seconds_between(from, to)
    }

    fn free_bytes(&self) -> Result<u64> {
        self.device.free_bytes()
    }

    fn synchronise(&self) -> Result<()> {
        self.device.synchronise()
    }
}
