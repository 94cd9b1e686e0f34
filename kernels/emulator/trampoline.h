// What build.rs adds behind each kernel file: for every kernel an entry that unpacks
// an array of pointers to arguments, as cuLaunchKernel takes it, and the kinds of its
// parameters, which the emulator compares with those of the launch.
#pragma once

#include <cstring>
#include <type_traits>

#include "emulator.h"

namespace emulator {

struct Parameter {
  // r: pointer to constant, w: pointer, i: signed, u: unsigned, f: floating point, s: struct,
  // t: tensor map
  char kind;
  uint32_t bytes;
};

struct Entry {
  void (*run)(void* const* arguments);
  const Parameter* parameters;
  uint32_t count;
};

template <class T, class = void>
constexpr bool is_tensor_map = false;
template <class T>
constexpr bool is_tensor_map<T, typename T::is_tensor_map> = true;

template <class T>
constexpr Parameter parameter() {
  if constexpr (std::is_pointer_v<T>) {
    return {std::is_const_v<std::remove_pointer_t<T>> ? 'r' : 'w', sizeof(T)};
  } else if constexpr (std::is_floating_point_v<T>) {
    return {'f', sizeof(T)};
  } else if constexpr (std::is_integral_v<T>) {
    return {std::is_signed_v<T> ? 'i' : 'u', sizeof(T)};
  } else {
    static_assert(std::is_trivially_copyable_v<T>, "a kernel's parameter is copied byte by byte");
    return {is_tensor_map<T> ? 't' : 's', sizeof(T)};
  }
}

template <class T>
T unpack(const void* argument) {
  T value;
  std::memcpy(&value, argument, sizeof(T));
  return value;
}

template <auto kernel>
struct Trampoline;

template <class... T, void (*kernel)(T...)>
struct Trampoline<kernel> {
  static constexpr Parameter parameters[sizeof...(T) + 1] = {parameter<T>()..., {0, 0}};

  template <size_t... i>
  static void call(void* const* arguments, std::index_sequence<i...>) {
    kernel(unpack<T>(arguments[i])...);
  }
  static void run(void* const* arguments) { call(arguments, std::index_sequence_for<T...>{}); }
  static constexpr Entry entry = {run, parameters, sizeof...(T)};
};

}  // namespace emulator

#define ZFNET_TRAMPOLINE(kernel)                              \
  extern "C" const emulator::Entry zfnet_emulated_##kernel;   \
  const emulator::Entry zfnet_emulated_##kernel = emulator::Trampoline<&kernel>::entry;
