#include "commands.h"
namespace fx::cli { void run_grid(const GridOptions&) {} }
