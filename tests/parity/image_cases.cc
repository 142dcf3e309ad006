#include <cmath>

#include "parity/op_case.h"

namespace fx::test {

OpCase conv_case(const std::string& name, const ConvShape& s) {
  const int64_t pad = s.pad_begin + s.pad_end;
  const int64_t height = (s.height + pad - s.kernel) / s.stride + 1, width = (s.width + pad - s.kernel) / s.stride + 1;
  const int64_t depth = s.kernel * s.kernel * s.in;
  return {.name = name,
          .make =
              [=](Operands& o) {
                o.input("x", {s.batch, s.height, s.width, s.in});
                o.input("weight", {s.out, s.kernel, s.kernel, s.in}, 1 / std::sqrt(static_cast<float>(depth)));
                o.input("bias", {s.out});
                const Shape shape{s.batch, height, width, s.out};
                s.add ? o.in_out("y", shape) : o.output("y", shape);
              },
          .run =
              [=](Ops& ops, const Operands& o) {
                ops.conv2d({.x = o["x"],
                            .weight = o["weight"],
                            .bias = s.add ? Tensor() : o["bias"],
                            .y = o["y"],
                            .stride = s.stride,
                            .pad_begin = s.pad_begin,
                            .pad_end = s.pad_end,
                            .add = s.add});
              },
          .flops = 2.0 * static_cast<double>(s.batch * height * width * s.out * depth)};
}

namespace {

OpCase upsample_case(const Shape& shape) {
  return {.name = "upsample2x/" + to_string(shape),
          .make =
              [=](Operands& o) {
                o.input("x", shape);
                o.output("y", {shape[0], 2 * shape[1], 2 * shape[2], shape[3]});
              },
          .run = [](Ops& ops, const Operands& o) { ops.upsample2x({.x = o["x"], .y = o["y"]}); }};
}

OpCase latents_case(bool pack, int64_t batch, int64_t height, int64_t width, int64_t channels) {
  return {.name = fmt::format("{}_latents/b{}_{}x{}_c{}", pack ? "pack" : "unpack", batch, height, width, channels),
          .make =
              [=](Operands& o) {
                const Shape packed{batch, height / 2 * (width / 2), 4 * channels};
                const Shape latents{batch, height, width, channels};
                o.as(DType::f32);
                pack ? o.output("packed", packed) : o.input("packed", packed);
                pack ? o.input("latents", latents) : o.output("latents", latents);
              },
          .run =
              [=](Ops& ops, const Operands& o) {
                const LatentLayoutArgs args{
                    .packed = o["packed"], .latents = o["latents"], .scaling = 0.3611f, .shift = 0.1159f};
                pack ? ops.pack_latents(args) : ops.unpack_latents(args);
              }};
}

OpCase rgb_case(int64_t height, int64_t width, float size) {
  return {.name = fmt::format("to_rgb8/{}x{}_x{}", height, width, size),
          .make =
              [=](Operands& o) {
                o.input("x", {2, height, width, 3}, size);
                o.set("x", 0, NAN);
                o.set("x", 1, INFINITY);
                o.set("x", 2, -INFINITY);
                o.output("y", {2, height, width, 3}, DType::u8);
              },
          .run = [](Ops& ops, const Operands& o) { ops.to_rgb8({.x = o["x"], .y = o["y"]}); }};
}

}  // namespace

std::vector<OpCase> image_cases() {
  std::vector<OpCase> cases;
  const auto conv = [&](const char* label, const ConvShape& s) {
    cases.push_back(conv_case(std::string("conv2d/") + label, s));
  };
  conv("3x3", {1, 33, 31, 16, 40, 3});
  conv("3x3_add", {3, 9, 7, 33, 65, 3, 1, 1, 1, true});
  conv("1x1", {1, 31, 33, 20, 24, 1, 1, 0, 0});
  conv("1x1_add", {1, 8, 8, 64, 64, 1, 1, 0, 0, true});
  conv("3_channels_in", {1, 16, 16, 3, 32, 3});
  conv("3_channels_out", {1, 77, 5, 32, 3, 3});
  conv("downsample", {1, 16, 18, 24, 24, 3, 2, 0, 1});
  conv("deep", {1, 5, 5, 256, 33, 3});
  conv("one_pixel", {1, 1, 1, 8, 8, 3});
  conv("5x5_stride3", {2, 20, 17, 5, 9, 5, 3, 2, 2});
  cases.push_back(upsample_case({1, 1, 1, 3}));
  cases.push_back(upsample_case({3, 7, 5, 33}));
  cases.push_back(upsample_case({1, 33, 31, 64}));
  for (const bool pack : {false, true}) {
    cases.push_back(latents_case(pack, 1, 2, 2, 1));
    cases.push_back(latents_case(pack, 3, 6, 10, 16));
  }
  cases.push_back(rgb_case(1, 1, 1));
  cases.push_back(rgb_case(77, 33, 1));
  cases.push_back(rgb_case(5, 5, 0.01f));
  return cases;
}

}  // namespace fx::test
