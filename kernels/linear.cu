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

#include "geometry/linear.cuh"
#include "product/matrix.cuh"
#include "product/multiply_fma.cuh"
#include "product/multiply_mma.cuh"
#include "product/product.cuh"

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

// y or dx = a b^T from this block's part of the depth; to `sums` where there are several.
template <class Engine, class A, class B, class T>
__device__ __forceinline__ void linear_product(const Linear& linear, const A& a, const B& b, Epilogue epilogue,
                                               T* __restrict__ to,          // (N, b.lines)
                                               float* __restrict__ sums) {  // (splits, N, b.lines)
  const int columns = b.lines, step0 = blockIdx.y * linear.split_steps;
  const int steps = min(linear.split_steps, (a.depths + Engine::kStepDepth - 1) / Engine::kStepDepth - step0);
  const Corner at = Engine::corner(columns);
  const auto* results = Engine::product(a, b, at, step0 * Engine::kStepDepth, steps, Ignore());
  if (!results) return;
  if (linear.splits > 1) {
    float* const part = sums + size_t(blockIdx.y) * linear.N * columns;
    store<Engine, float>(*results, at, columns, columns % kVector<float> == 0, {nullptr, false}, [&](int n) {
      return n < linear.N ? part + size_t(n) * columns : nullptr;
    });
  } else {
    store<Engine, T>(*results, at, columns, columns % kVector<T> == 0, epilogue, [&](int n) {
      return n < linear.N ? to + size_t(n) * columns : nullptr;
    });
  }
}

template <class Engine, class T>
__device__ __forceinline__ void linear_fprop(const Linear& linear, const T* __restrict__ x, const T* __restrict__ w,
                                             const float* __restrict__ bias, T* __restrict__ y,
                                             float* __restrict__ sums) {
  const bool wide = linear.inputs % kVector<T> == 0;
  const Matrix<T, false> a{x, linear.N, linear.inputs, linear.inputs, wide};
  const Matrix<T, false> b{w, linear.outputs, linear.inputs, linear.inputs, wide};
  linear_product<Engine>(linear, a, b, {bias, linear.relu != 0}, y, sums);
}

template <class Engine, class T>
__device__ __forceinline__ void linear_dgrad(const Linear& linear, const T* __restrict__ dy, const T* __restrict__ w,
                                             T* __restrict__ dx, float* __restrict__ sums) {
  const Matrix<T, false> a{dy, linear.N, linear.outputs, linear.outputs, linear.outputs % kVector<T> == 0};
  const Matrix<T, true> b{w, linear.inputs, linear.outputs, linear.inputs, linear.inputs % kVector<T> == 0};
  linear_product<Engine>(linear, a, b, {nullptr, false}, dx, sums);
}

template <class Engine, class T>
__device__ __forceinline__ void linear_wgrad(const Linear& linear, const T* __restrict__ x, const T* __restrict__ dy,
                                             float* __restrict__ dw, float* __restrict__ dbias) {
  const Matrix<T, true> a{dy, linear.outputs, linear.N, linear.outputs, linear.outputs % kVector<T> == 0};
  const Matrix<T, true> b{x, linear.inputs, linear.N, linear.inputs, linear.inputs % kVector<T> == 0};
  const Corner at = Engine::corner(linear.inputs);
  LineSum sum{at.column == 0};
  const int steps = (linear.N + Engine::kStepDepth - 1) / Engine::kStepDepth;
  const auto* results = Engine::product(a, b, at, 0, steps, sum);
  if (!results) return;
  store<Engine, float>(*results, at, linear.inputs, linear.inputs % kVector<float> == 0, {nullptr, false}, [&](int o) {
    return o < linear.outputs ? dw + size_t(o) * linear.inputs : nullptr;
  });
  sum.store(dbias, at.row, linear.outputs, Engine::thread(), Engine::Out::kRows);
}

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
