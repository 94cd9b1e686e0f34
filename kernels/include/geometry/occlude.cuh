// The geometry of occluded copies, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct Occlude {
  // C: elements from one pixel to the next, which may be more than the channels.
  int N, H, W, C;
};
static_assert(sizeof(Occlude) == 16, "four words");
