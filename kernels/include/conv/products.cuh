// The three products of a convolution, over any engine that multiplies (Tiled of product/product.cuh,
// Wgmma of product/multiply_wgmma.cuh): what lies where, and what becomes of the sums.
#pragma once

#include "conv/gather.cuh"
#include "product/matrix.cuh"
#include "product/product.cuh"

template <class Engine, class T>
__device__ __forceinline__ void conv_fprop(const Conv& conv, const T* __restrict__ x, const T* __restrict__ w,
                                           const float* __restrict__ bias, T* __restrict__ y) {
  const int group = blockIdx.z, k0 = group * conv.group_K;
  const int pixels = conv.N * conv.by_PQ.value, depths = conv.R * conv.by_SC.value;
  const FpropImage<T> a{conv, pixels, depths, x + group * conv.group_C, together<T>(conv.group_C)};
  // Beyond the depth there are zeros up to the next filter, if anything: 16 bytes may reach into them.
  const Matrix<T, false> b{w + size_t(k0) * conv.filter_pitch, conv.group_K, depths, conv.filter_pitch,
                           together<T>(conv.filter_pitch)};
  const Corner at = Engine::corner(conv.group_K);
  const auto* results = Engine::product(a, b, at, 0, (depths + Engine::kStepDepth - 1) / Engine::kStepDepth, Ignore());
  if (!results) return;
  store<Engine, T>(*results, at, conv.group_K, conv.group_K % kVector<T> == 0, {bias + k0, conv.relu != 0}, [&](int row) {
    return row < pixels ? y + size_t(row) * conv.K + k0 : nullptr;
  });
}

template <class Engine, class T>
__device__ __forceinline__ void conv_dgrad(const Conv& conv, const T* __restrict__ dy, const T* __restrict__ w,
                                           T* __restrict__ dx) {
  const int group = blockIdx.z, k0 = group * conv.group_K, c0 = group * conv.group_C;
  const Parities parity(conv, blockIdx.y);
  const int pixels = conv.N * conv.by_parity_HW.value, depths = parity.depths(conv);
  const int run = together<T>(conv.group_C);
  const DgradImage<T> a{conv, parity, pixels, depths, dy + k0, together<T>(conv.group_K)};
  const DgradFilter<T> b{conv, parity, conv.group_C, depths, w + size_t(k0) * conv.filter_pitch, run};
  const Corner at = Engine::corner(conv.group_C);
  // Without a tap there is no step, and dx is 0.
  const int steps = (depths + Engine::kStepDepth - 1) / Engine::kStepDepth;
  const auto* results = Engine::product(a, b, at, 0, steps, Ignore());
  if (!results) return;
  store<Engine, T>(*results, at, conv.group_C, run == kVector<T>, {nullptr, false}, [&](int row) -> T* {
    if (row >= pixels) return nullptr;
    const ParityRow index = parity_row(conv, row);
    const int h = parity.h.first + index.i * conv.stride, column = parity.w.first + index.j * conv.stride;
    if (h >= conv.H || column >= conv.W) return nullptr;
    return dx + ((size_t(index.n) * conv.H + h) * conv.W + column) * conv.C + c0;
  });
}

template <class Engine, class T>
__device__ __forceinline__ void conv_wgrad(const Conv& conv, const T* __restrict__ x, const T* __restrict__ dy,
                                           float* __restrict__ dw, float* __restrict__ dbias,
                                           float* __restrict__ sums) {
  const int group = blockIdx.z, split = blockIdx.y, k0 = group * conv.group_K, columns = conv.R * conv.by_SC.value;
  const int pixels = conv.N * conv.by_PQ.value;
  const Matrix<T, true> a{dy + k0, conv.group_K, pixels, conv.K, together<T>(conv.group_K)};
  const WgradImage<T> b{conv, columns, pixels, x + group * conv.group_C, together<T>(conv.group_C)};
  const Corner at = Engine::corner(columns);
  const int step0 = split * conv.split_steps, all = (pixels + Engine::kStepDepth - 1) / Engine::kStepDepth;
  const int steps = min(conv.split_steps, all - step0);
  if (conv.split_pitch > 0) {
    dw = sums + size_t(split) * conv.split_pitch;
    dbias = dw + size_t(conv.K) * columns;
  }
  LineSum sum{at.column == 0};
  const auto* results = Engine::product(a, b, at, step0 * Engine::kStepDepth, steps, sum);
  if (!results) return;
  store<Engine, float>(*results, at, columns, columns % kVector<float> == 0, {nullptr, false}, [&](int row) {
    return row < conv.group_K ? dw + size_t(k0 + row) * columns : nullptr;
  });
  sum.store(dbias + k0, at.row, conv.group_K, Engine::thread(), Engine::Out::kRows);
}
