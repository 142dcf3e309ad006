// fluxswap lora convert: any adapter as a file that others read.
#include "adapter_choice.h"
#include "adapter_model.h"
#include "commands.h"
#include "console.h"
#include "core/log.h"
#include "json_report.h"
#include "lora/file/read.h"
#include "lora/messages.h"
#include "lora/write/convert.h"
#include "outputs.h"
#include "signals.h"

namespace fx::cli {
namespace {

using nlohmann::json;

void warn(const Adapter& adapter, const std::string& model) {
  const AdapterReport& report = adapter.report;
  for (const std::string& warning : report.warnings) log(LogLevel::warning, one_line(warning));
  if (report.unmatched.empty()) return;
  log_warning("left out, because nothing in {} matches: {}: {}", model, plural(report.unmatched.size(), "key"),
              listed(report.unmatched, report.unmatched.size()));
}

Conversion write(const LoraConvertOptions& o, const Adapter& adapter, const AdapterModel& model) {
  const SignalHold hold;
  if (o.dense) return write_parameter_deltas(o.out, adapter, model.target(), model.open_weights());
  return write_diffusers_adapter(o.out, adapter, model.target(), o.dtype);
}

json to_json(const LoraConvertOptions& o, const Adapter& adapter, const Conversion& done) {
  json tensors = json::object();
  for (const auto& [name, shape] : done.tensors) tensors[name] = shape_json(shape);
  return {{"command", "lora convert"},
          {"output", o.out.string()},
          {"dense", o.dense},
          {"dtype", name(o.dtype)},
          {"modules", done.modules},
          {"rank", adapter.report.rank_summary()},
          {"unmatched", adapter.report.unmatched},
          {"tensors", std::move(tensors)}};
}

}  // namespace

void run_lora_convert(const LoraConvertOptions& o) {
  expect_distinct({{"OUT", o.out}}, {{"IN", o.in}});
  check_writable(o.out);
  const AdapterModel model(o.model);
  const Adapter adapter =
      resolve_adapter(read_adapter_file(adapter_file(o.in)), model.target(), AbsentComponents::kept);
  if (o.strict) require_complete(adapter.report, o.in);
  warn(adapter, model.name());
  const Conversion done = write(o, adapter, model);
  if (o.json) return print_json(to_json(o, adapter, done));
  if (o.dense) {
    return write_out("{}: differences of {}, {}\n", o.out.string(), plural(done.modules, "parameter"), name(o.dtype));
  }
  write_out("{}: {}, rank {}, {}\n", o.out.string(), plural(done.modules, "module"), adapter.report.rank_summary(),
            name(o.dtype));
}

}  // namespace fx::cli
