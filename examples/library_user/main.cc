// Makes one picture with the installed library, with or without adapters:
//   library_user MODEL_FOLDER PICTURE.png [ADAPTER.safetensors]...
#include <fluxswap/fluxswap.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: library_user MODEL_FOLDER PICTURE.png [ADAPTER.safetensors]...\n");
    return 2;
  }
  try {
    fluxswap::Engine engine({.model = argv[1]});
    std::vector<fluxswap::Adapter> adapters;
    for (int i = 3; i < argc; ++i) adapters.push_back({.file = argv[i], .scale = 1.0f});
    const fluxswap::AdapterChange change = engine.use_adapters(adapters);
    std::printf("adapters ready in %.1f ms\n", change.seconds * 1e3);

    const auto progress = [](int step, int steps) {
      std::printf("step %d of %d\n", step, steps);
      return true;  // false would cancel
    };
    const fluxswap::Picture picture =
        engine.generate({.prompt = "a red star left of a blue circle", .steps = 4, .seed = 7}, progress);
    picture.write_png(argv[2]);
    std::printf("%s\n%d x %d pixels in %s\n", picture.parameters.c_str(), picture.width, picture.height, argv[2]);
  } catch (const fluxswap::Error& error) {
    std::fprintf(stderr, "library_user: %s\n", error.what());
    return 1;
  }
}
