// What a file is that cannot be read as a FLUX.1 adapter, told from its keys alone.
#pragma once

#include <string>
#include <vector>

namespace fx {

// Throws unsupported when a key belongs to another model family only, naming it and the key; returns otherwise.
void refuse_other_family(const std::vector<std::string>& keys, const std::string& label);

// Throws unsupported when a key belongs to a format of FLUX.1 adapters that is not read yet.
void refuse_other_format(const std::vector<std::string>& keys, const std::string& label);

// Throws bad_file: no key is part of an adapter. Says what the file looks like instead.
[[noreturn]] void refuse_not_an_adapter(const std::vector<std::string>& keys, const std::string& label);

}  // namespace fx
