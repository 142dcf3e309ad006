#include "text/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "core/error.h"
#include "text/json_file.h"
#include "text/utf8.h"

namespace fx {
namespace {

using nlohmann::json;

constexpr double kUnknownPenalty = 10.0;  // below the lowest score of the vocabulary

// The tokens in byte order; all tokens that start a text are found by narrowing a range one byte at a time.
class PrefixTable {
 public:
  explicit PrefixTable(const std::unordered_map<std::string_view, int32_t>& ids) : rows_(ids.begin(), ids.end()) {
    std::sort(rows_.begin(), rows_.end());
  }

  // Calls found(length, id) for every token that `text` starts with, the shortest first.
  template <class Found>
  void find_prefixes(std::string_view text, Found found) const {
    auto low = rows_.begin(), high = rows_.end();
    for (size_t depth = 0; depth < text.size(); ++depth) {
      const auto byte_at = [depth](const Row& row) {
        return row.first.size() > depth ? static_cast<unsigned char>(row.first[depth]) : -1;
      };
      const int byte = static_cast<unsigned char>(text[depth]);
      low = std::lower_bound(low, high, byte, [&](const Row& row, int b) { return byte_at(row) < b; });
      high = std::upper_bound(low, high, byte, [&](int b, const Row& row) { return b < byte_at(row); });
      if (low == high) return;
      if (low->first.size() == depth + 1) found(depth + 1, low->second);
    }
  }

 private:
  using Row = std::pair<std::string_view, int32_t>;
  std::vector<Row> rows_;
};

class UnigramModel final : public TokenModel {
 public:
  explicit UnigramModel(UnigramConfig config)
      : config_(std::move(config)), ids_(index(config_.vocab)), prefixes_(ids_) {
    double lowest = std::numeric_limits<double>::infinity();
    for (const auto& piece : config_.vocab) lowest = std::min(lowest, piece.score);
    unknown_score_ = lowest - kUnknownPenalty;
  }

  void tokenize(const AlignedText& word, std::vector<Token>& tokens) const override {
    const std::string text = encode_utf8(word.chars);
    std::vector<uint32_t> origin;  // (bytes of text)
    for (size_t i = 0; i < word.size(); ++i) origin.insert(origin.end(), utf8_size(word.chars[i]), word.origin[i]);
    const std::vector<Step> best = best_path(word, text);
    std::vector<std::pair<size_t, size_t>> pieces;  // from the last to the first, neighbouring unknowns in one
    bool fuse = false;
    for (size_t end = text.size(); end > 0; end = best[end].begin) {
      const bool unknown = best[end].id == config_.unknown_id;
      if (unknown && fuse) pieces.back().first = best[end].begin;
      else pieces.emplace_back(best[end].begin, end);
      fuse = unknown;
    }
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece)
      emit(std::string_view(text).substr(piece->first, piece->second - piece->first), origin[piece->first], tokens);
  }

  std::optional<int32_t> id_of(std::string_view token) const override {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

  int32_t size() const override { return static_cast<int32_t>(config_.vocab.size()); }

 private:
  static constexpr size_t kNowhere = std::numeric_limits<size_t>::max();
  struct Step {  // the best way to end at a byte: the token and where it begins
    double score = 0;
    size_t begin = kNowhere;
    int32_t id = 0;
  };

  static std::unordered_map<std::string_view, int32_t> index(const std::vector<UnigramConfig::Piece>& vocab) {
    std::unordered_map<std::string_view, int32_t> ids;
    ids.reserve(vocab.size());
    for (size_t i = 0; i < vocab.size(); ++i) ids[vocab[i].token] = static_cast<int32_t>(i);  // the last of equals wins
    return ids;
  }

  // Viterbi, forward over the characters; of equal scores the first found stays.
  std::vector<Step> best_path(const AlignedText& word, std::string_view text) const {
    std::vector<Step> best(text.size() + 1);
    size_t begin = 0;
    for (const char32_t c : word.chars) {
      const size_t size = utf8_size(c);
      bool single = false;
      const auto offer = [&](size_t length, int32_t id, double score) {
        Step& target = best[begin + length];
        const double total = score + best[begin].score;
        if (target.begin == kNowhere || total > target.score) target = {total, begin, id};
        single = single || length == size;
      };
      prefixes_.find_prefixes(text.substr(begin),
                              [&](size_t length, int32_t id) { offer(length, id, config_.vocab[id].score); });
      if (!single) offer(size, config_.unknown_id, unknown_score_);
      begin += size;
    }
    return best;
  }

  void emit(std::string_view piece, uint32_t origin, std::vector<Token>& tokens) const {
    if (const auto id = id_of(piece)) {
      tokens.push_back({*id, origin});
      return;
    }
    const size_t before = tokens.size();
    for (size_t i = 0; config_.byte_fallback && i < piece.size(); ++i) {
      const auto id = id_of(fmt::format("<0x{:02X}>", static_cast<unsigned char>(piece[i])));
      if (!id) {
        tokens.resize(before);
        break;
      }
      tokens.push_back({*id, origin});
    }
    if (tokens.size() == before) tokens.push_back({config_.unknown_id, origin});
  }

  UnigramConfig config_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views of config_.vocab
  PrefixTable prefixes_;
  double unknown_score_ = 0;
};

}  // namespace

std::unique_ptr<TokenModel> make_unigram_model(UnigramConfig config, const std::string& file) {
  check(config.unknown_id >= 0 && config.unknown_id < static_cast<int64_t>(config.vocab.size()), ErrorCode::bad_file,
        "{}: expected the unknown token among the {} tokens, found the id {}", file, config.vocab.size(),
        config.unknown_id);
  return std::make_unique<UnigramModel>(std::move(config));
}

UnigramConfig parse_unigram(const json& model, const std::string& file) {
  UnigramConfig config;
  for (const json& piece : array_field(model, "vocab", file)) {
    check(piece.is_array() && piece.size() == 2 && piece[0].is_string() && piece[1].is_number(), ErrorCode::bad_file,
          "{}: expected a token and its score in \"vocab\", found {}", file, piece.dump());
    config.vocab.push_back({piece[0].get<std::string>(), piece[1].get<double>()});
  }
  const json unknown = model.value("unk_id", json());
  check(unknown.is_number_unsigned() && unknown.get<uint64_t>() < config.vocab.size(), ErrorCode::bad_file,
        "{}: expected \"unk_id\" to be one of the {} ids, found {}", file, config.vocab.size(), unknown.dump());
  config.unknown_id = unknown.get<int32_t>();
  config.byte_fallback = bool_field(model, "byte_fallback", file, false);
  return config;
}

}  // namespace fx
