// fluxswap grid: a contact sheet, prompts down, adapters across; the adapters are swapped between the pictures.
#include "commands.h"
#include "console.h"
#include "contact_sheet.h"
#include "core/error.h"
#include "json_report.h"
#include "outputs.h"
#include "pipeline/stop_watch.h"
#include "session.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

constexpr int64_t kMaxSheetPixels = int64_t{1} << 28;

struct Cell {
  size_t row, column;
  AdapterChange change;
  Timings timings;
};

struct Grid {
  Request request;                                  // of all cells, but for the prompt
  std::vector<std::vector<AdapterChoice>> columns;  // the first is empty
  std::vector<std::string> labels;                  // of the columns
  std::vector<nlohmann::json> adapters;             // of the columns, for the report
  std::vector<std::string> hashes;                  // of the columns: "ink: 0123456789, ..."
  std::vector<Cell> cells;
  std::string model_hash;
};

// Everything that can go wrong without the weights goes wrong here.
Grid checked_grid(const GridOptions& o) {
  expect_png_name(o.out);
  const ModelConfigs configs = read_model_configs(o.engine.model);
  Grid grid{.columns = {{}}};
  for (const std::string& prompt : o.prompts) grid.request = make_request(o.picture, prompt, configs);
  grid.columns.insert(grid.columns.end(), o.columns.begin(), o.columns.end());
  for (const auto& column : grid.columns) {
    check_adapters_exist(column);
    grid.labels.push_back(column.empty() ? "no adapter" : describe_adapters(column));
  }
  const int64_t pixels = ContactSheet::pixels(static_cast<int>(grid.request.width),
                                              static_cast<int>(grid.request.height), o.prompts.size(), grid.labels);
  expect(pixels <= kMaxSheetPixels,
         "the sheet would have {} pixels: expected at most {}; take fewer or smaller pictures", pixels,
         kMaxSheetPixels);
  std::vector<NamedFile> inputs;
  for (const auto& column : grid.columns) {
    for (NamedFile& file : adapter_files(column)) inputs.push_back(std::move(file));
  }
  expect_distinct({{"--out", o.out}}, inputs);
  check_writable(o.out);
  return grid;
}

void report_cell(const GridOptions& o, const Grid& grid, const Cell& cell) {
  if (o.json) return;
  write_out("{}/{}  \"{}\"  {}  swap {:.2f} ms  {:.3f} s/step\n", grid.cells.size(),
            o.prompts.size() * grid.columns.size(), one_line(o.prompts[cell.row]), grid.labels[cell.column],
            1e3 * cell.change.swap.seconds, cell.timings.seconds_per_step);
}

void note_adapters(Grid& grid, const Engine& engine) {
  grid.adapters.push_back(adapters_json(engine.adapters()));
  std::string hashes;
  for (const AdapterUse& use : engine.adapter_uses())
    hashes += fmt::format("{}{}: {}", hashes.empty() ? "" : ", ", use.name, use.hash);
  grid.hashes.push_back(hashes);
}

void make_cell(const GridOptions& o, Engine& engine, Grid& grid, Cell cell, ProgressBar& bar, ContactSheet& sheet) {
  cell.change = engine.use_adapters(grid.columns[cell.column]);
  if (cell.row == 0) {
    warn_all(cell.change.warnings, bar);
    note_adapters(grid, engine);
  }
  bar.set_prefix(fmt::format("{}/{}", grid.cells.size() + 1, o.prompts.size() * grid.columns.size()));
  Request request = grid.request;
  request.prompt = o.prompts[cell.row];
  const Picture picture = engine.generate(request, [&](const Progress& progress) {
    bar.update(progress);
    return true;
  });
  bar.clear();
  if (cell.column == 0) warn_all(picture.warnings, bar);
  cell.timings = picture.timings;
  sheet.place(cell.row, cell.column, picture.image);
  grid.cells.push_back(cell);
  report_cell(o, grid, cell);
}

// The sheet's "parameters" text.
std::string sheet_parameters(const GridOptions& o, const Grid& grid, const ModelConfigs& configs) {
  std::string text = "fluxswap grid: prompts down, adapters across";
  for (size_t row = 0; row < o.prompts.size(); ++row) text += fmt::format("\nPrompt {}: {}", row + 1, o.prompts[row]);
  for (size_t column = 0; column < grid.columns.size(); ++column) {
    text += fmt::format("\nAdapter {}: {}", column + 1, grid.labels[column]);
    if (!grid.hashes[column].empty()) text += fmt::format(" ({})", grid.hashes[column]);
  }
  Request request = grid.request;
  request.prompt.clear();
  return text + picture_parameters(request, configs, grid.model_hash, {});  // begins with a new line
}

nlohmann::json report(const GridOptions& o, Engine& engine, const Grid& grid, double total_seconds) {
  nlohmann::json images = nlohmann::json::array();
  for (const Cell& cell : grid.cells) {
    images.push_back({{"prompt", o.prompts[cell.row]},
                      {"adapter", grid.labels[cell.column]},
                      {"swap", swap_json(cell.change)},
                      {"timings", timings_json(cell.timings)}});
  }
  nlohmann::json json = run_json("grid", engine, grid.request, grid.model_hash);
  json.update({{"prompts", o.prompts},
               {"columns", grid.adapters},
               {"timings", {{"load_seconds", engine.load_seconds()}, {"total_seconds", total_seconds}}},
               {"output", o.out.string()},
               {"images", std::move(images)}});
  return json;
}

}  // namespace

void run_grid(const GridOptions& o) {
  StopWatch watch;
  Grid grid = checked_grid(o);
  ProgressBar bar;
  const auto engine = open_engine(o.engine, bar);
  bar.show("reading adapters");
  engine->prepare_adapters(grid.columns);
  ContactSheet sheet(static_cast<int>(grid.request.width), static_cast<int>(grid.request.height), o.prompts,
                     grid.labels);
  for (size_t row = 0; row < o.prompts.size(); ++row) {
    for (size_t column = 0; column < grid.columns.size(); ++column) {
      make_cell(o, *engine, grid, {.row = row, .column = column}, bar, sheet);
    }
  }
  grid.model_hash = model_hash(engine->model().folder);
  save_picture(o.out, sheet.image(), sheet_parameters(o, grid, engine->model().configs));
  if (o.json) return print_json(report(o, *engine, grid, watch.lap()));
  write_out("{}: {} pictures, seed {}, {}x{}, {} steps, {:.3g} s\n", o.out.string(), grid.cells.size(),
            grid.request.seed, grid.request.width, grid.request.height, grid.request.steps, watch.lap());
}

}  // namespace fx::cli
