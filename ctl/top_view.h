// SPDX-License-Identifier: MIT
// What `subset top` shows: looks at the daemon and keys in, lines out. Pure.
#pragma once

#include <cstddef>
#include <ctime>
#include <string>
#include <vector>

#include "ctl/command_line.h"
#include "ctl/rates.h"
#include "ctl/table.h"

namespace subset::ctl {

// Letters are themselves.
enum class Key : int { None = 0, Up = 0x1000, Down, PageUp, PageDown, Home, End, Escape };

struct TopState {
  SortKey sort = SortKey::Name;
  bool reversed = false;
  bool groups = false;  // a row for each group, not for each member
  bool help = false;
  size_t first = 0;  // the row at the top
};

enum class After { GoOn, Quit };
After press(TopState& state, Key key, size_t page_rows);

struct TopInput {
  std::vector<GroupView> groups;
  Rates rates;
  std::time_t now = 0;
  std::string trouble;  // why this is not of now; empty if it is
};

struct TerminalSize {
  size_t columns = 80;
  size_t rows = 24;
};

// At most as many lines as the terminal has; they may be wider. `state.first` is brought into what
// there is.
std::vector<std::vector<Cell>> render_top(const TopInput& input, TopState& state,
                                          const TerminalSize& size);

// How many rows of the table a page has.
size_t page_rows(const TerminalSize& size);

}  // namespace subset::ctl
