// The geometry of kept activations, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct Keep {
  int N, P, Q, K;
};
static_assert(sizeof(Keep) == 16, "four words");
