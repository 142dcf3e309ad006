// Thompson's construction: the pattern becomes a graph, and matching carries the set of states reached so far.
#include "lora/file/pattern.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "core/error.h"
#include "lora/messages.h"

namespace fx {
namespace {

constexpr size_t kLongest = 300;
constexpr int kDeepest = 50;  // nested parentheses

using CharacterSet = std::vector<bool>;

CharacterSet class_of(char letter) {
  CharacterSet set(256, false);
  for (int c = 0; c < 128; ++c) {
    if (letter == 'd') set[c] = std::isdigit(c) != 0;
    else if (letter == 'w') set[c] = std::isalnum(c) != 0 || c == '_';
    else if (letter == 's') set[c] = std::isspace(c) != 0;
  }
  return set;
}

}  // namespace

class PatternCompiler {
 public:
  PatternCompiler(std::string_view text, std::vector<ModulePattern::State>& states) : text_(text), states_(states) {}

  int compile() {
    const Part whole = alternatives(0);
    if (at_ < text_.size()) broken("an opening bracket for ')'");
    link(whole, add({ModulePattern::State::Kind::accept, {}}));
    return whole.first;
  }

 private:
  using State = ModulePattern::State;
  struct Part {  // entered at `first`, left by `last`, whose `next` is open
    int first, last;
  };

