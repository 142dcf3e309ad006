#include "text/byte_pair.h"

#include <queue>

#include "core/error.h"
#include "text/json_file.h"
#include "text/utf8.h"

namespace fx {
namespace {

using nlohmann::json;

struct Merge {
  int rank;
  int32_t id;
};

struct Symbol {
  int32_t id;
  uint32_t origin;
  int previous, next;  // indices of live neighbours, or -1
  bool live = true;
};

struct Candidate {
  int rank;
  int position;
  int32_t id;
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

class BytePairModel final : public TokenModel {
 public:
  BytePairModel(BytePairConfig config, const std::string& file) : config_(std::move(config)) {
    for (size_t rank = 0; rank < config_.merges.size(); ++rank) {
      const auto& [left, right] = config_.merges[rank];
      const auto id = [&](const std::string& token) {
        const auto found = config_.vocab.find(token);
        check(found != config_.vocab.end(), ErrorCode::bad_file,
              "{}: expected the tokens of merge {} (\"{}\" and \"{}\") in the vocabulary, found no \"{}\"", file,
              rank + 1, left, right, token);
        return found->second;
      };
      merges_[key(id(left), id(right))] = {static_cast<int>(rank), id(left + right)};
    }
    config_.merges.clear();
    const auto unknown = config_.vocab.find(config_.unknown);
    check(config_.unknown.empty() || unknown != config_.vocab.end(), ErrorCode::bad_file,
          "{}: expected the unknown token \"{}\" in the vocabulary, found none", file, config_.unknown);
    if (!config_.unknown.empty()) unknown_ = unknown->second;
  }

  void tokenize(const AlignedText& word, std::vector<Token>& tokens) const override {
    if (config_.ignore_merges) {
      if (const auto whole = id_of(encode_utf8(word.chars))) {
        tokens.push_back({*whole, word.origin.front()});
        return;
      }
    }
    std::vector<Symbol> symbols = initial_symbols(word);
    merge(symbols);
    for (const Symbol& s : symbols)
      if (s.live) tokens.push_back({s.id, s.origin});
  }

  std::optional<int32_t> id_of(std::string_view token) const override {
    const auto found = config_.vocab.find(std::string(token));
    return found == config_.vocab.end() ? std::nullopt : std::optional(found->second);
  }

  int32_t size() const override { return static_cast<int32_t>(config_.vocab.size()); }
  // The file gives the ids, and may leave some out.
  int32_t largest_id() const override {
    int32_t largest = -1;
    for (const auto& [token, id] : config_.vocab) largest = std::max(largest, id);
    return largest;
  }

 private:
  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  std::vector<Symbol> initial_symbols(const AlignedText& word) const {
    std::vector<Symbol> symbols;
    bool after_unknown = false;
    for (size_t i = 0; i < word.size(); ++i) {
      std::string text;
      append_utf8(text, word.chars[i]);
      if (i + 1 == word.size()) text += config_.end_of_word;
      const auto id = id_of(text);
      const bool drop = !id && (config_.unknown.empty() || (config_.fuse_unknown && after_unknown));
      after_unknown = !id;
      if (drop) continue;
      const int index = static_cast<int>(symbols.size());
      symbols.push_back({id ? *id : unknown_, word.origin[i], index - 1, index + 1});
    }
    if (!symbols.empty()) symbols.back().next = -1;
    return symbols;
  }

  void merge(std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto propose = [&](int left, int right) {
      if (left < 0 || right < 0) return;
      const auto found = merges_.find(key(symbols[left].id, symbols[right].id));
      if (found != merges_.end()) queue.push({found->second.rank, left, found->second.id});
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) propose(static_cast<int>(i), static_cast<int>(i + 1));
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[best.position];
      if (!left.live || left.next < 0) continue;
      Symbol& right = symbols[left.next];
      const auto found = merges_.find(key(left.id, right.id));
      if (found == merges_.end() || found->second.id != best.id) continue;  // one of the two has merged since
      left.id = best.id;
      left.next = right.next;
      right.live = false;
      if (left.next >= 0) symbols[left.next].previous = best.position;
      propose(left.previous, best.position);
      propose(best.position, left.next);
    }
  }

  BytePairConfig config_;
  std::unordered_map<uint64_t, Merge> merges_;
  int32_t unknown_ = -1;
};

std::string optional_string(const json& model, const char* key, const std::string& file) {
  return !model.contains(key) || model[key].is_null() ? "" : string_field(model, key, file);
}

}  // namespace

std::unique_ptr<TokenModel> make_byte_pair_model(BytePairConfig config, const std::string& file) {
  return std::make_unique<BytePairModel>(std::move(config), file);
}

std::unordered_map<std::string, int32_t> parse_vocab(const json& vocab, const std::string& file) {
  std::unordered_map<std::string, int32_t> ids;
  ids.reserve(vocab.size());
  for (const auto& [token, id] : vocab.items()) {
    check(id.is_number_unsigned() && id.get<uint64_t>() < 1u << 30, ErrorCode::bad_file,
          "{}: expected the id of \"{}\" to be a whole number from 0, found {}", file, token, id.dump());
    ids.emplace(token, id.get<int32_t>());
  }
  return ids;
}

std::vector<std::pair<std::string, std::string>> parse_merges(const std::string& text, const std::string& file) {
  std::vector<std::pair<std::string, std::string>> merges;
  int number = 0;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    ++number;
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    if (line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    check(space != std::string::npos && line.find(' ', space + 1) == std::string::npos, ErrorCode::bad_file,
          "{}: expected two tokens in line {}, found \"{}\"", file, number, line);
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

BytePairConfig parse_byte_pair(const json& model, const std::string& file) {
  BytePairConfig config;
  config.vocab = parse_vocab(object_field(model, "vocab", file), file);
  for (const json& merge : array_field(model, "merges", file)) {
    if (merge.is_string()) {
      for (auto& pair : parse_merges(merge.get<std::string>(), file)) config.merges.push_back(std::move(pair));
      continue;
    }
    check(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(), ErrorCode::bad_file,
          "{}: expected a merge to be two tokens, found {}", file, merge.dump());
    config.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  config.unknown = optional_string(model, "unk_token", file);
  config.end_of_word = optional_string(model, "end_of_word_suffix", file);
  config.fuse_unknown = bool_field(model, "fuse_unk", file, false);
  config.ignore_merges = bool_field(model, "ignore_merges", file, false);
  check(optional_string(model, "continuing_subword_prefix", file).empty(), ErrorCode::unsupported,
        "{}: a BPE model with a continuing_subword_prefix", file);
  check(!bool_field(model, "byte_fallback", file, false), ErrorCode::unsupported, "{}: a BPE model with byte_fallback",
        file);
  const json dropout = model.value("dropout", json());
  check(dropout.is_null() || (dropout.is_number() && dropout.get<double>() == 0), ErrorCode::unsupported,
        "{}: a BPE model with dropout", file);
  return config;
}

}  // namespace fx
