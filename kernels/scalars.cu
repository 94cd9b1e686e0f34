// The numbers that change from step to step, written down where the other kernels read them.
//
// They come as an argument because a launch copies its arguments at once: the host neither waits nor
// keeps memory for a copy that is still to come.
//
//   scalars_set_1  one thread

#include "geometry/scalars.cuh"

extern "C" __global__ void scalars_set_1(Scalars scalars, Scalars* __restrict__ out) { *out = scalars; }
