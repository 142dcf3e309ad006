#include "bench_report.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <ctime>
#include <fstream>

#include "console.h"
#include "core/error.h"
#include "outputs.h"

namespace fx::cli {

using nlohmann::json;

double median(std::vector<double> values) {
  check(!values.empty(), ErrorCode::internal, "the median of nothing");
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

void put_list(json& row, const std::string& name, const std::vector<double>& values) {
  row[name] = values;
  row[name + "_median"] = median(values);
}

json bench_facts(const BenchOptions& options, const std::string& command, Ops& ops, const Request& request) {
  return {{"command", command},
          {"version", FLUXSWAP_VERSION},
          {"date", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)))},
          {"device", ops.runtime().device_name()},
          {"backend", ops.backend_name()},
          {"model", options.random_weights ? options.shape : options.engine.model.string()},
          {"random_weights", options.random_weights},
          {"width", request.width},
          {"height", request.height},
          {"steps", request.steps},
          {"text_tokens", request.max_sequence_length},
          {"batch", options.batch},
          {"rank", options.rank}};
}

std::string table_head(const std::vector<BenchColumn>& columns) {
  std::string line;
  for (const BenchColumn& column : columns) {
    line += line.empty() ? fmt::format("{:<{}}", column.head, column.width)
                         : fmt::format("  {:>{}}", column.head, column.width);
  }
  return line + "\n";
}

std::string table_line(const std::vector<BenchColumn>& columns, const json& row) {
  std::string line;
  for (const BenchColumn& column : columns) {
    const json value = row.value(column.key, json());
    std::string text = "-";
    if (value.is_number_float()) text = fmt::format("{:.{}f}", value.get<double>() / column.unit, column.decimals);
    else if (value.is_number())
      text = fmt::format("{:.{}f}", value.get<double>() / column.unit, column.unit == 1 ? 0 : column.decimals);
    else if (value.is_string()) text = value.get<std::string>();
    else if (value.is_boolean()) text = value.get<bool>() ? "yes" : "no";
    line += line.empty() ? fmt::format("{:<{}}", text, column.width) : fmt::format("  {:>{}}", text, column.width);
  }
  return line + "\n";
}

BenchReport::BenchReport(const BenchOptions& options, std::vector<BenchColumn> columns)
    : json_(options.json), log_(options.log), columns_(std::move(columns)) {
  check_writable(log_);
}

void BenchReport::add(const json& facts, const json& row) {
  if (all_.is_null()) {
    all_ = facts;
    all_["rows"] = json::array();
    if (!json_) {
      write_out("{}: {} on {} ({}), {}x{}, {} steps, batch {}\n", facts.at("command").get<std::string>(),
                facts.at("model").get<std::string>(), facts.at("device").get<std::string>(),
                facts.at("backend").get<std::string>(), facts.at("width").get<int>(), facts.at("height").get<int>(),
                facts.at("steps").get<int>(), facts.at("batch").get<int>());
      print_text(table_head(columns_));
    }
  }
  all_["rows"].push_back(row);
  if (!json_) print_text(table_line(columns_, row));
  if (log_.empty()) return;
  json line = facts;
  line["row"] = row;
  std::ofstream file(log_, std::ios::app);
  file << line.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
  check(file.flush().good(), ErrorCode::device, "{}: cannot be written", log_.string());
}

void BenchReport::note(const std::string& text) {
  if (!json_) print_text(text);
}

void BenchReport::finish() {
  if (json_) print_json(all_);
}

}  // namespace fx::cli