  [[noreturn]] void broken(std::string_view expected) const {
    fail(ErrorCode::bad_file, "pattern {}: expected {} at character {}", in_quotes(text_), expected, at_);
  }
  [[noreturn]] void beyond(std::string_view what) const {
    fail(ErrorCode::unsupported, "pattern {}: {} is not supported in adapter metadata", in_quotes(text_), what);
  }
  int add(State state) {
    states_.push_back(std::move(state));
    return static_cast<int>(states_.size()) - 1;
  }
  void link(const Part& part, int next) { states_[part.last].next = next; }
  // A state that only leads on.
  int joint() { return add({State::Kind::split, {}}); }
  bool more() const { return at_ < text_.size(); }
  bool take(char c) {
    if (!more() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Part alternatives(int depth) {
    if (depth > kDeepest) beyond("nesting this deep");
    Part result = sequence(depth);
    while (take('|')) {
      const Part other = sequence(depth);
      const int fork = joint(), end = joint();
      states_[fork].next = result.first;
      states_[fork].other = other.first;
      link(result, end);
      link(other, end);
      result = {fork, end};
    }
    return result;
  }

  Part sequence(int depth) {
    const int start = joint();
    Part result{start, start};
    while (more() && text_[at_] != '|' && text_[at_] != ')') {
      const Part next = repeated(depth);
      link(result, next.first);
      result.last = next.last;
    }
    return result;
  }

  Part repeated(int depth) {
    const Part part = atom(depth);
    if (!more()) return part;
    const char sign = text_[at_];
    if (sign == '{') beyond("a counted repetition");
    if (sign != '*' && sign != '+' && sign != '?') return part;
    ++at_;
    take('?');  // lazy: the same names match
    if (more() && (text_[at_] == '*' || text_[at_] == '+')) beyond("a doubled repetition");
    const int fork = joint(), end = joint();
    states_[fork].next = part.first;
    states_[fork].other = end;
    link(part, sign == '?' ? end : fork);
    return {sign == '+' ? part.first : fork, end};
  }

  Part atom(int depth) {
    const char c = text_[at_++];
    switch (c) {
      case '(': return group(depth);
      case '[': return single(bracket());
      case '.': return single(CharacterSet(256, true));
      case '^': return single_state({State::Kind::begin, {}});
      case '$': return single_state({State::Kind::end, {}});
      case '\\': return single(escape());
      case '*':
      case '+':
      case '?': broken("something to repeat");
      default: return single(only(c));
    }
  }

  Part group(int depth) {
    if (take('?') && !take(':')) beyond("a group other than (...) and (?:...)");
    const Part part = alternatives(depth + 1);
    if (!take(')')) broken("')'");
    return part;
  }

  CharacterSet escape() {
    if (!more()) broken("a character after '\\'");
    const char c = text_[at_++];
    if (c == 'd' || c == 'w' || c == 's') return class_of(c);
    if (std::isalnum(static_cast<unsigned char>(c))) beyond(std::string("'\\") + c + "'");
    return only(c);
  }

  // After '[': characters, ranges and escapes up to ']'.
  CharacterSet bracket() {
    CharacterSet set(256, false);
    const bool negated = take('^');
    for (bool first = true; first || !take(']'); first = false) {
      if (!more()) broken("']'");
      const char c = text_[at_++];
      if (c == '\\') {
        const CharacterSet escaped = escape();
        for (int i = 0; i < 256; ++i) set[i] = set[i] || escaped[i];
      } else if (at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']') {
        const auto low = static_cast<unsigned char>(c), high = static_cast<unsigned char>(text_[at_ + 1]);
        if (low > high) broken("a rising range");
        for (int i = low; i <= high; ++i) set[i] = true;
        at_ += 2;
      } else {
        set[static_cast<unsigned char>(c)] = true;
      }
    }
    if (negated) set.flip();
    return set;
  }

  static CharacterSet only(char c) {
    CharacterSet set(256, false);
    set[static_cast<unsigned char>(c)] = true;
    return set;
  }
  Part single(CharacterSet set) { return single_state({State::Kind::characters, std::move(set)}); }
  Part single_state(State state) {
    const int index = add(std::move(state));
    return {index, index};
  }

  std::string_view text_;
  size_t at_ = 0;
  std::vector<State>& states_;
};

ModulePattern::ModulePattern(std::string_view pattern) {
  check(pattern.size() <= kLongest, ErrorCode::bad_file, "pattern of {} characters: expected at most {}",
        pattern.size(), kLongest);
  literal_ = read_literal(pattern);
  if (!literal_) start_ = PatternCompiler(pattern, states_).compile();
}

// Nearly all patterns are names, as `^transformer_blocks.0.attn.to_q`, whose dots stand for any character.
bool ModulePattern::read_literal(std::string_view pattern) {
  anchored_ = pattern.starts_with('^');
  for (size_t i = anchored_ ? 1 : 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '.') name_ += '\0';
    else if (c == '\\' && i + 1 < pattern.size() && pattern[i + 1] == '.') name_ += pattern[++i];
    else if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') name_ += c;
    else return false;
  }
  return true;
}

bool ModulePattern::matches_literal(std::string_view name) const {
  if (name.size() < name_.size()) return false;
  const size_t begin = name.size() - name_.size();
  if (begin > 0 && (anchored_ || name[begin - 1] != '.')) return false;
  for (size_t i = 0; i < name_.size(); ++i) {
    if (name_[i] != '\0' && name_[i] != name[begin + i]) return false;
  }
  return true;
}

void ModulePattern::follow(int start, size_t position, size_t length, std::vector<char>& reached,
                           std::vector<int>& list) const {
  std::vector<int> open = {start};
  while (!open.empty()) {
    const int index = open.back();
    open.pop_back();
    if (index < 0 || reached[index]) continue;
    reached[index] = 1;
    const State& state = states_[index];
    switch (state.kind) {
      case State::Kind::split:
        open.push_back(state.next);
        open.push_back(state.other);
        break;
      case State::Kind::begin:
        if (position == 0) open.push_back(state.next);
        break;
      case State::Kind::end:
        if (position == length) open.push_back(state.next);
        break;
      default: list.push_back(index);
    }
  }
}

bool ModulePattern::matches(std::string_view name) const {
  if (literal_) return matches_literal(name);
  std::vector<int> current, next;
  std::vector<char> reached(states_.size(), 0);
  for (size_t i = 0;; ++i) {
    if (i == 0 || name[i - 1] == '.') follow(start_, i, name.size(), reached, current);
    if (i == name.size()) break;
    next.clear();
    std::fill(reached.begin(), reached.end(), 0);
    for (const int index : current) {
      const State& state = states_[index];
      if (state.kind == State::Kind::characters && state.characters[static_cast<unsigned char>(name[i])]) {
        follow(state.next, i + 1, name.size(), reached, next);
      }
    }
    std::swap(current, next);
  }
  for (const int index : current) {
    if (states_[index].kind == State::Kind::accept) return true;
  }
  return false;
}

}  // namespace fx
