//! A device that tells what is asked of it: which kernels an operation launches, and what
//! a step must not do.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{Arg, Device, HostMemory, Launch, Properties};
use crate::error::Result;

/// Something that was asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Memory of the device.
    Memory,
    /// A copy from or to the host.
    HostCopy,
    /// A launch of this kernel; of a recorded one, when it is recorded.
    Launch(&'static str),
}

impl Asked {
    /// The kernel of a launch.
    pub fn kernel(self) -> Option<&'static str> {
        match self {
            Asked::Launch(kernel) => Some(kernel),
            Asked::Memory | Asked::HostCopy => None,
        }
    }
}

/// `D`, watched.
pub struct Watched<D> {
    device: D,
    asked: Sender<Asked>,
}

impl<D: Device> Watched<D> {
    /// `device`, and where what is asked of it arrives, in order. What nobody looks at stays there.
    pub fn new(device: D) -> (Self, Receiver<Asked>) {
        let (asked, arriving) = channel();
        (Watched { device, asked }, arriving)
    }

    fn tell(&self, asked: Asked) -> &D {
        // Nobody listening is no error: then nobody wants to know.
        let _ = self.asked.send(asked);
        &self.device
    }
}

impl<D: Device> Device for Watched<D> {
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
        self.tell(Asked::Memory).alloc(bytes)
    }
    fn upload(&self, from: &[u8], to: &mut D::Buffer, offset: usize) -> Result<()> {
        self.tell(Asked::HostCopy).upload(from, to, offset)
    }
    fn download(&self, from: &D::Buffer, offset: usize, to: &mut [u8]) -> Result<()> {
        self.tell(Asked::HostCopy).download(from, offset, to)
    }
    fn download_later(&self, from: &D::Buffer, offset: usize, bytes: usize) -> Result<D::Download> {
        self.tell(Asked::HostCopy).download_later(from, offset, bytes)
    }
    fn await_download(&self, download: D::Download) -> Result<Vec<u8>> {
        self.device.await_download(download)
    }
    fn host_memory(&self) -> HostMemory<D::Host> {
        self.device.host_memory()
    }
    fn upload_later(&self, from: D::Host, bytes: usize, to: D::Buffer) -> Result<D::Upload> {
        self.tell(Asked::HostCopy).upload_later(from, bytes, to)
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
        self.tell(Asked::Launch(launch.kernel)).launch(launch, args)
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
