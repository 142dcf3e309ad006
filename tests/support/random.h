// Random numbers that are the same on every platform and compiler: integer arithmetic and exact float steps only.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace fx::test {

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  // A seed of its own for every name.
  explicit Rng(std::string_view name) : state_(14695981039346656037u) {
    for (const char c : name) state_ = (state_ ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }

  uint64_t next() {  // splitmix64
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }  // [0, 1)
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  // Nearly normal, variance 1: a sum of twelve uniforms.
  float normal() {
    float sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }
  // 0 <= result < limit
  int64_t below(int64_t limit) { return static_cast<int64_t>(next() % static_cast<uint64_t>(limit)); }

  void fill_normal(std::span<float> values, float deviation = 1, float mean = 0) {
    for (float& value : values) value = mean + deviation * normal();
  }

 private:
  uint64_t state_;
};

}  // namespace fx::test
