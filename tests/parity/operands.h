// The tensors of one op case: owned, guarded and filled the same way every time, in f32 or as a back-end in bf16
// has them.
#pragma once

#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "parity/guarded_buffer.h"
#include "parity/quantized.h"
#include "support/random.h"

namespace fx::test {

// f32: as drawn. narrow: in bf16, and whatever else the case says, as a back-end gets it that computes so. widened: the
// same values in f32, as the reference gets them.
enum class Values { f32, widened, narrow };

class Operands {
 public:
  explicit Operands(const std::string& seed_name, Values kind = Values::f32) : rng_(seed_name), kind_(kind) {}

  Rng& rng() { return rng_; }
  const Tensor& operator[](const std::string& name) const { return views_.at(name); }

  // The next tensor, where it would be bf16, is of this type instead.
  Operands& as(DType dtype) {
    narrow_ = dtype;
    return *this;
  }
  // Normal random numbers, read only.
  const Tensor& input(const std::string& name, const Shape& shape, float deviation = 1, float mean = 0) {
    return place(name, shape, draw(shape, deviation, mean));
  }
  // The same, in e4m3 with the scales `name`_scale. Widened, the scales are undefined.
  const Tensor& quantized(const std::string& name, const Shape& shape, float deviation = 1) {
    const QuantizedRows rows(draw(shape, deviation, 0), static_cast<size_t>(shape[-1]));
    views_[name + "_scale"] = Tensor();
    if (kind_ != Values::narrow) return as(DType::f32).place(name, shape, rows.widened());
    const auto dims = shape.dims();
    const Tensor& scale = allocate(name + "_scale", DType::f32, Shape(dims.first(dims.size() - 1)), false);
    std::copy(rows.scales.begin(), rows.scales.end(), scale.f32());
    const Tensor& t = allocate(name, DType::f8_e4m3, shape, false);
    std::copy(rows.values.begin(), rows.values.end(), t.data<uint8_t>());
    return t;
  }
  // The same, in rows of a wider matrix: before them, as `name`_front, `front` columns that hold NaN. Widened, that is
  // undefined. The largest magnitude of a row becomes `largest`.
  const Tensor& with_front(const std::string& name, const Shape& shape, int64_t front, float deviation, float largest) {
    const int last = shape.rank() - 1;
    const int64_t columns = shape[last];
    QuantizedRows rows(draw(shape, deviation, 0), static_cast<size_t>(columns), largest);
    views_[name + "_scale"] = views_[name + "_front"] = Tensor();
    if (kind_ != Values::narrow) return as(DType::f32).place(name, shape, rows.widened());
    const auto dims = shape.dims();
    const Tensor& scale = allocate(name + "_scale", DType::f32, Shape(dims.first(dims.size() - 1)), false);
    std::copy(rows.scales.begin(), rows.scales.end(), scale.f32());
    Shape whole = shape;
    whole[last] += front;
    const Tensor wide = allocate(name + "_and_front", DType::f8_e4m3, whole, true);
    buffers_.back().judged_by_case = true;
    std::memset(wide.raw(), 0x7f, static_cast<size_t>(wide.bytes()));
    for (size_t row = 0; row < rows.scales.size(); ++row) {
      std::copy_n(rows.values.begin() + static_cast<std::ptrdiff_t>(row) * columns, columns,
                  wide.data<uint8_t>() + static_cast<int64_t>(row) * whole[last] + front);
    }
    views_[name + "_front"] = wide.slice(last, 0, front);
    return views_[name] = wide.slice(last, front, whole[last]);
  }
  // What the operation quantises itself, row by row. Widened, it has been through that. On the grid, it survives it
  // unchanged.
  const Tensor& to_quantize(const std::string& name, const Shape& shape, bool on_grid = false) {
    const auto columns = static_cast<size_t>(shape[-1]);
    std::vector<float> values = draw(shape, 1, 0);
    views_[name + "_scale"] = Tensor();
    if (on_grid) snap_to_e4m3(values, columns);
    for (float& v : values) v = bf16_to_f32(f32_to_bf16(v));
    avoid_ties(values, columns);
    if (kind_ != Values::widened) return place(name, shape, values);
    return as(DType::f32).place(name, shape, QuantizedRows(values, columns).widened());
  }
  // Of f32, and rounded to bf16 by the operation itself.
  const Tensor& to_round(const std::string& name, const Shape& shape) {
    if (kind_ == Values::narrow) as(DType::f32);
    return input(name, shape);
  }
  const Tensor& integers(const std::string& name, const Shape& shape, const std::vector<int32_t>& values) {
    const Tensor& t = allocate(name, DType::i32, shape, false);
    std::memcpy(t.raw(), values.data(), values.size() * sizeof(int32_t));
    return t;
  }
  // NaN everywhere: whatever the operation does not write stays visible.
  const Tensor& output(const std::string& name, const Shape& shape) {
    const Tensor& t = place(name, shape, std::vector<float>(static_cast<size_t>(shape.count()), NAN));
    buffers_.back().written = true;
    return t;
  }
  // Of this type in any case.
  const Tensor& output(const std::string& name, const Shape& shape, DType dtype) {
    return allocate(name, dtype, shape, true);
  }
  // Rows in e4m3 with the scales `name`_scale, which the case judges itself.
  const Tensor& quantized_output(const std::string& name, const Shape& shape) {
    const auto dims = shape.dims();
    as(DType::f32).output(name + "_scale", Shape(dims.first(dims.size() - 1)));
    buffers_.back().judged_by_case = true;
    const Tensor& t = output(name, shape, DType::f8_e4m3);
    buffers_.back().judged_by_case = true;
    std::memset(t.raw(), 0x7f, static_cast<size_t>(t.bytes()));
    return t;
  }
  // Random numbers that the operation changes.
  const Tensor& in_out(const std::string& name, const Shape& shape, float deviation = 1) {
    const Tensor& t = input(name, shape, deviation);
    buffers_.back().written = true;
    return t;
  }
  // Changes one element of a tensor that is owned.
  void set(const std::string& name, int64_t i, float value) {
    const Tensor& t = owned(name).buffer.tensor();
    convert_from_f32(&value, t.dtype(), t.data<uint8_t>() + i * static_cast<int64_t>(size_of(t.dtype())), 1);
  }
  // A part or another arrangement of a tensor.
  void view(const std::string& name, const Tensor& tensor) { views_[name] = tensor; }

