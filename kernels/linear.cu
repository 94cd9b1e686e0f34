// Matrix products of fully connected layers, y = x w^T: src/ops/linear/mod.rs has all directions.
//
//   linear_fprop_1, linear_dgrad_1, linear_wgrad_1   f32, a thread per output: the definition
//   linear_*_2_f32        a block computes 128 x 128 outputs from tiles in shared memory that cp.async
//                         loads three steps ahead, 8 x 8 a thread. A batch gives y and dx few tiles of
//                         outputs, so their sums are cut into parts, which linear_*_sum_2 adds up in order
//   linear_*_3_tf32       like 2, on tensor cores: f32 in memory, rounded to tf32 on the way
//   linear_*_3_bf16       the same in bf16; dw and db are f32
//
// Grids of 2 and 3: x the tiles of 128 x 128, y the parts.

#include "linear/products.cuh"
#include "product/multiply_fma.cuh"
#include "product/multiply_mma.cuh"

// ---------------------------------------------------------------------------
// 1: a thread per output

extern "C" __global__ void linear_fprop_1(Linear linear,
                                          const float* __restrict__ x,     // (N, in)
                                          const float* __restrict__ w,     // (out, in)
                                          const float* __restrict__ bias,  // (out)
                                          float* __restrict__ y) {         // (N, out)
  const size_t j = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= size_t(linear.N) * linear.outputs) return;
  const int n = j / linear.outputs, o = j % linear.outputs;
  float sum = 0.0f;
  for (int i = 0; i < linear.inputs; i++) sum += x[size_t(n) * linear.inputs + i] * w[size_t(o) * linear.inputs + i];
  y[j] = linear.relu ? rectify(sum + bias[o]) : sum + bias[o];
}

extern "C" __global__ void linear_dgrad_1(Linear linear,
                                          const float* __restrict__ dy,  // (N, out)
                                          const float* __restrict__ w,   // (out, in)
                                          float* __restrict__ dx) {      // (N, in)
  const size_t j = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= size_t(linear.N) * linear.inputs) return;
  const int n = j / linear.inputs, i = j % linear.inputs;
  float sum = 0.0f;
  for (int o = 0; o < linear.outputs; o++) sum += dy[size_t(n) * linear.outputs + o] * w[size_t(o) * linear.inputs + i];
  dx[j] = sum;
}

extern "C" __global__ void linear_wgrad_1(Linear linear,
                                          const float* __restrict__ x,   // (N, in)
                                          const float* __restrict__ dy,  // (N, out)
                                          float* __restrict__ dw,        // (out, in)
                                          float* __restrict__ dbias) {   // (out)
  const size_t j = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= size_t(linear.outputs) * linear.inputs) return;
  const int o = j / linear.inputs, i = j % linear.inputs;
  float sum = 0.0f, bias_sum = 0.0f;
  for (int n = 0; n < linear.N; n++) {
    const float g = dy[size_t(n) * linear.outputs + o];
    sum += g * x[size_t(n) * linear.inputs + i];
    bias_sum += g;
  }
  dw[j] = sum;
  if (i == 0) dbias[o] = bias_sum;
}

// ---------------------------------------------------------------------------
// 2 and 3: products of tiles (kernels/include/product)

