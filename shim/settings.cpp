// SPDX-License-Identifier: MIT
#include "shim/settings.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "protocol/message.h"

namespace subset::shim {
namespace {

// A part of a value. The parsers below take parts from its front and say whether all went well.
struct Text {
  const char* begin = nullptr;
  size_t size = 0;

  bool is(const char* word) const { return size == strlen(word) && !memcmp(begin, word, size); }
  bool starts_with(char c) const { return size > 0 && *begin == c; }
};

Text text_of(const char* value) {
  return {value, strlen(value)};
}

// Cuts at the separator that was found: what is before it stays in `head`, what is after it goes to
// `tail`. False, with both untouched, where there is none.
bool cut_at(const void* found, Text& head, Text& tail) {
  if (!found) return false;
  const size_t at = static_cast<size_t>(static_cast<const char*>(found) - head.begin);
  tail = {head.begin + at + 1, head.size - at - 1};
  head.size = at;
  return true;
}

bool cut(Text& head, char separator, Text& tail) {
  return cut_at(memchr(head.begin, separator, head.size), head, tail);
}

bool cut_last(Text& head, char separator, Text& tail) {
  return cut_at(memrchr(head.begin, separator, head.size), head, tail);
}

// Decimal digits alone, first to last inclusive. strtoul would take a sign, spaces and "0x".
bool parse_number(Text text, uint32_t first, uint32_t last, uint32_t& number) {
  uint64_t value = 0;
  if (text.size == 0) return false;
  for (size_t i = 0; i < text.size; ++i) {
    const char c = text.begin[i];
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<uint64_t>(c - '0');
    if (value > last) return false;
  }
  if (value < first) return false;
  number = static_cast<uint32_t>(value);
  return true;
}

template <typename Enum, size_t Count>
bool parse_name(Text text, const char* const (&names)[Count], Enum& chosen) {
  for (size_t i = 0; i < Count; ++i) {
    if (!text.is(names[i])) continue;
    chosen = static_cast<Enum>(i);
    return true;
  }
  return false;
}

bool parse_subset(const char* value, Settings& settings) {
  settings.given = true;  // even where what follows is refused: nothing may be steered by chance
  Text instance = text_of(value);
  if (instance.is("auto")) {
    settings.elastic = true;
    return true;
  }
  Text total;
  uint32_t n = 0;
  uint32_t i = kAnyInstance;
  if (!cut(instance, '/', total) || !parse_number(total, 1, kMaxTotal, n)) return false;
  if (!instance.is("auto") && !parse_number(instance, 0, n - 1, i)) return false;
  settings.total = n;
  settings.instance = i;
  return true;
}

bool parse_ports(Text ports, MatchRule& rule) {
  Text last_text;
  uint32_t first = 0;
  uint32_t last = 0;
  const bool range = cut(ports, '-', last_text);
  if (!parse_number(ports, 1, 65535, first)) return false;
  if (!parse_number(range ? last_text : ports, first, 65535, last)) return false;
  rule.port_first = static_cast<uint16_t>(first);
  rule.port_last = static_cast<uint16_t>(last);
  return true;
}

// "127.0.0.1" or "[::1]".
bool parse_address(Text text, MatchRule& rule) {
  char copy[INET6_ADDRSTRLEN];
  rule.family = AF_INET;
  if (text.starts_with('[')) {
    if (text.size < 2 || text.begin[text.size - 1] != ']') return false;
    text = {text.begin + 1, text.size - 2};
    rule.family = AF_INET6;
  }
  if (text.size >= sizeof copy) return false;
  memcpy(copy, text.begin, text.size);
  copy[text.size] = '\0';
  return inet_pton(rule.family, copy, rule.address) == 1;
}

// PROTOCOL[:[ADDRESS:]PORT[-PORT]]
bool parse_rule(Text item, MatchRule& rule) {
  Text where;
  Text ports;
  const bool somewhere = cut(item, ':', where);
  if (item.is("udp"))
    rule.protocol = IPPROTO_UDP;
  else if (item.is("tcp"))
    rule.protocol = IPPROTO_TCP;
  else
    return false;
  if (!somewhere) return true;
  if (!cut_last(where, ':', ports)) return parse_ports(where, rule);
  return parse_address(where, rule) && parse_ports(ports, rule);
}

bool parse_match(const char* value, Settings& settings) {
  MatchRule rules[kMaxRules] = {};
  size_t count = 0;
  Text item = text_of(value);
  for (bool more = true; more; ++count) {
    Text rest;
    more = cut(item, ',', rest);
    if (count == kMaxRules || !parse_rule(item, rules[count])) return false;
    item = rest;
  }
  memcpy(settings.rules, rules, sizeof rules);
  settings.rule_count = count;
  return true;
}

bool parse_mode(const char* value, Settings& settings) {
  settings.mode_given = parse_name(text_of(value), kModeNames, settings.mode);
  return settings.mode_given;
}

bool parse_spread(const char* value, Settings& settings) {
  uint8_t spread = 0;
  Text item = text_of(value);
  if (item.is("off")) return true;
  for (bool more = true; more;) {
    Text rest;
    more = cut(item, ',', rest);
    if (item.is("fork"))
      spread |= kSpreadFork;
    else if (item.is("dup"))
      spread |= kSpreadDup;
    else
      return false;
    item = rest;
  }
  settings.spread = spread;
  return true;
}

bool parse_vacancy(const char* value, Settings& settings) {
  settings.vacancy_given = parse_name(text_of(value), kVacancyNames, settings.vacancy);
  return settings.vacancy_given;
}

bool parse_conflict(const char* value, Settings& settings) {
  return parse_name(text_of(value), kConflictNames, settings.conflict);
}

bool parse_weight(const char* value, Settings& settings) {
  settings.weight_given = parse_number(text_of(value), 1, kMaxWeight, settings.weight);
  return settings.weight_given;
}

bool parse_pin(const char* value, Settings& settings) {
  uint32_t pin = 0;
  if (!parse_number(text_of(value), 0, 1, pin)) return false;
  settings.pin = pin == 1;
  return true;
}

bool parse_fallback(const char* value, Settings& settings) {
  static constexpr const char* kNames[] = {"kernel", "fail"};
  return parse_name(text_of(value), kNames, settings.fallback);
}

bool parse_socket(const char* value, Settings& settings) {
  const Text path = text_of(value);
  if (path.size == 0 || path.size >= sizeof settings.socket_path) return false;
  memcpy(settings.socket_path, value, path.size + 1);
  return true;
}

bool parse_log(const char* value, Settings& settings) {
  static constexpr const char* kNames[] = {"off", "error", "warn", "info", "debug"};
  return parse_name(text_of(value), kNames, settings.log);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Exactly 16 hexadecimal digits, as the command writes them; 0 is nobody's lineage.
bool parse_lineage(const char* value, Settings& settings) {
  uint64_t lineage = 0;
  const Text digits = text_of(value);
  if (digits.size != 16) return false;
  for (size_t i = 0; i < digits.size; ++i) {
    const int digit = hex_digit(digits.begin[i]);
    if (digit < 0) return false;
    lineage = lineage << 4 | static_cast<uint64_t>(digit);
  }
  settings.lineage = lineage;
  return lineage != 0;
}

// A parser writes to the settings only what it accepted (SUBSET's `given` apart).
struct Variable {
  const char* name;
  bool (*parse)(const char* value, Settings& settings);
  const char* expected;
};

constexpr Variable kVariables[] = {
    {"SUBSET", parse_subset, "I/N, auto/N or auto, with I below N and N at most 4096"},
    {"SUBSET_MATCH", parse_match,
     "a comma list of up to 32 of udp, tcp, udp:53, tcp:8000-8100, udp:[::1]:53 and "
     "tcp:127.0.0.1:80"},
    {"SUBSET_MODE", parse_mode, "hash, source, random, cpu, numa or least"},
    {"SUBSET_SPREAD", parse_spread, "off, fork, dup or fork,dup"},
    {"SUBSET_VACANCY", parse_vacancy, "spread, refuse or hold"},
    {"SUBSET_CONFLICT", parse_conflict, "takeover or refuse"},
    {"SUBSET_WEIGHT", parse_weight, "a number from 1 to 1000"},
    {"SUBSET_PIN", parse_pin, "0 or 1"},
    {"SUBSET_FALLBACK", parse_fallback, "kernel or fail"},
    {"SUBSET_SOCKET", parse_socket, "a path of 1 to 107 bytes"},
    {"SUBSET_LOG", parse_log, "off, error, warn, info or debug"},
    {"SUBSET_LINEAGE", parse_lineage, "16 hexadecimal digits in lower case, not all 0"},
};

bool covers(const MatchRule& rule, uint8_t protocol, uint8_t family, const uint8_t* address,
            uint16_t port) {
  if (rule.protocol != protocol || port < rule.port_first || port > rule.port_last) return false;
  if (rule.family == 0) return true;
  const size_t size = rule.family == AF_INET6 ? sizeof(in6_addr) : sizeof(in_addr);
  return rule.family == family && !memcmp(rule.address, address, size);
}

}  // namespace

Refusal read_settings(Lookup lookup, void* context, Settings& settings) {
  Refusal refusal;
  memcpy(settings.socket_path, protocol::kDefaultSocketPath, sizeof protocol::kDefaultSocketPath);
  for (const Variable& variable : kVariables) {
    const char* value = lookup(context, variable.name);
    if (!value || variable.parse(value, settings)) continue;
    if (!refusal.variable) refusal = {variable.name, value, variable.expected};
  }
  return refusal;
}

bool matches(const Settings& settings, uint8_t protocol, uint8_t family, const uint8_t* address,
             uint16_t port) {
  if (port == 0) return false;
  if (settings.rule_count == 0) return protocol == IPPROTO_UDP || protocol == IPPROTO_TCP;
  for (size_t i = 0; i < settings.rule_count; ++i)
    if (covers(settings.rules[i], protocol, family, address, port)) return true;
  return false;
}

}  // namespace subset::shim
