// One row of a benchmark on its own back-end and model, so that its peak of memory is its own; and its pictures.
#pragma once

#include <optional>

#include "bench.h"
#include "bench_adapters.h"
#include "pipeline/engine.h"

namespace fx::cli {

struct PictureSeconds {
  double total = 0;    // from the call to RGB bytes in host memory
  double prepare = 0;  // noise, inputs, modulation
  double steps = 0;
  double decode = 0;
};

class BenchSession {
 public:
  BenchSession(const BenchOptions& options, const BenchRow& row);

  // Puts the inputs of a picture (of all of a batch) in place: noise of the next seed, random embeddings.
  FluxActivations& begin();
  // The next noise is the first again.
  void restart_noise() { request_.seed = 0; }
  // begin, all steps, decoding.
  PictureSeconds make_picture(const ProgressCallback& progress = nullptr);

  // The adapters of the row in turns: all layers, then attention alone at half the rank. Empty without an adapter.
  AdapterSet adapters(int turn);
  AdapterSet set_of(std::shared_ptr<const Adapter> adapter) const;
  // Stages and publishes.
  SwapReport use(const AdapterSet& adapters) { return engine_->hot_swap().apply(adapters); }

  const BenchRow& row() const { return row_; }  // as it runs
  const Request& request() const { return request_; }
  Engine& engine() { return *engine_; }
  Runtime& runtime() { return engine_->ops().runtime(); }
  Denoiser& denoiser() { return engine_->pipeline().denoiser(); }
  // Of the model: from files, or random.
  double load_seconds() const { return load_seconds_; }
  // What of the row's settings a report names.
  nlohmann::json row_json() const;

 private:
  std::vector<float> next_noise();
  void draw_conditions();

  BenchRow row_;
  int batch_, rank_;
  double load_seconds_ = 0;
  std::unique_ptr<Engine> engine_;
  Request request_;
  FluxSizes sizes_;
  Conditions conditions_;
  std::vector<float> sigmas_, timesteps_;
  std::vector<std::shared_ptr<const Adapter>> drawn_;
};

}  // namespace fx::cli
