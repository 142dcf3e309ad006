// Elementwise operations, copies and look-ups.
#include <cstring>

#include "backends/reference/ref_math.h"
#include "backends/reference/ref_ops.h"

namespace fx {
namespace {

// y[b, l, c] = f(a[b, l, c], b[b or 0, l, c]).
template <class Function>
void binary(const BinaryArgs& args, Function f) {
  for (int64_t batch = 0; batch < args.y.size(0); ++batch) {
    for (int64_t l = 0; l < args.y.size(1); ++l) {
      const float* a = ref::at(args.a, batch, l);
      const float* b = ref::at(args.b, args.b.size(0) == 1 ? 0 : batch, l);
      float* y = ref::at(args.y, batch, l);
      for (int64_t c = 0; c < args.y.size(2); ++c) y[c] = static_cast<float>(f(a[c], b[c]));
    }
  }
}

// Copies the elements of the axes from `axis` on; x and y are byte addresses.
void copy_axes(const CopyArgs& args, int axis, const char* x, char* y) {
  const auto item = static_cast<int64_t>(size_of(args.x.dtype()));
  if (axis == args.x.rank()) {
    std::memcpy(y, x, item);
    return;
  }
  for (int64_t i = 0; i < args.x.size(axis); ++i) {
    copy_axes(args, axis + 1, x + i * args.x.stride(axis) * item, y + i * args.y.stride(axis) * item);
  }
}

}  // namespace

template <class Real>
void RefOps<Real>::do_activate(const ActivateArgs& args) {
  for (int64_t b = 0; b < args.x.size(0); ++b) {
    for (int64_t l = 0; l < args.x.size(1); ++l) {
      const float* x = ref::at(args.x, b, l);
      float* y = ref::at(args.y, b, l);
      for (int64_t c = 0; c < args.x.size(2); ++c)
        y[c] = static_cast<float>(ref::activate<Real>(args.activation, x[c]));
    }
  }
}

template <class Real>
void RefOps<Real>::do_add(const BinaryArgs& args) {
  binary(args, [](Real a, Real b) { return a + b; });
}

template <class Real>
void RefOps<Real>::do_multiply(const BinaryArgs& args) {
  binary(args, [](Real a, Real b) { return a * b; });
}

template <class Real>
void RefOps<Real>::do_copy(const CopyArgs& args) {
  copy_axes(args, 0, static_cast<const char*>(args.x.raw()), static_cast<char*>(args.y.raw()));
}

template <class Real>
void RefOps<Real>::do_embed_rows(const EmbedRowsArgs& args) {
  for (int64_t b = 0; b < args.y.size(0); ++b) {
    for (int64_t l = 0; l < args.y.size(1); ++l) {
      const int32_t id = args.ids.i32()[b * args.ids.size(1) + l];
      check(0 <= id && id < args.table.size(0), ErrorCode::internal,
            "[embed_rows] id {} is outside of a table of {} rows", id, args.table.size(0));
      const float* row = ref::at(args.table, id);
      float* y = ref::at(args.y, b, l);
      for (int64_t c = 0; c < args.y.size(2); ++c) y[c] = args.add ? y[c] + row[c] : row[c];
    }
  }
}

// Frequency and angle are f32 by definition: at t = 1000, one f32 rounding of the angle moves the cosine by 3e-5, and
// trained weights expect the rounding with which they were trained.
template <class Real>
void RefOps<Real>::do_timestep_embedding(const TimestepEmbeddingArgs& args) {
  const int64_t width = args.y.size(2), half = width / 2;
  const auto log_period = static_cast<float>(-std::log(10000.0));
  for (int64_t i = 0; i < args.t.size(0); ++i) {
    float* y = ref::at(args.y, 0, i);
    for (int64_t j = 0; j < half; ++j) {
      const float exponent = log_period * static_cast<float>(j) / static_cast<float>(half);
      const auto frequency = static_cast<float>(std::exp(static_cast<Real>(exponent)));
      const float angle = *ref::at(args.t, i) * frequency;
      y[j] = static_cast<float>(std::cos(static_cast<Real>(angle)));
      y[half + j] = static_cast<float>(std::sin(static_cast<Real>(angle)));
    }
  }
}

template void RefOps<double>::do_activate(const ActivateArgs&);
template void RefOps<float>::do_activate(const ActivateArgs&);
template void RefOps<double>::do_add(const BinaryArgs&);
template void RefOps<float>::do_add(const BinaryArgs&);
template void RefOps<double>::do_multiply(const BinaryArgs&);
template void RefOps<float>::do_multiply(const BinaryArgs&);
template void RefOps<double>::do_copy(const CopyArgs&);
template void RefOps<float>::do_copy(const CopyArgs&);
template void RefOps<double>::do_embed_rows(const EmbedRowsArgs&);
template void RefOps<float>::do_embed_rows(const EmbedRowsArgs&);
template void RefOps<double>::do_timestep_embedding(const TimestepEmbeddingArgs&);
template void RefOps<float>::do_timestep_embedding(const TimestepEmbeddingArgs&);

}  // namespace fx
