// A product on Hopper (sm_90a): one warpgroup gathers, two multiply.
//
// The first warpgroup's copies go round kWgmmaStages buffers. A barrier tells when one is full, another
// when both others are done with it, so nobody waits for all threads: the copies run ahead by as many
// buffers as there are. The tile is 128 x N, each of the two multiplying warpgroups having 64 rows;
// 64 depths are four products for each. N is chosen by the launcher, so that the tiles fill the GPU.
#pragma once

#include "product/product.cuh"
#include "product/swizzled.cuh"
#include "wgmma.cuh"

constexpr int kWgmmaThreads = 384, kWarpgroup = 128, kWgmmaStages = 4;
// Registers of a thread that gathers, and of one that multiplies: 168 each at the launch.
constexpr int kGathering = 136, kMultiplying = 184;

template <int N, bool a_across, bool b_across>
struct WgmmaStage {
  Swizzled<128, a_across> a;
  Swizzled<N, b_across> b;
};

struct Ring {
  mbarrier full[kWgmmaStages], empty[kWgmmaStages];
};

template <int N>
struct Wgmma {
  using Number = bf16;
  using Out = Results<128, N>;
  static constexpr int kStepDepth = 64, kStorers = kWgmmaThreads - kWarpgroup;

  // Who this thread is among those that multiply, and that store.
  static __device__ __forceinline__ int thread() { return int(threadIdx.x) - kWarpgroup; }
  static __device__ __forceinline__ Corner corner(int columns) { return ::corner<128, N>(columns); }

  // The block's sums over depths depth0 .. depth0 + 64 steps, complete for the threads that multiply;
  // null for those that gather. `observe` sees every tile of a; `finish` makes of a sum what is kept of it.
  template <class A, class B, class Observe, class Finish = AsItIs>
  static __device__ __forceinline__ Out* product(const A& a, const B& b, Corner at, int depth0, int steps,
                                                 Observe&& observe, Finish finish = {}) {
    using Buffers = WgmmaStage<N, A::across, B::across>;
    Buffers* stages = dynamic_shared<Buffers>();
    Ring& ring = shared<Ring>();
    if (threadIdx.x == 0) {
#pragma unroll
      for (int i = 0; i < kWgmmaStages; i++) {
        mbarrier_init(ring.full[i], kWarpgroup);
        mbarrier_init(ring.empty[i], kStorers / 32);
      }
    }
    __syncthreads();
    if (threadIdx.x < kWarpgroup) {
      registers_release<kGathering>();
      gather(a, b, at, depth0, steps, stages, ring);
      return nullptr;
    }
    registers_claim<kMultiplying>();
    WgmmaSums<N> sums;
    multiply<A::across, B::across>(sums, min(a.depths - depth0, steps * kStepDepth), stages, ring, observe);
    named_barrier_sync(1, kStorers);  // Both are done with the buffers, and the copies have all come.
    Out* results = dynamic_shared<Out>();
    each(sums, [&](int row, int column, float sum) { results->at[row][column] = finish(row, column, sum); });
    named_barrier_sync(1, kStorers);
    return results;
  }

 private:
  template <class A, class B, class Buffers>
  static __device__ __forceinline__ void gather(const A& a, const B& b, Corner at, int depth0, int steps,
                                                Buffers* stages, Ring& ring) {
    const Loader<A, Swizzled<128, A::across>, kWarpgroup> loader_a(a, at.row);
    const Loader<B, Swizzled<N, B::across>, kWarpgroup> loader_b(b, at.column);
    const bool by_elements = a.together == 1 || b.together == 1;
    for (int step = 0; step < steps; step++) {
      const int i = step % kWgmmaStages;
      if (step >= kWgmmaStages) mbarrier_wait(ring.empty[i], (step / kWgmmaStages - 1) % 2);
      loader_a.load(stages[i].a, depth0 + step * kStepDepth);
      loader_b.load(stages[i].b, depth0 + step * kStepDepth);
      if (by_elements) {
        // Single elements are ordinary stores: an arrival that only waits for copies would not take them along.
        cp_async_commit();
        cp_async_wait<0>();
        mbarrier_arrive(ring.full[i]);
      } else {
        cp_async_arrive(ring.full[i]);
      }
    }
  }

  // Sums over `depths` depths: of the last step, the products of 16 that have any.
  template <bool a_across, bool b_across, class Buffers, class Observe>
  static __device__ __forceinline__ void multiply(WgmmaSums<N>& sums, int depths, const Buffers* stages, Ring& ring,
                                                  Observe&& observe) {
    const int half = thread() / kWarpgroup;
    if (depths <= 0) return;
    // No way leads round the first step: where sums of zeros met sums under way, the compiler would
    // have each product wait for the one before (ptxas, C7515).
    int step = 0;
    do {
      const int i = step % kWgmmaStages;
      mbarrier_wait(ring.full[i], step / kWgmmaStages % 2);
      fence_async();
      observe(stages[i].a, thread());
      const wgmma_operand a = operand<a_across>(stages[i].a).at(half * 64 * 128);
      const wgmma_operand b = operand<b_across>(stages[i].b);
      const auto k16 = [&](int k) {
        wgmma_k16_bf16<a_across, b_across>(sums, a.at(k * (a_across ? 2048 : 32)), b.at(k * (b_across ? 2048 : 32)));
      };
      const int left = depths - step * kStepDepth;
      if (left > kStepDepth - 16) {  // The same for all threads.
        wgmma_fence(sums);
#pragma unroll
        for (int k = 0; k < kStepDepth / 16; k++) k16(k);
      } else {
#pragma unroll 1
        for (int k = 0; 16 * k < left; k++) {
          wgmma_fence(sums);
          k16(k);
        }
      }
      wgmma_commit(sums);
      // One group may still run: the one before is done with its buffer. Each warp says so for itself,
      // as nothing else keeps the warps of a warpgroup together.
      wgmma_wait<1>(sums);
      if (step > 0 && threadIdx.x % 32 == 0) mbarrier_arrive(ring.empty[(step - 1) % kWgmmaStages]);
    } while (++step * kStepDepth < depths);
    wgmma_wait<0>(sums);
  }

  template <bool across, class Operand>
  static __device__ __forceinline__ wgmma_operand operand(const Operand& tile) {
    return across ? wgmma_across(tile.bytes, Operand::kBlock) : wgmma_along(tile.bytes);
  }

  template <class Write>
  static __device__ __forceinline__ void each(const WgmmaSums<N>& sums, Write write) {
    const int lane = threadIdx.x % 32, row = thread() / 32 * 16 + lane / 4, column = lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) write(row + e / 2 * 8, 8 * j + column + e % 2, sums.c[4 * j + e]);
    }
  }
};
