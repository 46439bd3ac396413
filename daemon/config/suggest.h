// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace subset {

// The word that somebody who wrote `typed` probably meant; nothing where none is near.
std::optional<std::string_view> nearest_word(std::string_view typed,
                                             std::span<const std::string_view> words);

}  // namespace subset
