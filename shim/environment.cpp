// SPDX-License-Identifier: MIT
#include "shim/environment.h"

#include <string.h>
#include <unistd.h>

#include "shim/process.h"

namespace subset::shim {
namespace {

constexpr size_t kMaxKept = 32;
constexpr size_t kMaxEntries = 1024;  // of an environment that is made anew: 8 KiB of stack

char texts[4096];
size_t text_size = 0;
char* kept[kMaxKept];
size_t kept_count = 0;

bool starts_with(const char* entry, const char* prefix) {
  return !strncmp(entry, prefix, strlen(prefix));
}

bool is_ours(const char* entry) {
  return starts_with(entry, "LD_PRELOAD=") || starts_with(entry, "SUBSET=") ||
         starts_with(entry, "SUBSET_");
}

// All or nothing: half of the settings would be other settings.
bool keep(const char* entry) {
  const size_t size = strlen(entry) + 1;
  if (kept_count == kMaxKept || size > sizeof texts - text_size) return false;
  kept[kept_count++] = static_cast<char*>(memcpy(texts + text_size, entry, size));
  text_size += size;
  return true;
}

size_t name_size(const char* entry) {
  return static_cast<size_t>(strchrnul(entry, '=') - entry);
}

bool names_same(const char* one, const char* other) {
  const size_t size = name_size(one);
  return size == name_size(other) && !memcmp(one, other, size);
}

// What the program says itself, it means.
bool has(char* const* environment, const char* entry) {
  for (; *environment; ++environment)
    if (names_same(*environment, entry)) return true;
  return false;
}

}  // namespace

void keep_variables() {
  if (!process.settings.given) return;
  for (char** entry = environ; entry && *entry; ++entry) {
    if (!is_ours(*entry) || keep(*entry)) continue;
    kept_count = 0;
    return;
  }
}

size_t room_for_variables(char* const* environment) {
  if (!environment) return 0;
  size_t missing = 0;
  for (size_t i = 0; i < kept_count; ++i) missing += has(environment, kept[i]) ? 0 : 1;
  if (missing == 0) return 0;
  size_t size = missing + 1;
  while (*environment++) ++size;
  return size <= kMaxEntries ? size : 0;
}

void put_variables_back(char* const* environment, char** complete) {
  char** end = complete;
  for (char* const* entry = environment; *entry; ++entry) *end++ = *entry;
  for (size_t i = 0; i < kept_count; ++i)
    if (!has(environment, kept[i])) *end++ = kept[i];
  *end = nullptr;
}

}  // namespace subset::shim
