// A product on Hopper (sm_90a) by bulk copies: one thread copies, two warpgroups multiply and store.
//
// Blocks stay: each takes units of work, blockIdx.x, then gridDim.x further. The copying thread runs ahead,
// into the next unit too, as far as the ring of stages allows; the results of a unit leave through buffers
// of their own, so their way to memory overlaps the next unit's products. The tile is 128 x N as that of
// Wgmma (product/multiply_wgmma.cuh), each multiplying warpgroup having 64 rows.
//
// A stage holds 128 bytes of depth of every line: 64 depths in bf16, 32 in tf32. Along the depth they come
// as one piece, rows of 128 bytes, or as two, one behind the other, of 64: what a tap's channels divide into.
// A piece behind the last is copied too, from outside the array: zeros, which cost no memory traffic, where a
// branch around its products would keep the compiler from issuing them together.
#pragma once

#include "product/product.cuh"
#include "wgmma.cuh"

constexpr int kTmaThreads = 384, kTmaConsumers = 256;
// Registers of a thread that copies, and of one that multiplies: 168 each at the launch.
constexpr int kCopying = 40, kConsuming = 232;
// Bytes of depth of a line in a stage, and of a product of the tensor cores.
constexpr int kStageDepth = 128, kProductDepth = 32;

// As many as fit beside the results.
template <int N>
constexpr int kTmaStages = N <= 128 ? 6 : 4;

// Columns of the results that leave at once.
template <int N>
constexpr int kStoreColumns = N % 64 == 0 ? 64 : 32;

template <int N>
struct TmaBuffers {
  struct __align__(1024) Stage {
    unsigned char a[128 * kStageDepth];
    unsigned char b[(N + 63) / 64 * 64 * kStageDepth];
  };
  Stage stages[kTmaStages<N>];
  // Of each warpgroup, in turn: 64 rows of kStoreColumns in bf16, swizzled as their copies want it.
  unsigned char results[2][2][64 * kStoreColumns<N> * 2];
};

template <int N>
struct TmaRing {
  mbarrier full[kTmaStages<N>], empty[kTmaStages<N>];
};

// A part of the work. `product`: which of several of the same shape, in dgrad a parity of a group.
struct Unit {
  int product, row, column;
  int step0, steps;
  // Where a part of a sum goes; -1 for a whole one.
  int part;
};

// An operand in a stage: where the depths of product k begin, and how the tensor cores are to read it.
// Along: `lines` rows. Across: blocks of row_bytes / 2 lines, each of 64 depths.
template <bool across>
struct Staged {
  int lines, row_bytes;

  __device__ __forceinline__ wgmma_operand operand(const unsigned char* at) const {
    return across ? wgmma_across(at, 64 * row_bytes, row_bytes) : wgmma_along(at, row_bytes);
  }
  __device__ __forceinline__ int depth(int k) const {
    if (across) return k * 16 * row_bytes;
    return row_bytes == kStageDepth ? k * kProductDepth : k / 2 * lines * row_bytes + k % 2 * kProductDepth;
  }
  // Of the lines from 64 on.
  __device__ __forceinline__ int half() const { return across ? 64 * kStageDepth : 64 * row_bytes; }
};

// A place in the ring, and how often it has been round.
template <int N>
struct Turn {
  int stage = 0;
  unsigned parity = 0;

  __device__ __forceinline__ void next() {
    if (++stage < kTmaStages<N>) return;
    stage = 0, parity ^= 1;
  }
};

template <class T, bool a_across, bool b_across, int N>
__device__ __forceinline__ void multiply(WgmmaSums<N>& sums, wgmma_operand a, wgmma_operand b) {
  if constexpr (sizeof(T) == 2) {
    wgmma_k16_bf16<a_across, b_across>(sums, a, b);
  } else {
    static_assert(!a_across && !b_across, "tf32 is multiplied along its rows alone");
    wgmma_k8_tf32(sums, a, b);
  }
}

// `Work` says what there is to do, as conv/by_tma.cuh has it:
//
//   Number, a_across, b_across   the operands
//   units(), unit(u)             the units
//   a(), b()                     how they stand in a stage (Staged)
//   load(unit, step, a, b, full) issues a stage's copies, having told `full` what to expect
//   observe(unit, a)             sees every stage's a while it is multiplied; by each consumer
//   finish(unit, sums, ...)      takes the sums to memory
template <int N, class Work>
struct ByTma {
  using T = typename Work::Number;

  static __device__ __forceinline__ void run(Work& work) {
    TmaBuffers<N>* const buffers = dynamic_shared<TmaBuffers<N>>();
    TmaRing<N>& ring = shared<TmaRing<N>>();
    if (threadIdx.x == 0) {
#pragma unroll
      for (int i = 0; i < kTmaStages<N>; i++) {
        mbarrier_init(ring.full[i], 1);
        mbarrier_init(ring.empty[i], kTmaConsumers / 32);
      }
      fence_barriers();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
      registers_release<kCopying>();
      if (threadIdx.x == 0) copy(work, *buffers, ring);
    } else {
      registers_claim<kConsuming>();
      consume(work, *buffers, ring);
    }
  }

