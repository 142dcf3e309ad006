// Logarithm, sine and cosine in f32 by the polynomials of the Cephes library, in the order of operations of torch's
// AVX2 noise kernel, whose compiler fused products and sums. The standard library is more accurate and therefore of no
// use here: the noise of a seed is defined by these very roundings.
#pragma once

namespace fx {

struct SinCos {
  float sin;
  float cos;
};

// Of a normal number above 0.
float cephes_log(float x);

// Of an angle from 0 to 2 pi.
SinCos cephes_sincos(float angle);

}  // namespace fx
