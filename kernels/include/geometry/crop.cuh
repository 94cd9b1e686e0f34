// The geometry of a crop, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct Crop {
  int N;
  // Side of the square records.
  int record;
  // The crop.
  int H, W, C;
  // Elements from one of its pixels to the next: C, or a multiple of 4 with zeros behind the channels.
  int pitch;
};
static_assert(sizeof(Crop) == 24, "six words");
