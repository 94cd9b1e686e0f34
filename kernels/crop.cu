// The input stage: crop, flip, mean subtraction and conversion of u8 records, as src/ops/crop/mod.rs says.
//
//   y[n,h,w,c] = image[n, top + h, left + w', c] - mean[top + h, left + w', c],  w' = w, or W - 1 - w if flipped
//
// Windows lie inside the records: whoever makes them checks it.
//
//   crop_forward_1  a thread per element
//   crop_forward_2  a block per row, which reads its window once and leaves no 64-bit division to a thread;
//                   _f32, _bf16. Neighbouring threads take neighbouring bytes: with several elements a
//                   thread the reads of the mean, at any offset, would spread over as many lines more

#include "geometry/crop.cuh"
#include "numbers.cuh"

// ---------------------------------------------------------------------------
// Helpers

// The element of the record, and of the mean, that row h and element i = w C + c of the crop shows.
__device__ __forceinline__ size_t source(const Crop& crop, const int* window /* (3) */, int h, int i) {
  const int w = i / crop.C, column = window[2] ? crop.W - 1 - w : w;
  return (size_t(window[0] + h) * crop.record + window[1] + column) * crop.C + i % crop.C;
}

// ---------------------------------------------------------------------------
// 1: a thread per element

extern "C" __global__ void crop_forward_1(Crop crop,
                                          const unsigned char* __restrict__ images,  // (N, record, record, C)
                                          const int* __restrict__ windows,           // (N, 3): top, left, flipped
                                          const float* __restrict__ mean,            // (record, record, C)
                                          float* __restrict__ y) {                   // (N, H, W, C)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const size_t row = size_t(crop.W) * crop.C, rows = size_t(crop.N) * crop.H;
  if (i >= rows * row) return;
  const int h = i / row % crop.H;
  const size_t n = i / row / crop.H, record = size_t(crop.record) * crop.record * crop.C;
  const size_t from = source(crop, windows + 3 * n, h, i % row);
  y[i] = images[n * record + from] - mean[from];
}

// ---------------------------------------------------------------------------
// 2: a block per row

template <class T>
__device__ __forceinline__ void crop_forward_2(const Crop& crop, const unsigned char* __restrict__ images,
                                               const int* __restrict__ windows, const float* __restrict__ mean,
                                               T* __restrict__ y) {
  const int n = blockIdx.x / crop.H, h = blockIdx.x % crop.H, row = crop.W * crop.C;
  const int window[3] = {windows[3 * n], windows[3 * n + 1], windows[3 * n + 2]};
  const unsigned char* image = images + size_t(n) * crop.record * crop.record * crop.C;
  T* y_nh = y + size_t(blockIdx.x) * row;
  for (int i = threadIdx.x; i < row; i += blockDim.x) {
    const size_t from = source(crop, window, h, i);
    y_nh[i] = from_f32<T>(image[from] - mean[from]);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    crop_forward_2_f32(Crop crop,
                       const unsigned char* __restrict__ images,  // (N, record, record, C)
                       const int* __restrict__ windows,           // (N, 3): top, left, flipped
                       const float* __restrict__ mean,            // (record, record, C)
                       float* __restrict__ y) {                   // (N, H, W, C)
  crop_forward_2(crop, images, windows, mean, y);
}

extern "C" __global__ void __launch_bounds__(256)
    crop_forward_2_bf16(Crop crop,
                        const unsigned char* __restrict__ images,  // (N, record, record, C)
                        const int* __restrict__ windows,           // (N, 3): top, left, flipped
                        const float* __restrict__ mean,            // (record, record, C)
                        bf16* __restrict__ y) {                    // (N, H, W, C)
  crop_forward_2(crop, images, windows, mean, y);
}
