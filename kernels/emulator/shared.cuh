// Twin of include/ptx/shared.cuh. Shared memory here ends at a guard page and is
// filled with NaNs before each block.
#pragma once

#include <type_traits>

template <class T>
T& shared() {
  static_assert(std::is_trivially_default_constructible_v<T>, "shared memory starts unwritten");
  static const char key = 0;
  return *static_cast<T*>(zfnet_emulator_shared(&key, sizeof(T)));
}

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(zfnet_emulator_dynamic_shared());
}

inline void named_barrier_sync(int id, int threads, emulator::Place place = emulator::Place::here()) {
  zfnet_emulator_barrier(uint32_t(id), uint32_t(threads), &place);
}
