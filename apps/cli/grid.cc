// fluxswap grid: a contact sheet, prompts down, adapters across; the adapters are swapped between the pictures.
#include <set>

#include "adapter_choice.h"
#include "adapter_spec.h"
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

// A prompt without its tags, and the adapters that they name.
struct Row {
  std::string prompt;
  std::vector<AdapterChoice> tags;
};

struct Grid {
  Request request;  // of all cells, but for the prompt
  std::vector<Row> rows;
  std::vector<std::vector<AdapterChoice>> columns;  // the first is empty
  std::vector<std::string> labels;                  // of the columns
  std::vector<nlohmann::json> adapters;             // of the columns, for the report
  std::vector<std::string> hashes;                  // of the columns: "ink: 0123456789, ..."
  std::vector<Cell> cells;
  std::set<std::string> warned;  // of adapters, each once
  std::string model_hash;
};

std::vector<AdapterChoice> adapters_of(const Grid& grid, size_t row, size_t column) {
  return combined(grid.columns[column], grid.rows[row].tags);
}

std::vector<std::vector<AdapterChoice>> all_sets(const Grid& grid) {
  std::vector<std::vector<AdapterChoice>> sets;
  for (size_t row = 0; row < grid.rows.size(); ++row) {
    for (size_t column = 0; column < grid.columns.size(); ++column) sets.push_back(adapters_of(grid, row, column));
  }
  return sets;
}

// Everything that can go wrong without the weights goes wrong here.
Grid checked_grid(const GridOptions& o) {
  expect_png_name(o.out);
  const ModelConfigs configs = read_model_configs(o.engine.model);
  Grid grid{.columns = {{}}};
  AdapterChooser chooser(o.adapters);
  for (const auto& column : o.columns) grid.columns.push_back(chooser.files_of(column));
  for (const auto& column : grid.columns) {
    grid.labels.push_back(column.empty() ? "no adapter" : describe_adapters(column));
  }
  for (const std::string& prompt : o.prompts) {
    Row row{.prompt = prompt};
    row.tags = chooser.take_tags(row.prompt);
    grid.request = make_request(o.picture, row.prompt, configs);
    grid.rows.push_back(std::move(row));
  }
  const int64_t pixels = ContactSheet::pixels(static_cast<int>(grid.request.width),
                                              static_cast<int>(grid.request.height), o.prompts.size(), grid.labels);
  expect(pixels <= kMaxSheetPixels,
         "the sheet would have {} pixels: expected at most {}; take fewer or smaller pictures", pixels,
         kMaxSheetPixels);
  std::vector<NamedFile> inputs;
  for (const auto& set : all_sets(grid)) {
    for (NamedFile& file : adapter_files(set)) inputs.push_back(std::move(file));
  }
  expect_distinct({{"--out", o.out}}, inputs);
  check_writable(o.out);
  return grid;
}

std::string describe(const LibraryStatistics& s) {
  return fmt::format("adapters: {} read in {:.3g} ms, {} hits, {} swaps in {:.3g} ms", s.misses + s.preloads,
                     1e3 * s.load_seconds, s.hits, s.swaps, 1e3 * s.swap_seconds);
}

void report_cell(const GridOptions& o, const Grid& grid, const Cell& cell) {
  if (o.json) return;
  write_out("{}/{}  \"{}\"  {}  swap {:.2f} ms  {:.3f} s/step\n", grid.cells.size(),
            o.prompts.size() * grid.columns.size(), one_line(o.prompts[cell.row]), grid.labels[cell.column],
            1e3 * cell.change.swap.seconds, cell.timings.seconds_per_step);
}

// Those of the column; what the tags of a row add comes behind them.
void note_adapters(Grid& grid, size_t column, const AdapterSet& active) {
  const size_t count = grid.columns[column].size();
  grid.adapters.push_back(adapters_json({active.begin(), active.begin() + static_cast<ptrdiff_t>(count)}));
  std::string hashes;
  for (size_t i = 0; i < count; ++i) {
    const Adapter& adapter = *active[i].adapter;
    hashes += fmt::format("{}{}: {}", hashes.empty() ? "" : ", ", adapter.name, adapter.hash.autov2());
  }
  grid.hashes.push_back(hashes);
}

// Reads all files, ahead and in the background, and makes room for the largest set.
void prepare(const GridOptions& o, Engine& engine, const Grid& grid) {
  const auto sets = all_sets(grid);
  std::vector<Path> files;
  for (const auto& set : sets) {
    for (const AdapterChoice& choice : set) files.push_back(choice.file);
  }
  engine.library().preload(files);
  for (const auto& set : sets) check_strict(engine, o.adapters, set);
  engine.prepare_adapters(sets);
}

// The adapters of the picture after this one, if there is one.
std::optional<std::vector<AdapterChoice>> next_adapters(const Grid& grid, const Cell& cell) {
  if (cell.column + 1 < grid.columns.size()) return adapters_of(grid, cell.row, cell.column + 1);
  if (cell.row + 1 < grid.rows.size()) return adapters_of(grid, cell.row + 1, 0);
  return std::nullopt;
}

void make_cell(const GridOptions& o, Engine& engine, Grid& grid, Cell cell, ProgressBar& bar, ContactSheet& sheet) {
  cell.change = engine.use_adapters(adapters_of(grid, cell.row, cell.column));
  if (cell.row == 0) note_adapters(grid, cell.column, engine.adapters());
  std::erase_if(cell.change.warnings, [&](const std::string& warning) { return !grid.warned.insert(warning).second; });
  warn_all(cell.change.warnings, bar);
  bar.set_prefix(fmt::format("{}/{}", grid.cells.size() + 1, o.prompts.size() * grid.columns.size()));
  Request request = grid.request;
  request.prompt = grid.rows[cell.row].prompt;
  if (const auto next = next_adapters(grid, cell)) engine.prepare_next(*next);
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
               {"library", library_json(engine.library().statistics())},
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
  const auto engine = open_engine(o.engine, o.adapters, bar);
  bar.show("reading adapters");
  prepare(o, *engine, grid);
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
  write_out("{}: {} pictures, seed {}, {}x{}, {} steps, {:.3g} s; {}\n", o.out.string(), grid.cells.size(),
            grid.request.seed, grid.request.width, grid.request.height, grid.request.steps, watch.lap(),
            describe(engine->library().statistics()));
}

}  // namespace fx::cli