// An output from its parts, in order: the same bits every time.
template <class T>
__device__ __forceinline__ void linear_sum(const Linear& linear, const float* __restrict__ sums, int columns,
                                           Epilogue epilogue, T* __restrict__ to) {
  const size_t j = size_t(blockIdx.x) * blockDim.x + threadIdx.x, outputs = size_t(linear.N) * columns;
  if (j >= outputs) return;
  float sum = 0.0f;
#pragma unroll 4
  for (int split = 0; split < linear.splits; split++) sum += sums[split * outputs + j];
  to[j] = from_f32<T>(finish(epilogue, sum, epilogue.bias ? epilogue.bias[j % columns] : 0.0f));
}

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) linear_fprop_2_f32(
    Linear linear,
    const float* __restrict__ x,     // (N, in)
    const float* __restrict__ w,     // (out, in)
    const float* __restrict__ bias,  // (out)
    float* __restrict__ y,           // (N, out)
    float* __restrict__ sums) {      // (splits, N, out)
  linear_fprop<Tiled<Fma>>(linear, x, w, bias, y, sums);
}

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) linear_dgrad_2_f32(
    Linear linear,
    const float* __restrict__ dy,  // (N, out)
    const float* __restrict__ w,   // (out, in)
    float* __restrict__ dx,        // (N, in)
    float* __restrict__ sums) {    // (splits, N, in)
  linear_dgrad<Tiled<Fma>>(linear, dy, w, dx, sums);
}

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) linear_wgrad_2_f32(
    Linear linear,
    const float* __restrict__ x,   // (N, in)
    const float* __restrict__ dy,  // (N, out)
    float* __restrict__ dw,        // (out, in)
    float* __restrict__ dbias) {   // (out)
  linear_wgrad<Tiled<Fma>>(linear, x, dy, dw, dbias);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) linear_fprop_3_tf32(
    Linear linear,
    const float* __restrict__ x,     // (N, in)
    const float* __restrict__ w,     // (out, in)
    const float* __restrict__ bias,  // (out)
    float* __restrict__ y,           // (N, out)
    float* __restrict__ sums) {      // (splits, N, out)
  linear_fprop<Tiled<Mma<float>>>(linear, x, w, bias, y, sums);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) linear_dgrad_3_tf32(
    Linear linear,
    const float* __restrict__ dy,  // (N, out)
    const float* __restrict__ w,   // (out, in)
    float* __restrict__ dx,        // (N, in)
    float* __restrict__ sums) {    // (splits, N, in)
  linear_dgrad<Tiled<Mma<float>>>(linear, dy, w, dx, sums);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) linear_wgrad_3_tf32(
    Linear linear,
    const float* __restrict__ x,   // (N, in)
    const float* __restrict__ dy,  // (N, out)
    float* __restrict__ dw,        // (out, in)
    float* __restrict__ dbias) {   // (out)
  linear_wgrad<Tiled<Mma<float>>>(linear, x, dy, dw, dbias);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) linear_fprop_3_bf16(
    Linear linear,
    const bf16* __restrict__ x,      // (N, in)
    const bf16* __restrict__ w,      // (out, in)
    const float* __restrict__ bias,  // (out)
    bf16* __restrict__ y,            // (N, out)
    float* __restrict__ sums) {      // (splits, N, out)
  linear_fprop<Tiled<Mma<bf16>>>(linear, x, w, bias, y, sums);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) linear_dgrad_3_bf16(
    Linear linear,
    const bf16* __restrict__ dy,  // (N, out)
    const bf16* __restrict__ w,   // (out, in)
    bf16* __restrict__ dx,        // (N, in)
    float* __restrict__ sums) {   // (splits, N, in)
  linear_dgrad<Tiled<Mma<bf16>>>(linear, dy, w, dx, sums);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) linear_wgrad_3_bf16(
    Linear linear,
    const bf16* __restrict__ x,   // (N, in)
    const bf16* __restrict__ dy,  // (N, out)
    float* __restrict__ dw,       // (out, in)
    float* __restrict__ dbias) {  // (out)
  linear_wgrad<Tiled<Mma<bf16>>>(linear, x, dy, dw, dbias);
}

extern "C" __global__ void linear_fprop_sum_2_f32(Linear linear,
    const float* __restrict__ sums,  // (splits, N, out)
    const float* __restrict__ bias,  // (out)
    float* __restrict__ y) {  // (N, out)
  linear_sum(linear, sums, linear.outputs, {bias, linear.relu != 0}, y);
}

extern "C" __global__ void linear_dgrad_sum_2_f32(Linear linear,
    const float* __restrict__ sums,  // (splits, N, in)
    float* __restrict__ dx) {  // (N, in)
  linear_sum(linear, sums, linear.inputs, {nullptr, false}, dx);
}

extern "C" __global__ void linear_fprop_sum_2_bf16(Linear linear,
    const float* __restrict__ sums,  // (splits, N, out)
    const float* __restrict__ bias,  // (out)
    bf16* __restrict__ y) {  // (N, out)
  linear_sum(linear, sums, linear.outputs, {bias, linear.relu != 0}, y);
}

extern "C" __global__ void linear_dgrad_sum_2_bf16(Linear linear,
    const float* __restrict__ sums,  // (splits, N, in)
    bf16* __restrict__ dx) {  // (N, in)
  linear_sum(linear, sums, linear.inputs, {nullptr, false}, dx);
}
