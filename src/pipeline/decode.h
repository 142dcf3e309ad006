// From packed latents to pixels: whole, or in tiles where the picture is too large for the memory that decoding may take.
#pragma once

#include "io/png.h"
#include "nn/taps.h"
#include "pipeline/model.h"

namespace fx {

// Device memory that the decoder's pictures may take together by default: 1024 x 1024 pixels in bf16 are decoded whole, and so
// is everything in f32, which is the yardstick.
size_t decode_bytes(DType dtype);

// Packed latents (1, I, C) -> RGB. Throws device when a pixel is not finite.
Image decode_picture(Ops& ops, const Model& model, const HostTensor& latents, int64_t width, int64_t height, Taps* taps,
                     size_t most_bytes);

}  // namespace fx
