# cmake -D BUILD_DIR=... -D EXAMPLE_DIR=... -D MODEL_DIR=... -D WORK_DIR=... -D CXX_COMPILER=... -P install_example.cmake
#
# Installs BUILD_DIR below WORK_DIR, builds the example against the installed package alone, and lets it make a
# picture: library_user MODEL_DIR PICTURE.png
cmake_minimum_required(VERSION 3.25)

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${what} failed with status ${status}:\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
set(prefix ${WORK_DIR}/prefix)
run("install" ${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})
run("configure" ${CMAKE_COMMAND} -G Ninja -S ${EXAMPLE_DIR} -B ${WORK_DIR}/build -D CMAKE_BUILD_TYPE=Release
  -D CMAKE_CXX_COMPILER=${CXX_COMPILER} -D CMAKE_PREFIX_PATH=${prefix})
run("build" ${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run("the installed program" ${prefix}/bin/fluxswap --version)

# The package must not lead back into the source tree: it has to work when that is gone.
get_filename_component(source ${EXAMPLE_DIR}/../.. ABSOLUTE)
file(GLOB_RECURSE package ${prefix}/*.cmake)
foreach(file ${package})
  file(READ ${file} text)
  string(FIND "${text}" "${source}/" at)
  if(at GREATER_EQUAL 0)
    message(FATAL_ERROR "${file} names the source folder ${source}")
  endif()
endforeach()

if(EXISTS ${MODEL_DIR}/model_index.json)
  run("library_user" ${WORK_DIR}/build/library_user ${MODEL_DIR} ${WORK_DIR}/picture.png)
  file(READ ${WORK_DIR}/picture.png magic LIMIT 8 HEX)
  if(NOT magic STREQUAL "89504e470d0a1a0a")
    message(FATAL_ERROR "expected a PNG file, found one that starts with ${magic}")
  endif()
endif()
