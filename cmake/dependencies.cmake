# Everything here is a Debian 12 package; scripts/install_dependencies.sh installs them.
find_package(fmt 9.1 REQUIRED)            # libfmt-dev
find_package(spdlog 1.10 REQUIRED)        # libspdlog-dev
find_package(nlohmann_json 3.11 REQUIRED) # nlohmann-json3-dev
find_package(CLI11 2.1 REQUIRED)          # libcli11-dev
find_package(PNG 1.6 REQUIRED)            # libpng-dev
find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto)  # libssl-dev
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)            # libutf8proc-dev
if(FLUXSWAP_TESTS)
  find_package(GTest 1.12 REQUIRED)       # libgtest-dev
endif()
if(FLUXSWAP_BENCH)
  find_package(benchmark 1.7 REQUIRED)    # libbenchmark-dev
endif()
