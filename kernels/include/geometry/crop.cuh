// The geometry of a crop, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct Crop {
  int N;
  // Side of the square records.
  int record;
  // The crop.
  int H, W, C;
};
static_assert(sizeof(Crop) == 20, "five words");
