// The geometry of a softmax, and its sums, field for field as the launcher's #[repr(C)] structs.
#pragma once

struct Softmax {
  int N, C;
};
static_assert(sizeof(Softmax) == 8, "two words");

// Of one image, or of a batch.
struct Tally {
  double loss;
  unsigned top1, top5;
};
static_assert(sizeof(Tally) == 16, "no padding");
