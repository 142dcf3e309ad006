// Work for the end of a scope, however that is left.
#pragma once

#include <utility>

namespace fx {

template <class Work>
class Finally {
 public:
  explicit Finally(Work work) : work_(std::move(work)) {}
  ~Finally() { work_(); }
  Finally(const Finally&) = delete;
  Finally& operator=(const Finally&) = delete;

 private:
  Work work_;
};

}  // namespace fx
