# cmake --install: the program, the static libraries, the public headers, and the CMake package `fluxswap`, whose
# target fluxswap::fluxswap is all that a user of the library names. fx_library() has installed the fx_* parts.
include(CMakePackageConfigHelpers)

if(TARGET fluxswap)
  install(TARGETS fluxswap RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

if(TARGET fluxswap_engine)
  set_target_properties(fluxswap_engine PROPERTIES EXPORT_NAME fluxswap)
  target_include_directories(fluxswap_engine PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  install(TARGETS fluxswap_engine EXPORT fluxswapTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/fluxswap DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fluxswap)
install(EXPORT fluxswapTargets NAMESPACE fluxswap:: DESTINATION ${package_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/fluxswapConfig.cmake.in
  ${PROJECT_BINARY_DIR}/fluxswapConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/fluxswapConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fluxswapConfig.cmake ${PROJECT_BINARY_DIR}/fluxswapConfigVersion.cmake
  DESTINATION ${package_dir})
