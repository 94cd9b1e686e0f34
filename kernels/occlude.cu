// Copies of images, each with a rectangle hidden, as src/ops/occlude/mod.rs says.
//
//   y[n,h,w,c] = z[h,w,c] inside of rectangle n, x[m_n,h,w,c] elsewhere
//
//   occlude_1  a thread per element
//   occlude_2  a block per row, which knows of all its elements whether the rectangle has the row; _f32, _bf16

#include "geometry/occlude.cuh"
#include "numbers.cuh"

// ---------------------------------------------------------------------------
// Helpers

// Whether `at` lies in [first, first + length).
__device__ __forceinline__ bool within(int at, int first, int length) { return at >= first && at - first < length; }

// ---------------------------------------------------------------------------
// 1: a thread per element

extern "C" __global__ void occlude_1(Occlude occlude,
                                     const float* __restrict__ x,     // (M, H, W, C)
                                     const float* __restrict__ z,     // (H, W, C)
                                     const int* __restrict__ copies,  // (N, 5): m, top, left, height, width
                                     float* __restrict__ y) {         // (N, H, W, C)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const size_t row = size_t(occlude.W) * occlude.C, image = row * occlude.H;
  if (i >= image * occlude.N) return;
  const int h = i / row % occlude.H, w = i % row / occlude.C;
  const int* copy = copies + 5 * (i / image);
  const bool hidden = within(h, copy[1], copy[3]) && within(w, copy[2], copy[4]);
  y[i] = hidden ? z[i % image] : x[copy[0] * image + i % image];
}

// ---------------------------------------------------------------------------
// 2: a block per row

template <class T>
__device__ __forceinline__ void occlude_2(const Occlude& occlude, const T* __restrict__ x, const T* __restrict__ z,
                                          const int* __restrict__ copies, T* __restrict__ y) {
  const int n = blockIdx.x / occlude.H, h = blockIdx.x % occlude.H, row = occlude.W * occlude.C;
  const int* copy = copies + 5 * size_t(n);
  // The hidden elements of the row: none if the rectangle has not the row.
  const int first = copy[2] * occlude.C, length = within(h, copy[1], copy[3]) ? copy[4] * occlude.C : 0;
  const T* x_mh = x + (size_t(copy[0]) * occlude.H + h) * row;
  const T* z_h = z + size_t(h) * row;
  T* y_nh = y + size_t(blockIdx.x) * row;
  for (int i = threadIdx.x; i < row; i += blockDim.x) y_nh[i] = within(i, first, length) ? z_h[i] : x_mh[i];
}

extern "C" __global__ void __launch_bounds__(256)
    occlude_2_f32(Occlude occlude,
                  const float* __restrict__ x,        // (M, H, W, C)
                  const float* __restrict__ z,        // (H, W, C)
                  const int* __restrict__ copies,     // (N, 5): m, top, left, height, width
                  float* __restrict__ y) {            // (N, H, W, C)
  occlude_2(occlude, x, z, copies, y);
}

extern "C" __global__ void __launch_bounds__(256)
    occlude_2_bf16(Occlude occlude,
                   const bf16* __restrict__ x,         // (M, H, W, C)
                   const bf16* __restrict__ z,         // (H, W, C)
                   const int* __restrict__ copies,     // (N, 5): m, top, left, height, width
                   bf16* __restrict__ y) {             // (N, H, W, C)
  occlude_2(occlude, x, z, copies, y);
}
