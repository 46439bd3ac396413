// SPDX-License-Identifier: MIT
#include "ctl/table.h"

#include <algorithm>

namespace subset::ctl {
namespace {

const char* escape_of(Colour colour) {
  switch (colour) {
    case Colour::None:
      return "";
    case Colour::Bold:
      return "\033[1m";
    case Colour::Red:
      return "\033[31m";
    case Colour::Green:
      return "\033[32m";
    case Colour::Yellow:
      return "\033[33m";
    case Colour::Cyan:
      return "\033[36m";
  }
  return "";
}

using Row = std::vector<Cell>;

Row align(const std::vector<Column>& columns, const std::vector<size_t>& widths, const Row& row,
          std::string_view indent) {
  Row line;
  size_t owed = indent.size();  // blanks that are written only if something follows
  for (size_t i = 0; i < std::min(columns.size(), row.size()); ++i) {
    const Cell& cell = row[i];
    size_t padding = widths[i] - cell.text.size();
    if (columns[i].right) owed += padding;
    if (!cell.text.empty()) {
      if (owed > 0) line.emplace_back(std::string(owed, ' '));
      line.push_back(cell);
      owed = 0;
    }
    owed += (columns[i].right ? 0 : padding) + 2;
  }
  return line;
}

}  // namespace

std::string painted(std::string_view text, Colour colour, bool enabled) {
  if (!enabled || colour == Colour::None) return std::string(text);
  return escape_of(colour) + std::string(text) + "\033[0m";
}

std::string printable(std::string_view text) {
  std::string result(text);
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return result;
}

std::vector<size_t> widths_of(const std::vector<Column>& columns, const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns.size(); ++i) {
    size_t width = std::string_view(columns[i].title).size();
    for (const Row& row : rows)
      if (i < row.size()) width = std::max(width, row[i].text.size());
    widths.push_back(width);
  }
  return widths;
}

std::vector<Row> lay_out(const std::vector<Column>& columns, const std::vector<Row>& rows,
                         std::string_view indent) {
  std::vector<size_t> widths = widths_of(columns, rows);
  Row heading;
  for (const Column& column : columns) heading.emplace_back(column.title, Colour::Bold);
  std::vector<Row> lines{align(columns, widths, heading, indent)};
  for (const Row& row : rows) lines.push_back(align(columns, widths, row, indent));
  return lines;
}

std::string render_table(const std::vector<Column>& columns, const std::vector<Row>& rows,
                         std::string_view indent, bool colour) {
  std::string text;
  for (const Row& line : lay_out(columns, rows, indent)) {
    for (const Cell& cell : line) text += painted(cell.text, cell.colour, colour);
    text += "\n";
  }
  return text;
}

}  // namespace subset::ctl