 private:
  static __device__ __forceinline__ void copy(Work& work, TmaBuffers<N>& buffers, TmaRing<N>& ring) {
    Turn<N> turn;
    bool again = false;  // Whether the stages have been used before.
    for (int u = blockIdx.x; u < work.units(); u += gridDim.x) {
      const Unit unit = work.unit(u);
      for (int step = 0; step < unit.steps; step++) {
        if (again) mbarrier_wait(ring.empty[turn.stage], turn.parity ^ 1);
        auto& stage = buffers.stages[turn.stage];
        work.load(unit, unit.step0 + step, stage.a, stage.b, ring.full[turn.stage]);
        again |= turn.stage + 1 == kTmaStages<N>;
        turn.next();
      }
    }
  }

  static __device__ __forceinline__ void consume(Work& work, TmaBuffers<N>& buffers, TmaRing<N>& ring) {
    const int half = threadIdx.x / 128 - 1;
    const auto a = work.a();
    const auto b = work.b();
    Turn<N> turn;
    int stores = 0;
    for (int u = blockIdx.x; u < work.units(); u += gridDim.x) {
      const Unit unit = work.unit(u);
      WgmmaSums<N> sums;
      int previous = -1;
      for (int step = 0; step < unit.steps; step++) {
        const auto& stage = buffers.stages[turn.stage];
        mbarrier_wait(ring.full[turn.stage], turn.parity);
        const wgmma_operand left = a.operand(stage.a).at(half * a.half()), right = b.operand(stage.b);
        wgmma_fence(sums);
#pragma unroll
        for (int k = 0; k < kStageDepth / kProductDepth; k++) {
          multiply<T, Work::a_across, Work::b_across>(sums, left.at(a.depth(k)), right.at(b.depth(k)));
        }
        wgmma_commit(sums);
        work.observe(unit, stage.a);
        // One group may still run: the one before is done with its stage. Each warp says so for itself.
        wgmma_wait<1>(sums);
        if (previous >= 0 && threadIdx.x % 32 == 0) mbarrier_arrive(ring.empty[previous]);
        previous = turn.stage;
        turn.next();
      }
      wgmma_wait<0>(sums);
      if (previous >= 0 && threadIdx.x % 32 == 0) mbarrier_arrive(ring.empty[previous]);
      work.finish(unit, sums, half, buffers.results[half], stores);
    }
    if (threadIdx.x % 128 == 0) bulk_wait_read<0>();
  }
};

// ---------------------------------------------------------------------------
// Results to memory

// Visits a thread's sums in pairs of columns: each(row of the tile's 64, column, first, second).
template <int N, class Each>
__device__ __forceinline__ void each_pair(const WgmmaSums<N>& sums, int column0, int columns, Each each) {
  const int lane = threadIdx.x % 32, row = threadIdx.x % 128 / 32 * 16 + lane / 4, column = lane % 4 * 2;
#pragma unroll
  for (int j = 0; j < N / 8; j++) {
    if (8 * j < column0 || 8 * j >= column0 + columns) continue;  // Known when compiled.
#pragma unroll
    for (int i = 0; i < 2; i++) each(row + 8 * i, 8 * j + column, sums.c[4 * j + 2 * i], sums.c[4 * j + 2 * i + 1]);
  }
}

// Two neighbours of a row that has `left` more columns; `even`: pairs are aligned in every row.
__device__ __forceinline__ void store_pair(float* to, float first, float second, int left, bool even) {
  if (even && left > 1) {
    *reinterpret_cast<float2*>(to) = make_float2(first, second);
  } else {
    if (left > 0) to[0] = first;
    if (left > 1) to[1] = second;
  }
}

// A warpgroup's 64 rows of bf16, kStoreColumns at a time through its two buffers: `leave` takes each
// buffer's content away, (buffer, first column). value(column, first, second) finishes a pair.
template <int N, class Value, class Leave>
__device__ __forceinline__ void store_through(const WgmmaSums<N>& sums, int half, unsigned char (*buffers)[64 * kStoreColumns<N> * 2],
                                              int& stores, Value value, Leave leave) {
  constexpr int kColumns = kStoreColumns<N>, kRow = kColumns * 2;
#pragma unroll
  for (int column0 = 0; column0 < N; column0 += kColumns) {
    unsigned char* const buffer = buffers[stores++ % 2];
    if (threadIdx.x % 128 == 0) bulk_wait_read<1>();  // The store before the last has read this buffer.
    named_barrier_sync(1 + half, 128);
    each_pair(sums, column0, kColumns, [&](int row, int column, float first, float second) {
      value(column, first, second);
      const int bytes = (column - column0) * 2, swizzle = kRow == 128 ? row % 8 : row / 2 % 4;
      *reinterpret_cast<unsigned*>(buffer + row * kRow + ((bytes / 16 ^ swizzle) * 16) + bytes % 16) =
          pack(from_f32<bf16>(first), from_f32<bf16>(second));
    });
    fence_async();
    named_barrier_sync(1 + half, 128);
    leave(buffer, column0);
  }
}
