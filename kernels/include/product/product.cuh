// The loop of every matrix product here, and the way its results take to memory.
//
// Tiles of both operands go round kStages buffers: while one is multiplied, copies fill the
// others. The results are laid out in the same shared memory, so that they are stored 16 bytes
// at a time, whichever thread holds them.
#pragma once

#include "product/tile.cuh"
#include "shared.cuh"

// Four stages of 20 KiB: two blocks fit a multiprocessor of an A100 or H100.
constexpr int kStages = 4;
// Bytes of dynamic shared memory; src/ops/product.rs gives them.
constexpr int kShared = 80 * 1024;
// Blocks that a multiprocessor is to hold at once, so that one computes while the other waits.
constexpr int kBlocks = 2;

template <class T, bool a_across, bool b_across>
struct __align__(128) Stage {
  Tile<T, a_across> a;
  Tile<T, b_across> b;
};

// Eight floats more than the banks: the lanes that hold a fragment write to different ones.
template <int rows, int columns>
struct Results {
  static constexpr int kRows = rows, kColumns = columns;
  float at[rows][columns + 8];
};

// The outputs of a block: blockIdx.x counts tiles along the columns first, so that blocks that
// run together share the rows of a, which are more than those of b.
struct Corner {
  int row, column;
};
template <int kRows, int kColumns>
__device__ __forceinline__ Corner corner(int columns) {
  const int tiles = (columns + kColumns - 1) / kColumns;
  return {int(blockIdx.x) / tiles * kRows, int(blockIdx.x) % tiles * kColumns};
}

// What a product does with the tiles of a beside multiplying them: nothing, or
struct Ignore {
  template <class A>
  __device__ __forceinline__ void operator()(const A&, int) const {}
};

// the sum of each line: with dy for a that is the bias's gradient. A thread a line, of those that
// multiply, in the blocks of the first column of tiles.
struct LineSum {
  bool wanted;
  float sum = 0.0f;

  template <class Operand>
  __device__ __forceinline__ void operator()(const Operand& a, int thread) {
    if (!wanted || thread >= Operand::kTileLines) return;
#pragma unroll 8
    for (int d = 0; d < Operand::kTileDepth; d++) sum += to_f32(*a.place(thread, d));
  }
  __device__ __forceinline__ void store(float* to, int line0, int lines, int thread, int tile_lines) const {
    if (wanted && thread < tile_lines && line0 + thread < lines) to[line0 + thread] = sum;
  }
};

// What becomes of a sum on its way from registers to shared memory: nothing, or what a kernel makes of it.
struct AsItIs {
  __device__ __forceinline__ float operator()(int /*row*/, int /*column*/, float sum) const { return sum; }
};

// A product by all threads of a block: each copies its share and multiplies its share.
template <class Core>
struct Tiled {
  using T = typename Core::Number;
  using Out = Results<kLines, kLines>;
  static constexpr int kStepDepth = kDepth<T>, kStorers = Core::kThreads;
  static_assert(sizeof(Out) <= kShared, "the results take the pipeline's place");

  // Who this thread is among those that multiply, and that store.
  static __device__ __forceinline__ int thread() { return threadIdx.x; }
  static __device__ __forceinline__ Corner corner(int columns) { return ::corner<kLines, kLines>(columns); }

  // The block's sums over depths depth0 .. depth0 + steps kStepDepth, complete for all threads.
  // `observe` sees every tile of a.
  template <class A, class B, class Observe>
  static __device__ __forceinline__ Out* product(const A& a, const B& b, Corner at, int depth0, int steps,
                                                 Observe&& observe) {
    using TileA = Tile<T, A::across>;
    using TileB = Tile<T, B::across>;
    using Buffers = Stage<T, A::across, B::across>;
    static_assert(kStages * sizeof(Buffers) <= kShared, "the launcher gives kShared bytes");
    Buffers* stages = dynamic_shared<Buffers>();
    const Loader<A, TileA, Core::kThreads> loader_a(a, at.row);
    const Loader<B, TileB, Core::kThreads> loader_b(b, at.column);
    const auto load = [&](int step) {
      if (step < steps) {
        Buffers& stage = stages[step % kStages];
        loader_a.load(stage.a, depth0 + step * kDepth<T>);
        loader_b.load(stage.b, depth0 + step * kDepth<T>);
      }
      cp_async_commit();  // Empty groups too: the wait counts them.
    };

    for (int step = 0; step < kStages - 1; step++) load(step);
    typename Core::template Sums<A::across, B::across> sums;
    for (int step = 0; step < steps; step++) {
      cp_async_wait<kStages - 2>();
      __syncthreads();  // All have this stage, and are done with the one that is loaded next.
      load(step + kStages - 1);
      const Buffers& stage = stages[step % kStages];
      observe(stage.a, thread());
      sums.add(stage.a, stage.b);
    }
    cp_async_wait<0>();
    __syncthreads();  // All are done with the stages.
    Out* results = dynamic_shared<Out>();
    sums.each([&](int row, int column, float sum) { results->at[row][column] = sum; });
    __syncthreads();
    return results;
  }
};

// ---------------------------------------------------------------------------
// Results to memory

__device__ __forceinline__ void store_vector(float* to, const float (&v)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
}
__device__ __forceinline__ void store_vector(bf16* to, const float (&v)[8]) {
  unsigned pairs[4];
#pragma unroll
  for (int i = 0; i < 4; i++) pairs[i] = pack(from_f32<bf16>(v[2 * i]), from_f32<bf16>(v[2 * i + 1]));
  *reinterpret_cast<uint4*>(to) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// max(v, 0), but NaN stays NaN.
__device__ __forceinline__ float rectify(float v) { return v < 0.0f ? 0.0f : v; }

// What becomes of a sum.
struct Epilogue {
  const float* bias;  // (columns), or null
  bool relu;
};
__device__ __forceinline__ float finish(const Epilogue& epilogue, float sum, float bias) {
  return epilogue.relu ? rectify(sum + bias) : sum + bias;
}

// Row `at.row + i` of the results goes to row_at(at.row + i), `columns` long, null for none.
// `wide`: columns and rows allow for 16 bytes at a time.
template <class Engine, class T, class RowAt>
__device__ __forceinline__ void store(const typename Engine::Out& results, Corner at, int columns, bool wide,
                                      Epilogue epilogue, RowAt row_at) {
  constexpr int kVectors = Engine::Out::kColumns / kVector<T>;
  for (int i = Engine::thread(); i < Engine::Out::kRows * kVectors; i += Engine::kStorers) {
    const int row = i / kVectors, first = i % kVectors * kVector<T>, column = at.column + first;
    T* const to = row_at(at.row + row);
    if (!to || column >= columns) continue;
    float v[kVector<T>];
#pragma unroll
    for (int j = 0; j < kVector<T>; j++) {
      const float bias = epilogue.bias && column + j < columns ? epilogue.bias[column + j] : 0.0f;
      v[j] = finish(epilogue, results.at[row][first + j], bias);
    }
    if (wide) {
      store_vector(to + column, v);
    } else {
#pragma unroll
      for (int j = 0; j < kVector<T>; j++) {
        if (column + j < columns) to[column + j] = from_f32<T>(v[j]);
      }
    }
  }
}
