// The widest float vector of the instruction set for which this file is compiled, as a GCC vector type: operators work
// lane by lane. All of it lives in namespace FX_ISA with internal linkage, because the same source is compiled several
// times and the linker must never mix the copies. For the same reason kernel sources include no standard C++ headers
// with inline code that the rest of the program uses.
#pragma once

#include <stdint.h>

namespace fx::FX_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef uint32_t BitVec __attribute__((vector_size(kLanes * 4)));

template <int... I>
struct Lanes {};
#if defined(__AVX512F__)
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
#else
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7>;
#endif

inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }
inline Vec splat(float s) { return s - Vec{}; }

// The first `count` < kLanes elements; the other lanes are 0.
inline Vec load_part(const float* p, int64_t count) {
  Vec v{};
  for (int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
inline void store_part(float* p, Vec v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
}

// y[i] = f(x[i]).
template <class Function>
inline void map(const float* x, float* y, int64_t count, Function f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(y + i, f(load(x + i)));
  if (i < count) store_part(y + i, f(load_part(x + i, count - i)), count - i);
}

// Lane i is lane index(i) of a and b behind each other; `index` must be usable in constant expressions.
template <class Index, int... I>
inline Vec pick(Vec a, Vec b, Index index, Lanes<I...>) {
  return __builtin_shufflevector(a, b, index(I)...);
}
template <class Index>
inline Vec pick(Vec a, Vec b, Index index) {
  return pick(a, b, index, AllLanes{});
}

inline float sum_lanes(Vec v) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

}  // namespace
}  // namespace fx::FX_ISA
