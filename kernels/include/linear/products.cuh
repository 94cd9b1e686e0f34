// The three products of a linear layer, over any engine that multiplies (Tiled of product/product.cuh,
// Wgmma of product/multiply_wgmma.cuh).
#pragma once

#include "geometry/linear.cuh"
#include "product/matrix.cuh"
#include "product/product.cuh"

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
  const int run = together<T>(linear.inputs);
  const Matrix<T, false> a{x, linear.N, linear.inputs, linear.inputs, run};
  const Matrix<T, false> b{w, linear.outputs, linear.inputs, linear.inputs, run};
  linear_product<Engine>(linear, a, b, {bias, linear.relu != 0}, y, sums);
}

template <class Engine, class T>
__device__ __forceinline__ void linear_dgrad(const Linear& linear, const T* __restrict__ dy, const T* __restrict__ w,
                                             T* __restrict__ dx, float* __restrict__ sums) {
  const Matrix<T, false> a{dy, linear.N, linear.outputs, linear.outputs, together<T>(linear.outputs)};
  const Matrix<T, true> b{w, linear.inputs, linear.outputs, linear.inputs, together<T>(linear.inputs)};
  linear_product<Engine>(linear, a, b, {nullptr, false}, dx, sums);
}

// dw of this block's outputs and inputs, for the threads that store; `sum` has db.
template <class Engine, class T>
__device__ __forceinline__ const typename Engine::Out* linear_wgrad_sums(const Linear& linear,
                                                                         const T* __restrict__ x,
                                                                         const T* __restrict__ dy, Corner at,
                                                                         LineSum& sum) {
  const Matrix<T, true> a{dy, linear.outputs, linear.N, linear.outputs, together<T>(linear.outputs)};
  const Matrix<T, true> b{x, linear.inputs, linear.N, linear.inputs, together<T>(linear.inputs)};
  const int steps = (linear.N + Engine::kStepDepth - 1) / Engine::kStepDepth;
  return Engine::product(a, b, at, 0, steps, sum);
}

template <class Engine, class T>
__device__ __forceinline__ void linear_wgrad(const Linear& linear, const T* __restrict__ x, const T* __restrict__ dy,
                                             float* __restrict__ dw, float* __restrict__ dbias) {
  const Corner at = Engine::corner(linear.inputs);
  LineSum sum{at.column == 0};
  const auto* results = linear_wgrad_sums<Engine>(linear, x, dy, at, sum);
  if (!results) return;
  store<Engine, float>(*results, at, linear.inputs, linear.inputs % kVector<float> == 0, {nullptr, false}, [&](int o) {
    return o < linear.outputs ? dw + size_t(o) * linear.inputs : nullptr;
  });
  sum.store(dbias, at.row, linear.outputs, Engine::thread(), Engine::Out::kRows);
}
