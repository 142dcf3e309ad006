// What the metadata of adapter files tell people.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace fx {

using Metadata = std::map<std::string, std::string>;

// "kohya sd-scripts"; empty when the metadata do not tell.
std::string trainer_of(const Metadata& metadata);

// Stated ones, and the words that most captions of the training pictures share; each once.
std::vector<std::string> trigger_words_of(const Metadata& metadata);

// Fields that name another base model than FLUX.1: whole sentences.
std::vector<std::string> other_base_models(const Metadata& metadata);

}  // namespace fx
