//! Images on their way into the network: decoding, packed data sets, loader, augmentation.
