// Deliberately wrong kernels: each makes the mistake that its name tells, and
// tests/emulator.rs wants the emulator to name the kernel, the block and the thread.

#include "cp_async.cuh"
#include "mbarrier.cuh"
#include "shared.cuh"

extern "C" __global__ void wrong_read_past_end(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i + 16];
}

extern "C" __global__ void wrong_write_past_end(float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) y[i] = 1.0f;
}

extern "C" __global__ void wrong_write_before_start(float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i - 1] = 1.0f;
}

extern "C" __global__ void wrong_index_far_away(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i * 100003];
}

// y is read before anyone wrote it.
extern "C" __global__ void wrong_read_unwritten(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] += x[i];
}

struct Tile {
  float x[64];
};

extern "C" __global__ void wrong_read_unwritten_shared(float* y) {
  Tile& tile = shared<Tile>();
  if (threadIdx.x != 5) tile.x[threadIdx.x] = 1.0f;
  __syncthreads();
  y[threadIdx.x] = tile.x[threadIdx.x];
}

extern "C" __global__ void wrong_shared_past_end(float* y) {
  float* x = dynamic_shared<float>();
  x[threadIdx.x + 1] = 1.0f;
  __syncthreads();
  y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void wrong_index_outside_array(float* y, int i) {
  Tile& tile = shared<Tile>();
  tile.x[i] = 1.0f;
  y[threadIdx.x] = tile.x[i];
}

extern "C" __global__ void wrong_misaligned(const float* x, float* y) {
  const float4 v = reinterpret_cast<const float4*>(x + threadIdx.x)[0];
  y[threadIdx.x] = v.x;
}

extern "C" __global__ void wrong_barrier_skipped(float* y, int n) {
  const int i = threadIdx.x;
  if (i >= n) return;
  y[i] = 0.0f;
  __syncthreads();
}

extern "C" __global__ void wrong_barriers_differ(float* y) {
  if (threadIdx.x < 32) {
    __syncthreads();
    y[threadIdx.x] = 0.0f;
  } else {
    y[threadIdx.x] = 1.0f;
    __syncthreads();
  }
}

extern "C" __global__ void wrong_shuffle_in_branch(float* y) {
  float v = float(threadIdx.x);
  if (threadIdx.x % 2) {
    v = __shfl_xor_sync(0xffffffff, v, 2);
  } else {
    v = __shfl_down_sync(0xffffffff, v, 2);
  }
  y[threadIdx.x] = v;
}

extern "C" __global__ void wrong_shuffle_skipped(float* y, int n) {
  float v = float(threadIdx.x);
  if (int(threadIdx.x) < n) v = __shfl_xor_sync(0xffffffff, v, 1);
  y[threadIdx.x] = v;
}

extern "C" __global__ void wrong_shuffle_outside_mask(float* y) {
  float v = float(threadIdx.x);
  if (threadIdx.x < 16) v = __shfl_xor_sync(0x0000ffff, v, 16);
  y[threadIdx.x] = v;
}

// A barrier is missing between the write and the read.
extern "C" __global__ void wrong_race_in_shared(float* y) {
  Tile& tile = shared<Tile>();
  tile.x[threadIdx.x] = 1.0f;
  __syncthreads();
  const float left = tile.x[(threadIdx.x + 63) % 64];
  tile.x[threadIdx.x] = left + 1.0f;
  y[threadIdx.x] = tile.x[(threadIdx.x + 1) % 64];
}

// Each warp leaves its sum for the other one, time after time; a warp that is ahead overwrites what the
// other has yet to read. In lockstep nothing happens: the shuffles keep the warps apart.
extern "C" __global__ void wrong_race_of_warps(float* y) {
  Tile& tile = shared<Tile>();
  float sum = 0.0f;
  for (int time = 0; time < 16; time++) {
    float v = float(threadIdx.x + 100 * time);
    for (int distance = 16; distance > 0; distance /= 2) v += __shfl_xor_sync(0xffffffffu, v, distance);
    if (threadIdx.x % 32 == 0) tile.x[threadIdx.x / 32] = v;
    __syncthreads();
    sum += tile.x[1 - threadIdx.x / 32];
  }
  y[threadIdx.x] = sum;
}

// Blocks that write the same element: the last one wins.
extern "C" __global__ void wrong_race_of_blocks(unsigned* y) { y[0] = blockIdx.x; }

extern "C" __global__ void wrong_copy_without_wait(const float* x, float* y) {
  Tile& tile = shared<Tile>();
  cp_async<4>(&tile.x[threadIdx.x], x + threadIdx.x);
  cp_async_commit();
  __syncthreads();
  y[threadIdx.x] = tile.x[threadIdx.x];
}

extern "C" __global__ void wrong_large_frame(float* y, int i) {
  float big[64 * 1024];
  for (int j = 0; j < 64 * 1024; j++) big[j] = y[j % 64];
  y[threadIdx.x] = big[i] + big[i / 2];
}

struct Gate {
  mbarrier barrier;
};

// 33 arrivals are expected, 32 threads arrive.
extern "C" __global__ void wrong_phase_never_completes(float* y) {
  Gate& gate = shared<Gate>();
  if (threadIdx.x == 0) mbarrier_init(gate.barrier, 33);
  __syncthreads();
  mbarrier_arrive(gate.barrier);
  mbarrier_wait(gate.barrier, 0);
  y[threadIdx.x] = 0.0f;
}

extern "C" __global__ void wrong_mbarrier_without_init(float* y) {
  Gate& gate = shared<Gate>();
  mbarrier_arrive(gate.barrier);
  y[threadIdx.x] = 0.0f;
}
