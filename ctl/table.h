// SPDX-License-Identifier: MIT
// Aligned columns. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace subset::ctl {

enum class Colour : uint8_t { None, Bold, Red, Green, Yellow, Cyan };

struct Cell {
  Cell() = default;
  Cell(std::string cell_text, Colour cell_colour = Colour::None)
      : text(std::move(cell_text)), colour(cell_colour) {}
  Cell(const char* cell_text, Colour cell_colour = Colour::None)
      : text(cell_text), colour(cell_colour) {}
  std::string text;
  Colour colour = Colour::None;
};

struct Column {
  const char* title;
  bool right = false;  // numbers
};

std::string painted(std::string_view text, Colour colour, bool enabled);

// What comes from a server's name or from the daemon may hold escape sequences: none reaches the
// terminal.
std::string printable(std::string_view text);

// The width of each column, of its heading and of what is in it.
std::vector<size_t> widths_of(const std::vector<Column>& columns,
                              const std::vector<std::vector<Cell>>& rows);

// The heading and the rows as lines of cells whose texts, one behind the other, are aligned. Rows
// shorter than the heading end early; no line ends in blanks.
std::vector<std::vector<Cell>> lay_out(const std::vector<Column>& columns,
                                       const std::vector<std::vector<Cell>>& rows,
                                       std::string_view indent);

// The same as text.
std::string render_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<Cell>>& rows, std::string_view indent,
                         bool colour);

}  // namespace subset::ctl
