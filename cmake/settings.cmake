# Language, warnings, and the one way in which a folder of src/ becomes a target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

include(GNUInstallDirs)

# Compiled before is compiled for ever, where ccache is installed.
find_program(FLUXSWAP_CCACHE ccache DOC "ccache, used as compiler launcher if found")
if(FLUXSWAP_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${FLUXSWAP_CCACHE})
endif()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

# Designated initialisers leave members at their defaults on purpose.
set(warnings -Wall -Wextra -Wno-missing-field-initializers)
add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:${warnings}>")
if(FLUXSWAP_SANITIZE)
  add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${FLUXSWAP_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  add_link_options(-fsanitize=${FLUXSWAP_SANITIZE})
endif()

# fx_library(NAME SOURCES ... LIBS ...): the target fx_NAME. LIBS is the folder's row in DESIGN.md: what it may include.
function(fx_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_library(fx_${name} STATIC ${arg_SOURCES})
  target_include_directories(fx_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)
  target_link_libraries(fx_${name} PUBLIC ${arg_LIBS})
  install(TARGETS fx_${name} EXPORT fluxswapTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()
