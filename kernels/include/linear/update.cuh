// The weight gradient of a linear layer and the update of its parameters, over any engine that multiplies:
// kernels/linear_sgd.cu.
#pragma once

#include "geometry/linear_sgd.cuh"
#include "linear/products.cuh"
#include "sgd.cuh"

// Vectors of w and v that a thread asks for before it uses the first: a block that fills a multiprocessor by
// itself has no other block's loads to wait with.
constexpr int kUnderWay = 4;

// Four neighbours of a row of w: they and their v are updated by g, and copied in bf16 where there is a copy.
struct Four {
  const float* g;
  size_t at;
  int there;  // of the four; 0 for a place outside w
};

// Where number i of a tile's vectors lies.
template <class Engine>
__device__ __forceinline__ Four four_of(const Linear& linear, const typename Engine::Out& results, Corner at, int i) {
  constexpr int kVectors = Engine::Out::kColumns / 4;
  const int row = i / kVectors, first = i % kVectors * 4, o = at.row + row, column = at.column + first;
  const bool inside = row < Engine::Out::kRows && o < linear.outputs;
  return {&results.at[inside ? row : 0][first], size_t(o) * linear.inputs + column,
          inside ? max(min(linear.inputs - column, 4), 0) : 0};
}

// Rows of 16 bytes: kUnderWay vectors at a time.
template <class Engine>
__device__ __forceinline__ void update_wide(const Linear& linear, const Scalars& step, float decay,
                                            const typename Engine::Out& results, Corner at, float* __restrict__ w,
                                            float* __restrict__ v, bf16* __restrict__ copy) {
  constexpr int kAll = Engine::Out::kRows * Engine::Out::kColumns / 4;
  for (int first = Engine::thread(); first < kAll; first += kUnderWay * Engine::kStorers) {
    Four fours[kUnderWay];
    Vector<float, 4> ws[kUnderWay], vs[kUnderWay];
#pragma unroll
    for (int j = 0; j < kUnderWay; j++) {
      fours[j] = four_of<Engine>(linear, results, at, first + j * Engine::kStorers);
      if (fours[j].there) ws[j] = load<4>(w + fours[j].at), vs[j] = load<4>(v + fours[j].at);
    }
#pragma unroll
    for (int j = 0; j < kUnderWay; j++) {
      if (!fours[j].there) continue;
      descend(step, decay, load<4>(fours[j].g), vs[j], ws[j]);
      store(v + fours[j].at, vs[j]);
      store(w + fours[j].at, ws[j]);
      if (copy) store(copy + fours[j].at, from_f32<bf16>(ws[j]));
    }
  }
}

// Rows that are not whole vectors, element by element.
template <class Engine>
__device__ __forceinline__ void update_narrow(const Linear& linear, const Scalars& step, float decay,
                                              const typename Engine::Out& results, Corner at, float* __restrict__ w,
                                              float* __restrict__ v, bf16* __restrict__ copy) {
  constexpr int kAll = Engine::Out::kRows * Engine::Out::kColumns / 4;
  for (int i = Engine::thread(); i < kAll; i += Engine::kStorers) {
    const Four four = four_of<Engine>(linear, results, at, i);
    for (int j = 0; j < four.there; j++) {
      const size_t k = four.at + j;
      descend(step, decay, four.g[j], v[k], w[k]);
      if (copy) copy[k] = from_f32<bf16>(w[k]);
    }
  }
}

// `copy` is null where weights have none.
template <class Engine, class T>
__device__ __forceinline__ void linear_sgd_wgrad(const LinearSgd& both, const Scalars* __restrict__ scalars,
                                                 const T* __restrict__ x, const T* __restrict__ dy,
                                                 float* __restrict__ w, float* __restrict__ v,
                                                 bf16* __restrict__ copy, float* __restrict__ bias,
                                                 float* __restrict__ bias_v) {
  const Linear& linear = both.linear;
  const Corner at = Engine::corner(linear.inputs);
  LineSum sum{at.column == 0};
  const auto* results = linear_wgrad_sums<Engine>(linear, x, dy, at, sum);
  if (!results) return;
  const Scalars step = *scalars;
  const float decay = both.decays ? step.weight_decay : 0.0f;
  if (linear.inputs % 4 == 0) {
    update_wide<Engine>(linear, step, decay, *results, at, w, v, copy);
  } else {
    update_narrow<Engine>(linear, step, decay, *results, at, w, v, copy);
  }
  const int o = at.row + Engine::thread();
  if (sum.wanted && Engine::thread() < Engine::Out::kRows && o < linear.outputs) {
    descend(step, both.bias_decays ? step.weight_decay : 0.0f, sum.sum, bias_v[o], bias[o]);
  }
}
