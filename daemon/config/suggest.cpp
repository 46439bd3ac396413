// SPDX-License-Identifier: MIT
#include "daemon/config/suggest.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace subset {
namespace {

// Longer than any word of ours: what is typed may be of any length.
constexpr size_t kLongest = 40;

// Levenshtein's distance, one row of the table at a time.
size_t distance(std::string_view from, std::string_view to) {
  std::vector<size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < from.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < to.size(); ++j) {
      const size_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::optional<std::string_view> nearest_word(std::string_view typed,
                                             std::span<const std::string_view> words) {
  if (typed.empty() || typed.size() > kLongest) return std::nullopt;
  std::optional<std::string_view> best;
  size_t least = std::max<size_t>(1, typed.size() / 3) + 1;
  for (std::string_view word : words) {
    const size_t its = distance(typed, word);
    if (its >= least) continue;
    least = its;
    best = word;
  }
  return best;
}

}  // namespace subset
