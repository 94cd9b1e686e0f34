//! One pass over the images that writes their features.
//!
//! Each image goes through the centre window once, up to the highest layer asked for, and every
//! layer's row goes straight to its place in the file: never more than a batch is in memory.
//! The file gets its name when it is whole; before that nothing that could be mistaken for it
//! is there.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use crate::data::augment::Cropper;
use crate::data::packed::Dataset;
use crate::error::{Error, Result};
use crate::net::Net;
use crate::ops::Backend;
use crate::train::replace::replace_with;
use crate::transfer::features::{Features, Layout};
use crate::transfer::retained::Retained;

/// Bytes that the features of `N` images take on the disk.
pub fn bytes(layers: &[Retained], N: usize) -> u64 {
    layers.iter().map(|layer| 4 * (N * layer.d) as u64).sum::<u64>() + 2 * N as u64
}

/// Refuses features for which the disk of `folder` has no room.
///
/// # Errors
/// [`Error::Usage`] with both sizes and the largest layer; [`Error::Io`].
pub fn check_room(folder: &Path, layers: &[Retained], N: usize) -> Result<()> {
    let (needed, free) =
        (bytes(layers, N), fs4::available_space(folder).map_err(Error::io("ask for room in", folder))?);
    let Some(largest) = layers.iter().max_by_key(|layer| layer.d).filter(|_| needed > free) else { return Ok(()) };
    let gb = |bytes: u64| bytes as f64 / 1e9;
    Err(Error::Usage(format!(
        "features of {N} images take {:.1} GB and {} has {:.1} GB free: layer {} alone takes {:.1} GB ({} values an image), \
         so leave it out with --layers, or choose another --out",
        gb(needed),
        folder.display(),
        gb(free),
        largest.number,
        gb(4 * (N * largest.d) as u64),
        largest.d
    )))
}

/// Computes the features of all images of `data`, and maps them. The network's source must be
/// set to the size of the records. `go_on` is asked after each batch, with the number of images
/// done; if it says no, nothing is kept.
///
/// # Errors
/// [`Error::Interrupted`] if `go_on` said so; what [`check_room`] says; [`Error::Usage`] if a
/// feature is not finite; [`Error::Io`].
pub fn extract<B: Backend>(
    net: &mut Net<B>,
    data: &Dataset,
    layers: &[Retained],
    subject: &str,
    path: &Path,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Features> {
    let N = data.images();
    check_room(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")), layers, N)?;
    let layout = Layout::new(path, subject, layers, N)?;
    replace_with(path, |file, temporary| {
        put(file, temporary, 0, &layout.head)?;
        write_rows(net, data, layers, (file, temporary), &layout, go_on)?;
        let labels: Vec<u8> = (0..N).flat_map(|i| (data.label_of(i) as u16).to_le_bytes()).collect();
        put(file, temporary, layout.labels, &labels)?;
        match file.metadata().map_err(Error::io("read", temporary))?.len() {
            len if len == layout.bytes => Ok(()),
            len => Err(Error::format(path, format!("{len} bytes were written of {}", layout.bytes))),
        }
    })?;
    let missing = || Error::format(path, "it was replaced while it was written: run one probe at a time in a folder");
    Features::open(path, subject, layers)?.ok_or_else(missing)
}

fn write_rows<B: Backend>(
    net: &mut Net<B>,
    data: &Dataset,
    layers: &[Retained],
    (file, path): (&mut File, &Path),
    layout: &Layout,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<()> {
    let (N, input) = (data.images(), net.plan().input);
    let Some(highest) = layers.last() else { return Ok(()) };
    let window = Cropper::new(data.size(), input.H, input.W)?.centre().to_ints();
    let mut pixels = Vec::new();
    let mut done = 0;
    while done < N {
        let batch = net.max_batch().min(N - done);
        pixels.clear();
        for i in done..done + batch {
            let (split, i) = data.locate(i);
            pixels.extend_from_slice(data.split(split).record(i));
        }
        // The network's own classes are of no interest; any label will do.
        net.load_records(&pixels, &window.repeat(batch), &vec![0; batch])?;
        net.forward_to(&highest.blob)?;
        for (layer, start) in layers.iter().zip(&layout.starts) {
            let rows = net.blob(&layer.blob)?; // (batch, d)
            if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
                let image = done + at / layer.d;
                return Err(Error::Usage(format!(
                    "feature {} of {} is {} for image {image}: the network is no use at this precision",
                    at % layer.d,
                    layer.blob,
                    rows[at]
                )));
            }
            put(file, path, start + 4 * (done * layer.d) as u64, bytemuck::cast_slice(&rows))?;
        }
        done += batch;
        if !go_on(done) && done < N {
            return Err(Error::Interrupted(format!("{done} of {N} images were done, and nothing is kept of them")));
        }
    }
    Ok(())
}

/// Writes `bytes` at `offset`.
fn put(file: &mut File, path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes)).map_err(Error::io("write", path))
}
