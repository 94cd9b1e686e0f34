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
//   crop_forward_3  like 2, but into padded pixels: a thread has 4 elements of one, the padding among them,
//                   which it stores at once after one division for all. A warp reads each line of the mean
//                   once a channel, from L1 but for the first time

#include "geometry/crop.cuh"
#include "vector.cuh"

// ---------------------------------------------------------------------------
// Helpers

// The first channel, in the record and in the mean, of the pixel that the crop shows at (h, w).
__device__ __forceinline__ size_t source(const Crop& crop, const int* window /* (3) */, int h, int w) {
  const int column = window[2] ? crop.W - 1 - w : w;
  return (size_t(window[0] + h) * crop.record + window[1] + column) * crop.C;
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
  const int h = i / row % crop.H, w = i % row / crop.C, c = i % crop.C;
  const size_t n = i / row / crop.H, record = size_t(crop.record) * crop.record * crop.C;
  const size_t from = source(crop, windows + 3 * n, h, w) + c;
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
    const size_t from = source(crop, window, h, i / crop.C) + i % crop.C;
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

// ---------------------------------------------------------------------------
// 3: padded pixels

template <class T>
__device__ __forceinline__ void crop_forward_3(const Crop& crop, const unsigned char* __restrict__ images,
                                               const int* __restrict__ windows, const float* __restrict__ mean,
                                               T* __restrict__ y) {
  const int n = blockIdx.x / crop.H, h = blockIdx.x % crop.H, vectors = crop.pitch / 4;
  const int window[3] = {windows[3 * n], windows[3 * n + 1], windows[3 * n + 2]};
  const unsigned char* image = images + size_t(n) * crop.record * crop.record * crop.C;
  T* y_nh = y + size_t(blockIdx.x) * crop.W * crop.pitch;
  for (int i = threadIdx.x; i < crop.W * vectors; i += blockDim.x) {
    const int w = i / vectors, c0 = i % vectors * 4;
    const size_t from = source(crop, window, h, w) + c0;
    Vector<float, 4> v;
#pragma unroll
    for (int j = 0; j < 4; j++) v.v[j] = c0 + j < crop.C ? image[from + j] - mean[from + j] : 0.0f;
    store(y_nh + 4 * i, from_f32<T>(v));
  }
}

extern "C" __global__ void __launch_bounds__(256)
    crop_forward_3_f32(Crop crop,
                       const unsigned char* __restrict__ images,  // (N, record, record, C)
                       const int* __restrict__ windows,           // (N, 3): top, left, flipped
                       const float* __restrict__ mean,            // (record, record, C)
                       float* __restrict__ y) {                   // (N, H, W, pitch)
  crop_forward_3(crop, images, windows, mean, y);
}

extern "C" __global__ void __launch_bounds__(256)
    crop_forward_3_bf16(Crop crop,
                        const unsigned char* __restrict__ images,  // (N, record, record, C)
                        const int* __restrict__ windows,           // (N, 3): top, left, flipped
                        const float* __restrict__ mean,            // (record, record, C)
                        bf16* __restrict__ y) {                    // (N, H, W, pitch)
  crop_forward_3(crop, images, windows, mean, y);
}
