// fluxswap bench image: seconds per picture, row by row, each adding one thing to the one before.
#include <algorithm>
#include <future>
#include <iostream>

#include "bench_report.h"
#include "bench_session.h"
#include "console.h"
#include "pipeline/stop_watch.h"
#include "progress_bar.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

using nlohmann::json;

const std::vector<BenchColumn> kColumns = {{"name", "row", 21},
                                           {"precision", "type", 5},
                                           {"attention", "attention", 9},
                                           {"image_seconds", "s/image", 9, 4},
                                           {"step_seconds_median", "ms/step", 9, 3, 1e-3},
                                           {"decode_seconds_median", "VAE ms", 8, 2, 1e-3},
                                           {"wait_seconds_median", "swap ms", 8, 2, 1e-3},
                                           {"captures", "captures", 8},
                                           {"peak_bytes", "peak GiB", 8, 2, 1 << 30}};

// The adapters of a row in turns, each staged on a thread of its own while a picture is made.
class Turns {
 public:
  explicit Turns(BenchSession& session) : session_(session) { session_.use(session_.adapters(0)); }

  void stage_next() {
    if (next_.valid()) return;
    next_ = std::async(std::launch::async, [this, set = session_.adapters(++turn_)] {
      StopWatch watch;
      StagedAdapters staged = session_.engine().hot_swap().stage(set);
      stage_seconds_ = watch.lap();
      return staged;
    });
  }
  // Seconds that the engine waits: for what is left of staging, and for publishing.
  double publish() {
    stage_next();
    StopWatch watch;
    session_.engine().hot_swap().publish(next_.get());
    return watch.lap();
  }
  double stage_seconds() const { return stage_seconds_; }

 private:
  BenchSession& session_;
  int turn_ = 0;
  double stage_seconds_ = 0;
  std::future<StagedAdapters> next_;  // the last member: its thread ends before the others go
};

struct Lists {
  std::vector<double> total, step, prepare, decode, wait, stage;
};

void make_pictures(BenchSession& session, Turns& turns, int count, Lists& lists) {
  for (int i = 0; i < count; ++i) {
    if (session.row().swapped) turns.stage_next();
    const PictureSeconds seconds = session.make_picture();
    lists.total.push_back(seconds.total);
    lists.step.push_back(seconds.steps / session.request().steps);
    lists.prepare.push_back(seconds.prepare);
    lists.decode.push_back(seconds.decode);
    if (!session.row().swapped) continue;
    lists.wait.push_back(turns.publish());
    lists.stage.push_back(turns.stage_seconds());
  }
}

json measure(const BenchOptions& options, const BenchRow& row, json& facts) {
  BenchSession session(options, row);
  facts = bench_facts(options, "bench image", session.engine().ops(), session.request());
  Turns turns(session);
  Lists warm_up, lists;
  make_pictures(session, turns, kWarmUps, warm_up);
  make_pictures(session, turns, options.images, lists);
  json result = session.row_json();
  put_list(result, "seconds", lists.total);  // of a whole batch, as are those below
  result["image_seconds"] = median(lists.total) / options.batch;
  put_list(result, "step_seconds", lists.step);
  put_list(result, "prepare_seconds", lists.prepare);
  put_list(result, "decode_seconds", lists.decode);
  if (!lists.wait.empty()) {
    put_list(result, "wait_seconds", lists.wait);
    put_list(result, "stage_seconds", lists.stage);
  }
  result["captures"] = session.denoiser().captures();
  result["slot_bytes"] = session.engine().hot_swap().memory().slot_bytes;
  result["peak_bytes"] = session.runtime().memory().peak_bytes;
  return result;
}

// A program that alternates with another one drives this: a line of standard input is a command, a line of standard
// output its answer. What is not understood is answered, too, and changes nothing.
void interact(const BenchOptions& options, const BenchRow& row) {
  BenchSession session(options, row);
  Turns turns(session);
  Lists ignored;
  make_pictures(session, turns, kWarmUps, ignored);
  write_out("ready {}\n", session.row().name);
  for (std::string line; std::getline(std::cin, line) && line != "quit";) {
    if (line == "image") {
      if (session.row().adapter != BenchAdapter::none) turns.stage_next();  // beside the picture, for a swap after it
      write_out("image {:.6f}\n", session.make_picture().total);
    } else if (line == "swap") {
      write_out("swap {:.6f}\n", turns.publish());
    } else {
      write_out("error expected image, swap or quit, found '{}'\n", one_line(line));
    }
  }
}

}  // namespace

void run_bench_image(const BenchOptions& options) {
  if (options.interactive) {
    expect(options.rows.size() == 1, "--interactive: expected one row in --rows, found {}", options.rows.size());
    return interact(options, bench_row(options.rows.front()));
  }
  std::vector<std::string> names = options.rows;
  const std::vector<std::string> encoders = text_encoder_rows();
  if (names.empty()) {
    for (const BenchRow& row : bench_rows()) names.push_back(row.name);
    names.insert(names.end(), encoders.begin(), encoders.end());
  }
  BenchReport report(options, kColumns);
  ProgressBar bar;
  for (const std::string& name : names) {
    bar.show(name);
    json facts;
    const bool encoder = std::ranges::find(encoders, name) != encoders.end();
    const json row = encoder ? measure_text_encoder(options, name, facts) : measure(options, bench_row(name), facts);
    bar.clear();
    report.add(facts, row);
  }
  report.finish();
}

}  // namespace fx::cli
