// What a kernel needs of the emulator: these functions stand in
// src/device/emulator/hooks.rs. Each emulated thread is a fiber; a block's fibers
// share one thread of the operating system, so nothing here needs a lock.
#pragma once

#include <cstddef>
#include <cstdint>

struct uint3 {
  unsigned x, y, z;
};

namespace emulator {

// A line of source, for messages. As a default argument it names the caller's line.
struct Place {
  const char* file;
  int line;
  static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return Place{file, line};
  }
};

// Who a thread is. One for each emulated thread, constant while it runs.
struct Identity {
  uint3 thread, block, block_size, grid_size;
  unsigned lane;
};

// An operation that the lanes of a warp carry out together. The last lane to arrive
// runs `perform` over all of them: lanes[i] is lane i's argument, null outside the mask.
// It returns null, or why the operation is undefined.
struct Collective {
  const char* name;
  const char* (*perform)(void* const* lanes, uint32_t mask);
};

}  // namespace emulator

extern "C" {
// Constant within one fiber, so the compiler may keep the answer.
__attribute__((const)) const emulator::Identity* zfnet_emulator_identity();
// Waits until every lane of `mask` has called it with the same `collective`, mask and place.
void zfnet_emulator_meet(const emulator::Collective* collective, uint32_t mask, void* lane, const emulator::Place* place);
// Waits until `threads` threads of the block have called it with this `id` (0 with all of them: __syncthreads).
void zfnet_emulator_barrier(uint32_t id, uint32_t threads, const emulator::Place* place);
// Waits until ready(state); `name` says in a message what is waited for.
void zfnet_emulator_wait(bool (*ready)(const void* state), const void* state, const char* name,
                         const emulator::Place* place);
// The block's dynamic shared memory.
void* zfnet_emulator_dynamic_shared();
// The block's static shared memory for one type, told from others by `key`.
void* zfnet_emulator_shared(const void* key, size_t bytes);
// cp.async: reads `read` bytes now, and writes them and zeros up to `bytes` between now and the wait.
void zfnet_emulator_async_copy(void* shared, const void* global, uint32_t bytes, uint32_t read);
void zfnet_emulator_async_commit();
void zfnet_emulator_async_wait(uint32_t groups_left);
// A bulk load: `fill` writes the `bytes` that will stand at `shared`, now; they come there some time before
// the block can only go on with them, and `complete` tells the barrier.
void zfnet_emulator_bulk_load(void* shared, uint32_t bytes, void (*fill)(unsigned char* to, const void* state),
                              const void* state, void (*complete)(void* barrier, uint32_t bytes), void* barrier);
// A bulk store: `perform` with a copy of `state`, between now and the wait for its group.
void zfnet_emulator_bulk_store(void (*perform)(const void* state), const void* state, uint32_t bytes);
void zfnet_emulator_bulk_commit();
void zfnet_emulator_bulk_wait(uint32_t groups_left);
// Stops the block with a message that names this thread.
[[noreturn]] void zfnet_emulator_fail(const char* reason, const emulator::Place* place);
}
