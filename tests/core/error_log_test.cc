#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "core/error.h"
#include "core/log.h"
#include "support/expect_error.h"

namespace fx {
namespace {

using test::error_of;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Error, CarriesItsCodeAndMessage) {
  EXPECT_EQ(error_of(ErrorCode::cancelled, [] { fail(ErrorCode::cancelled, "stopped at step {}", 3); }),
            "stopped at step 3");
  EXPECT_EQ(error_of(ErrorCode::internal, [] { check(1 > 2, ErrorCode::internal, "{} > {}", 1, 2); }), "1 > 2");
  EXPECT_NO_THROW(check(true, ErrorCode::internal, "never"));
}

TEST(Error, EveryCodeHasAName) {
  std::set<std::string> names;
  for (const ErrorCode code :
       {ErrorCode::invalid_argument, ErrorCode::bad_file, ErrorCode::unsupported, ErrorCode::out_of_memory,
        ErrorCode::device, ErrorCode::cancelled, ErrorCode::internal}) {
    names.insert(name(code));
  }
  EXPECT_EQ(names.size(), 7u);
}

TEST(Log, GoesToStandardErrorFromItsLevelOn) {
  ::testing::internal::CaptureStderr();
  set_log_level(LogLevel::warning);
  log_info("quiet {}", 1);
  log_warning("loud {}", 2);
  set_log_level(LogLevel::debug);
  log(LogLevel::debug, "detail");
  log(LogLevel::error, "{} is not a format here");
  set_log_level(LogLevel::off);
  log(LogLevel::error, "nothing");
  set_log_level(LogLevel::warning);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, Not(HasSubstr("quiet")));
  EXPECT_THAT(text, HasSubstr("loud 2"));
  EXPECT_THAT(text, HasSubstr("detail"));
  EXPECT_THAT(text, HasSubstr("{} is not a format here"));
  EXPECT_THAT(text, Not(HasSubstr("nothing")));
}

}  // namespace
}  // namespace fx
