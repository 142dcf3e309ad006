// For tests of errors: what was thrown, or a failure.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace fx::test {

// The message of the Error(code) that `action` throws; a test failure if it throws none, or one with another code.
template <class Action>
std::string error_of(ErrorCode code, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_STREQ(name(error.code()), name(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "expected an Error(" << name(code) << "), none was thrown";
  return "";
}

}  // namespace fx::test
