//! Batches of copies of images with parts hidden, made where the network runs.

use crate::error::{Error, Result};
use crate::net::field::Field;
use crate::net::net::{Net, alloc_images, check_windows, no_source};
use crate::ops::Backend;

/// Images and what hides parts of them, as the network sees both.
pub struct Occluder<B: Backend> {
    M: usize,
    x: B::Buf,       // (M, H, W, C)
    z: B::Buf,       // (H, W, C)
    copies: B::Ints, // (max_batch, 5)
}

impl<B: Backend> Net<B> {
    /// Takes in M images, and the record that hides them, cut at `window`.
    ///
    /// # Errors
    /// [`Error::Shape`] if records, or the window, do not fit the source (see [`Net::set_source`]).
    pub fn occluder(
        &mut self,
        images: &[u8],    // (M, record, record, C)
        hiding: &[u8],    // (record, record, C)
        window: [i32; 3], // top, left, 1 if flipped
    ) -> Result<Occluder<B>> {
        let source = self.source.as_ref().ok_or_else(no_source)?;
        let crop = source.crop;
        let record = crop.input().len();
        if hiding.len() != record || !images.len().is_multiple_of(record) {
            return Err(Error::shape(
                "occlude",
                format!(
                    "{} bytes of images and {} of what hides them: records of {} have {record}",
                    images.len(),
                    hiding.len(),
                    crop.input()
                ),
            ));
        }
        check_windows(&crop, &window)?;
        let (M, plan, backend) = (images.len() / record, &self.plan, &mut self.backend);
        let copies = backend.alloc_ints(self.max_batch * 5)?;
        let mut cut = |records: &[u8], N: usize| -> Result<B::Buf> {
            let (mut bytes, mut windows) = (backend.alloc_bytes(N * record)?, backend.alloc_ints(N * 3)?);
            backend.upload_bytes(records, &mut bytes)?;
            backend.upload_ints(&window.repeat(N), &mut windows)?;
            let mut cut = alloc_images(backend, plan, N)?;
            backend.crop_forward(&crop, N, &bytes, &windows, &source.mean, &mut cut)?;
            Ok(cut)
        };
        Ok(Occluder { M, x: cut(images, M)?, z: cut(hiding, 1)?, copies })
    }

    /// The batch in hand becomes copies: each of one of the images, with a field of it hidden.
    pub fn load_occluded(&mut self, occluder: &mut Occluder<B>, copies: &[(usize, Field)]) -> Result<()> {
        let (M, image) = (occluder.M, self.plan.input);
        let mut numbers = Vec::with_capacity(copies.len() * 5);
        for &(m, field) in copies {
            let inside = field.top + field.height <= image.H && field.left + field.width <= image.W;
            if m >= M || !inside {
                return Err(Error::shape(
                    "occlude",
                    format!("{field:?} of image {m} is not in one of {M} images of {image}"),
                ));
            }
            numbers.extend([m, field.top, field.left, field.height, field.width].map(|v| v as i32));
        }
        self.set_labels(&vec![0; copies.len()])?;
        self.backend.upload_ints(&numbers, &mut occluder.copies)?;
        let Occluder { x, z, copies, .. } = occluder;
        self.backend.occlude(image, M, self.N, x, z, copies, &mut self.input)
    }
}
