#include "bench_adapters.h"

#include <cstring>
#include <random>

#include "weights/flux_rules.h"

namespace fx::cli {
namespace {

// As the published recipe draws them: the difference is about a tenth of a weight's size at rank 32.
constexpr float kDeviation = 0.02f;
constexpr size_t kDrawn = size_t{1} << 20;

// Drawn once and repeated from varying places on: drawing a gigabyte would take longer than all that is measured.
const std::vector<uint16_t>& drawn_values() {
  static const std::vector<uint16_t> values = [] {
    std::mt19937_64 engine(1);
    std::normal_distribution<float> normal(0.0f, kDeviation);
    std::vector<uint16_t> drawn(kDrawn);
    for (uint16_t& value : drawn) value = f32_to_bf16(normal(engine));
    return drawn;
  }();
  return values;
}

Matrix random_matrix(int64_t rows, int64_t columns, std::mt19937_64& engine) {
  const std::vector<uint16_t>& values = drawn_values();
  const auto count = static_cast<size_t>(rows * columns);
  std::shared_ptr<std::byte[]> bytes(new std::byte[count * sizeof(uint16_t)]);
  size_t from = engine() % kDrawn;
  for (size_t done = 0; done < count;) {
    const size_t n = std::min(count - done, kDrawn - from);
    std::memcpy(bytes.get() + done * sizeof(uint16_t), values.data() + from, n * sizeof(uint16_t));
    done += n;
    from = 0;
  }
  return {rows, columns, DType::bf16, std::shared_ptr<const std::byte[]>(std::move(bytes))};
}

bool chosen(const ModuleRule& rule, AdapterLayers layers, std::mt19937_64& engine) {
  switch (layers) {
    case AdapterLayers::all: return true;
    case AdapterLayers::attention: return rule.diffusers.find(".attn.") != std::string_view::npos;
    case AdapterLayers::some: return engine() % 2 == 0;
  }
  return false;
}

}  // namespace

std::shared_ptr<const Adapter> draw_adapter(const AdapterTarget& target, int64_t rank, AdapterLayers layers,
                                            uint64_t seed) {
  std::mt19937_64 engine(seed);
  Adapter adapter;
  adapter.name = "random-" + std::to_string(rank);
  for (const ModuleRule& rule : flux_modules()) {
    const std::string pattern(rule.diffusers);
    const size_t star = pattern.find('*');
    if (star == std::string::npos) continue;  // not of a block
    for (int64_t block = 0;; ++block) {
      const std::string module = std::string(pattern).replace(star, 1, std::to_string(block));
      const auto place = target.find(Component::transformer, module);
      if (!place) break;  // that was the last block
      if (!chosen(rule, layers, engine)) continue;
      const LoraSlot& slot = *target.slots()[place->slot].slot;
      Patch patch;
      patch.a = random_matrix(rank, slot.in, engine);
      patch.b = random_matrix(place->rows.count, rank, engine);
      patch.module = slot.module;
      patch.rows = place->rows;
      adapter.patches.push_back(std::move(patch));
    }
  }
  return std::make_shared<const Adapter>(ready_for_slots(std::move(adapter)));
}

}  // namespace fx::cli
