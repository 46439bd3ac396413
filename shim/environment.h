// SPDX-License-Identifier: MIT
// Programs that execute others, or themselves anew, with an environment of their own making
// (nginx's binary upgrade) would lose the shim there: its variables are put back.
#pragma once

#include <cstddef>

namespace subset::shim {

// At load: notes LD_PRELOAD and SUBSET*, as they are now. Programs write over the strings later.
void keep_variables();

// How many pointers an environment takes to which nothing is missing; 0 where `environment` is good
// as it is, or too large to be made anew on the stack.
size_t room_for_variables(char* const* environment);

// Fills them in.
void put_variables_back(char* const* environment, char** complete);

}  // namespace subset::shim
