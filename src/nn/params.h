// Declaration of parameters. A model's constructor declares every tensor it needs under its canonical name; memory is
// allocated there and then, and stays at that address. The loader fills it later, and reports all that is missing at once.
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "core/buffer.h"
#include "nn/model_types.h"
#include "ops/args.h"

namespace fx {

// How the values of a file are laid out in memory.
enum class ParamLayout {
  as_stored,
  channels_last,  // file (O, I, kh, kw), memory (O, kh, kw, I)
};

struct Param {
  std::string name;  // canonical: that of the original FLUX code for the transformer, else that of the published files
  Shape file_shape;
  ParamLayout layout;
  ParamRole role;
  Tensor tensor;  // device memory: what operations read
  Tensor scale;   // (rows) f32, of a tensor in e4m3
  Tensor master;  // the unquantised values beside the tensor, where ModelTypes asks for them
  // The same memory again, where ModelTypes asks for two sets: what adapters are merged into while layers read the others.
  Tensor next, next_scale;
  Tensor front;   // (rows, E) e4m3 right before the rows of the tensor, whose stride that widens: where adapters go,
  Tensor down;    // (E, columns) e4m3: and their other half (FoldLoraArgs),
  Tensor column_scale;  // (E) f32: and how they are divided

  // The bound of a row's magnitudes in e4m3. An adapter's columns of B may be much larger than the weight's where both have
  // one scale, so the front needs room above: 2^5 of it and more. The weight pays with what falls below the smallest normal
  // number, 2^-6: of rows whose rms is a tenth of their largest magnitude, values below a hundredth of the rms, which
  // lose a thousandth of it at most, where rounding to e4m3 costs all others three hundredths.
  float largest() const { return front.defined() ? 448.0f / 32 : 448.0f; }
  // Values in a row of the file's first axis: 1 of a bias or a norm.
  int64_t columns() const { return file_shape.count() / std::max<int64_t>(file_shape[0], 1); }
  // What adapters are merged into; of a weight with a master, the tensor itself may be exchanged by another thread at any time.
  const Tensor& base() const { return master.defined() ? master : tensor; }
  bool weight_only() const { return role == ParamRole::modulation && scale.defined(); }
};

// One adaptable linear layer as an adapter sees it. The operand's tensors belong to lora/apply/slots.h; the slot itself never
// moves, so that a layer may keep a pointer to it.
struct LoraSlot {
  std::string module;  // canonical name, without ".weight"
  int64_t in = 0, out = 0;
  const Param* weight = nullptr;  // (out, in)
  LoraOperand operand;
  // The weight has the adapters' difference in it already (see lora/apply/merged_weights.h): the layer leaves the operand out.
  bool merged = false;
  // The weight's front has the adapters in it (see lora/apply/folded_fronts.h): so too, and its products take these columns of
  // the front along. 0: it has not.
  int64_t front_columns = 0;
};

class ParamStore {
 public:
  explicit ParamStore(Runtime& runtime, const ModelTypes& types = {}) : runtime_(&runtime), types_(types) {}

  // The parameter keeps its place. `parts`: of a fused layer, which adapters name apart.
  const Param& declare(const std::string& name, const Shape& file_shape, ParamLayout layout = ParamLayout::as_stored,
                       ParamRole role = ParamRole::plain, int64_t parts = 1);
  LoraSlot* declare_slot(const std::string& module, const Param& weight);

  // Layers read the other set of merged weights from now on. With no work in flight that reads them.
  void exchange_weight_sets();

  Runtime& runtime() const { return *runtime_; }
  const ModelTypes& types() const { return types_; }
  // The type of activations.
  DType activations() const { return types_.plain; }
  const std::deque<Param>& params() const { return params_; }
  std::deque<LoraSlot>& slots() { return slots_; }
  const std::deque<LoraSlot>& slots() const { return slots_; }
  int64_t parameter_count() const;

 private:
  Tensor allocate(DType dtype, const Shape& shape) { return buffers_.emplace_back(*runtime_, dtype, shape).tensor(); }

  Runtime* runtime_;
  ModelTypes types_;
  std::vector<Buffer> buffers_;
  std::deque<Param> params_;
  std::deque<LoraSlot> slots_;
};

// A place in the module tree: declares names below a prefix.
class ParamScope {
 public:
  ParamScope(ParamStore& store, std::string prefix = "") : store_(&store), prefix_(std::move(prefix)) {}

  ParamScope operator/(std::string_view child) const { return {*store_, path(child)}; }
  ParamScope operator/(int64_t index) const { return {*store_, path(std::to_string(index))}; }
  std::string path(std::string_view child) const {
    return prefix_.empty() ? std::string(child) : prefix_ + "." + std::string(child);
  }
  const std::string& path() const { return prefix_; }
  Tensor tensor(std::string_view name, const Shape& shape, ParamLayout layout = ParamLayout::as_stored) const {
    return store_->declare(path(name), shape, layout).tensor;
  }
  ParamStore& store() const { return *store_; }

 private:
  ParamStore* store_;
  std::string prefix_;
};

}  // namespace fx
