// The regular expressions of PEFT's rank_pattern and alpha_pattern. They come from untrusted files, so they are matched
// in time proportional to pattern times name, without backtracking or recursion on the name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fx {

class ModulePattern {
 public:
  // The part of Python's syntax that such patterns use: characters, `.`, `[...]`, `\d \w \s` and escapes, `(...)` and
  // `(?:...)`, `|`, `* + ?` (also lazy), `^`, `$`. Throws unsupported for anything else, bad_file for a pattern that
  // does not close what it opens or is longer than 300 characters.
  explicit ModulePattern(std::string_view pattern);

  // Whether the whole name is (nothing, or anything that ends in a dot) followed by the pattern: PEFT's rule.
  bool matches(std::string_view name) const;

  // A name without repetitions, classes or choices: cheap to match.
  bool literal() const { return literal_; }

 private:
  struct State {
    enum class Kind { characters, split, begin, end, accept } kind;
    std::vector<bool> characters;  // of 256
    int next = -1, other = -1;
  };
  friend class PatternCompiler;
  bool read_literal(std::string_view pattern);
  bool matches_literal(std::string_view name) const;
  void follow(int state, size_t position, size_t length, std::vector<char>& reached, std::vector<int>& list) const;

  bool literal_ = false;
  bool anchored_ = false;  // of a literal: began with '^'
  std::string name_;       // of a literal; NUL stands for any character

  std::vector<State> states_;  // of all others
  int start_ = 0;
};

}  // namespace fx
