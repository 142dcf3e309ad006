// Rows of a benchmark as they are measured: a line of a table at once, and JSON at the end.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench.h"

namespace fx::cli {

double median(std::vector<double> values);
// Adds a list under `name` and its median under `name` + "_median".
void put_list(nlohmann::json& row, const std::string& name, const std::vector<double>& values);

struct BenchColumn {
  std::string key;  // of a row
  std::string head;
  int width;         // texts stand on the left, numbers on the right
  int decimals = 3;  // of numbers
  double unit = 1;   // numbers are divided by it
};

// Lines of a table; what a row lacks is "-".
std::string table_head(const std::vector<BenchColumn>& columns);
std::string table_line(const std::vector<BenchColumn>& columns, const nlohmann::json& row);

class BenchReport {
 public:
  // Throws as check_writable for a log that cannot be written.
  BenchReport(const BenchOptions& options, std::vector<BenchColumn> columns);

  // `facts` are those of bench_facts: of the device and the whole run.
  void add(const nlohmann::json& facts, const nlohmann::json& row);
  // More text below the table; nothing under --json.
  void note(const std::string& text);
  // The JSON object.
  void finish();

 private:
  bool json_;
  Path log_;  // gets a line of JSON for each row as it comes, so that a run that is cut off leaves what it had
  std::vector<BenchColumn> columns_;
  nlohmann::json all_;
};

}  // namespace fx::cli
