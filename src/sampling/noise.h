// The starting noise: the numbers that torch.manual_seed(seed); torch.randn(shape, dtype) draws on a CPU.
#pragma once

#include <cstdint>
#include <span>

namespace fx {

enum class NoiseType { f32, bf16 };

// Fills `out` with standard normal values, bitwise equal to torch's (its AVX2 kernel for f32, which every x86 machine
// of the last ten years runs; its plain kernel differs in the last bits). bf16 is a draw of its own, not a rounded f32
// one; its values come widened to f32. Only the size of the tensor matters, not its shape. A negative seed of torch is
// the unsigned number with the same bits; of all seeds only the low 32 bits count.
void draw_noise(uint64_t seed, NoiseType type, std::span<float> out);

}  // namespace fx