  struct Owned {
    Owned(std::string n, DType dtype, const Shape& shape, bool w)
        : name(std::move(n)), buffer(dtype, shape), narrow(dtype), written(w) {}
    std::string name;
    GuardedBuffer buffer;
    DType narrow;  // what it is where values are narrow
    bool written;
    bool judged_by_case = false;

    // All elements as f32.
    std::vector<float> values() const {
      std::vector<float> wide(static_cast<size_t>(buffer.tensor().count()));
      convert_to_f32(buffer.tensor().dtype(), buffer.tensor().raw(), wide.data(), wide.size());
      return wide;
    }
    // As if it had been stored narrow.
    void round() {
      if (narrow == buffer.tensor().dtype()) return;
      const std::vector<float> rounded = rounded_to(narrow, values());
      std::copy(rounded.begin(), rounded.end(), buffer.tensor().f32());
    }
  };
  const Owned& owned(const std::string& name) const {
    for (const Owned& o : buffers_) {
      if (o.name == name) return o;
    }
    throw std::out_of_range("no operand " + name);
  }
  static std::vector<float> rounded_to(DType dtype, const std::vector<float>& values) {
    std::vector<uint8_t> bytes(values.size() * size_of(dtype));
    std::vector<float> rounded(values.size());
    convert_from_f32(values.data(), dtype, bytes.data(), values.size());
    convert_to_f32(dtype, bytes.data(), rounded.data(), rounded.size());
    return rounded;
  }
  const std::deque<Owned>& buffers() const { return buffers_; }
  std::deque<Owned>& buffers() { return buffers_; }
  const std::map<std::string, Tensor>& views() const { return views_; }

 private:
  std::vector<float> draw(const Shape& shape, float deviation, float mean) {
    std::vector<float> values(static_cast<size_t>(shape.count()));
    rng_.fill_normal(values, deviation, mean);
    return values;
  }
  // Values in the type that they have here.
  const Tensor& place(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    const DType narrow = kind_ == Values::f32 ? DType::f32 : std::exchange(narrow_, DType::bf16);
    const Tensor& t = allocate(name, kind_ == Values::narrow ? narrow : DType::f32, shape, false);
    const std::vector<float> rounded = rounded_to(narrow, values);
    convert_from_f32(rounded.data(), t.dtype(), t.raw(), rounded.size());
    buffers_.back().narrow = narrow;
    return t;
  }
  const Tensor& allocate(const std::string& name, DType dtype, const Shape& shape, bool written) {
    buffers_.emplace_back(name, dtype, shape, written);
    return views_[name] = buffers_.back().buffer.tensor();
  }

  Rng rng_;
  Values kind_;
  DType narrow_ = DType::bf16;  // of the next tensor
  std::deque<Owned> buffers_;
  std::map<std::string, Tensor> views_;
};

}  // namespace fx::test
