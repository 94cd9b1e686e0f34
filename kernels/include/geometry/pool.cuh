// The geometry of a pooling, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct Pool {
  int N, H, W, C;
  // Side of a window, and the step between windows.
  int R, stride;
  int P, Q;
  // Of unpooling: whether the last window that points at a position wins; else all are summed.
  int set;
};
static_assert(sizeof(Pool) == 36, "nine words, no padding");
