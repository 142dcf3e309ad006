#include "backends/reference/ref_ops.h"

#include "backends/make_ops.h"

namespace fx {

std::unique_ptr<Ops> make_reference_ops() { return std::make_unique<RefOps<double>>(); }

}  // namespace fx
