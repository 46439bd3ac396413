// SPDX-License-Identifier: MIT
#include "ctl/top_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ctl/shown.h"

namespace subset::ctl {
namespace {

using Row = std::vector<Cell>;

constexpr size_t kLinesAbove = 3;  // the sums, what is wrong, the heading
constexpr size_t kLinesBelow = 1;  // the keys
constexpr size_t kBarWidth = 10;

// --- values ---------------------------------------------------------------------------------

std::string rate_text(const std::optional<double>& rate) {
  if (!rate) return "-";
  if (*rate >= 1e6) return format_number("%.2f%s", *rate / 1e6, "M");
  if (*rate >= 1e4) return format_number("%.1f%s", *rate / 1e3, "k");
  return format_number(*rate > 0 && *rate < 10 ? "%.1f%s" : "%.0f%s", *rate, "");
}

std::string bar(double part) {
  const long full = std::lround(std::clamp(part, 0.0, 1.0) * kBarWidth);
  return std::string(static_cast<size_t>(full), '|');
}

// How full the queue is, 0 to 1.
double fullness(const GroupView& group, const MemberView& member) {
  const bool tcp = group.protocol == "tcp";
  const auto& used = tcp ? member.backlog : member.queue_bytes;
  const auto& limit = tcp ? member.backlog_limit : member.queue_limit_bytes;
  if (!used || !limit || *limit == 0) return 0;
  return static_cast<double>(*used) / static_cast<double>(*limit);
}

Colour queue_colour(double full) {
  if (full >= 0.8) return Colour::Red;
  return full >= 0.5 ? Colour::Yellow : Colour::None;
}

Cell drops_cell(const std::optional<double>& per_second) {
  return {rate_text(per_second), per_second.value_or(0) > 0 ? Colour::Red : Colour::None};
}

// --- one row --------------------------------------------------------------------------------

// A row, and what it may be sorted by.
struct Entry {
  Row cells;
  double rate = 0, queue = 0, drops = 0, open = 0;
  std::string since;  // RFC 3339 sorts as text
};

struct TopColumn {
  Column column;
  SortKey key = SortKey::Name;  // that sorts by it
  bool sorts = false;
  int importance = 0;  // on a narrow terminal the lesser go first
};

const std::vector<TopColumn> kMemberColumns = {
    {{"GROUP"}, SortKey::Name, true, 9},
    {{"INSTANCE", true}, SortKey::Name, true, 9},
    {{"MEMBER", true}, {}, false, 2},
    {{"STATE"}, {}, false, 9},
    {{"PID", true}, {}, false, 6},
    {{"COMMAND"}, {}, false, 5},
    {{"CPUS"}, {}, false, 1},
    {{"RATE/S", true}, SortKey::Rate, true, 9},
    {{"SHARE", true}, {}, false, 7},
    {{""}, {}, false, 3},
    {{"QUEUE", true}, SortKey::Queue, true, 8},
    {{"OPEN", true}, SortKey::Open, true, 4},
    {{"DROPS", true}, {}, false, 5},
    {{"DROPS/S", true}, SortKey::Drops, true, 8},
    {{"AGE", true}, SortKey::Age, true, 4},
};

Entry member_entry(const TopInput& input, const GroupView& group, const MemberView& member) {
  const auto rate = input.rates.selected(group, member);
  const auto drops = input.rates.drops(group, member);
  const auto of_group = input.rates.of(group);
  const bool shared = rate && of_group && *of_group > 0;
  const double share = shared ? *rate / *of_group : 0;
  const double full = fullness(group, member);
  const bool tcp = group.protocol == "tcp";
  Entry entry;
  entry.cells = {{shown(group.id)},
                 {shown(member.instance) + "/" + shown(group.total)},
                 {shown(member.member)},
                 state_cell(member),
                 {member.pid ? std::to_string(*member.pid) : "-"},
                 {shown(member.command)},
                 {shown(member.cpus)},
                 {rate_text(rate), Colour::Bold},
                 {shared ? format_number("%.1f%s", 100 * share, "%") : "-"},
                 {bar(share), Colour::Cyan},
                 {queue_text(group, member), queue_colour(full)},
                 {tcp ? shown(member.open_connections) : "-"},
                 {shown(member.drops)},
                 drops_cell(drops),
                 {age_text(member, input.now)}};
  entry.rate = rate.value_or(0);
  entry.queue = full;
  entry.drops = drops.value_or(0);
  entry.open = static_cast<double>(member.open_connections.value_or(0));
  entry.since = member.since;
  return entry;
}

const std::vector<TopColumn> kGroupColumns = {
    {{"GROUP"}, SortKey::Name, true, 9},
    {{"MODE"}, {}, false, 5},
    {{"ACTIVE", true}, {}, false, 9},
    {{"GENERATION", true}, {}, false, 3},
    {{"RATE/S", true}, SortKey::Rate, true, 9},
    {{"IMBALANCE", true}, {}, false, 6},
    {{"FULLEST QUEUE", true}, SortKey::Queue, true, 6},
    {{"OPEN", true}, SortKey::Open, true, 4},
    {{"DROPS/S", true}, SortKey::Drops, true, 8},
    {{"STRANGERS", true}, {}, false, 8},
};

Entry group_entry(const TopInput& input, const GroupView& group) {
  const auto rate = input.rates.of(group);
  double full = 0, drops = 0;
  uint64_t open = 0;
  for (const MemberView& member : group.members) {
    full = std::max(full, fullness(group, member));
    drops += input.rates.drops(group, member).value_or(0);
    open += member.open_connections.value_or(0);
  }
  const size_t active = active_instances(group);
  const bool complete = group.total && active == *group.total;
  Entry entry;
  entry.cells = {{shown(group.id)},
                 {shown(group.mode)},
                 {std::to_string(active) + "/" + shown(group.total),
                  complete ? Colour::Green : Colour::Yellow},
                 {shown(group.generation)},
                 {rate_text(rate), Colour::Bold},
                 {group.imbalance ? format_number("%.2f%s", *group.imbalance, "") : "-"},
                 {format_number("%.0f%s", 100 * full, "%"), queue_colour(full)},
                 {group.protocol == "tcp" ? std::to_string(open) : "-"},
                 drops_cell(drops),
                 {std::to_string(group.strangers.size()),
                  group.strangers.empty() ? Colour::None : Colour::Red}};
  entry.rate = rate.value_or(0);
  entry.queue = full;
  entry.drops = drops;
  entry.open = static_cast<double>(open);
  return entry;
}

// --- the table ------------------------------------------------------------------------------

std::vector<Entry> entries_of(const TopInput& input, const TopState& state) {
  std::vector<Entry> entries;
  for (const GroupView& group : input.groups) {
    if (state.groups) {
      entries.push_back(group_entry(input, group));
      continue;
    }
    for (const MemberView& member : group.members)
      entries.push_back(member_entry(input, group, member));
  }
  return entries;
}

// Numbers with the largest first, as one looks for trouble; what is equal stays by name.
void sort_entries(std::vector<Entry>& entries, const TopState& state) {
  auto value = [&](const Entry& entry) {
    switch (state.sort) {
      case SortKey::Rate:
        return entry.rate;
      case SortKey::Queue:
        return entry.queue;
      case SortKey::Drops:
        return entry.drops;
      case SortKey::Open:
        return entry.open;
      case SortKey::Name:
      case SortKey::Age:
        return 0.0;
    }
    return 0.0;
  };
  std::stable_sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    if (state.sort == SortKey::Age) return a.since > b.since;  // the youngest first
    return value(a) > value(b);
  });
  if (state.reversed) std::reverse(entries.begin(), entries.end());
}

size_t table_width(const std::vector<Column>& columns, const std::vector<Row>& rows) {
  size_t width = 0;
  for (size_t each : widths_of(columns, rows)) width += each + 2;
  return width > 0 ? width - 2 : 0;
}

void erase_column(std::vector<TopColumn>& columns, std::vector<Row>& rows, size_t column) {
  columns.erase(columns.begin() + static_cast<ptrdiff_t>(column));
  for (Row& row : rows) row.erase(row.begin() + static_cast<ptrdiff_t>(column));
}

std::vector<Column> titles(const std::vector<TopColumn>& columns) {
  std::vector<Column> result;
  result.reserve(columns.size());
  for (const TopColumn& column : columns) result.push_back(column.column);
  return result;
}

void fit_width(std::vector<TopColumn>& columns, std::vector<Row>& rows, size_t width) {
  constexpr int kAlways = 9;
  while (table_width(titles(columns), rows) > width) {
    auto least = std::min_element(columns.begin(), columns.end(), [](const auto& a, const auto& b) {
      return a.importance < b.importance;
    });
    if (least->importance >= kAlways) return;
    erase_column(columns, rows, static_cast<size_t>(least - columns.begin()));
  }
}

void mark_sorted(Row& heading, const std::vector<TopColumn>& columns, SortKey key) {
  for (Cell& cell : heading)
    for (const TopColumn& column : columns)
      if (column.sorts && column.key == key && cell.text == column.column.title)
        cell.colour = Colour::Cyan;
}

// The heading, then the rows from state.first on.
std::vector<Row> table_lines(const TopInput& input, TopState& state, const TerminalSize& size) {
  std::vector<Entry> entries = entries_of(input, state);
  sort_entries(entries, state);
  std::vector<Row> rows;
  rows.reserve(entries.size());
  for (Entry& entry : entries) rows.push_back(std::move(entry.cells));

  const size_t page = page_rows(size);
  state.first = std::min(state.first, rows.size() > page ? rows.size() - page : 0);
  std::vector<TopColumn> columns = state.groups ? kGroupColumns : kMemberColumns;
  fit_width(columns, rows, size.columns);
  std::vector<Row> lines = lay_out(titles(columns), rows, "");
  mark_sorted(lines.front(), columns, state.sort);
  const auto from = lines.begin() + 1;
  const auto first = static_cast<ptrdiff_t>(state.first);
  lines.erase(from, from + first);
  if (lines.size() > page + 1) lines.resize(page + 1);
  return lines;
}

// --- around it ------------------------------------------------------------------------------

std::string counted(size_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

const char* name_of(SortKey key) {
  switch (key) {
    case SortKey::Name:
      return "name";
    case SortKey::Rate:
      return "rate";
    case SortKey::Queue:
      return "queue";
    case SortKey::Drops:
      return "drops";
    case SortKey::Open:
      return "open";
    case SortKey::Age:
      return "age";
  }
  return "";
}

std::string clock_text(std::time_t now) {
  std::tm local{};
  localtime_r(&now, &local);
  char text[16];
  strftime(text, sizeof text, "%H:%M:%S", &local);
  return text;
}

struct Sums {
  size_t members = 0, strangers = 0;
  std::optional<double> rate;
  double drops = 0;
};

Sums sums_of(const TopInput& input) {
  Sums sums;
  for (const GroupView& group : input.groups) {
    sums.strangers += group.strangers.size();
    if (auto rate = input.rates.of(group)) sums.rate = sums.rate.value_or(0) + *rate;
    for (const MemberView& member : group.members) {
      sums.members += member.vacant ? 0 : 1;
      sums.drops += input.rates.drops(group, member).value_or(0);
    }
  }
  return sums;
}

Row sums_line(const TopInput& input, const TopState& state) {
  const Sums sums = sums_of(input);
  return {{"subset top", Colour::Bold},
          {"  " + clock_text(input.now) + "  " + counted(input.groups.size(), "group", "groups") +
           "  " + counted(sums.members, "member", "members") + "  " + rate_text(sums.rate) + "/s"},
          {"  drops " + rate_text(sums.drops) + "/s", sums.drops > 0 ? Colour::Red : Colour::None},
          {"  strangers " + std::to_string(sums.strangers),
           sums.strangers > 0 ? Colour::Red : Colour::None},
          {std::string("  by ") + name_of(state.sort) + (state.reversed ? ", reversed" : "")}};
}

// The worst thing that is to be said: old numbers are worse than a stranger.
Row warning_line(const TopInput& input) {
  if (!input.trouble.empty()) return {{printable(input.trouble), Colour::Red}};
  for (const GroupView& group : input.groups) {
    if (group.strangers.empty()) continue;
    const StrangerView& stranger = group.strangers.front();
    const std::string who = stranger.pid ? " pid " + std::to_string(*stranger.pid) : "";
    return {{"stranger on " + shown(group.id) + ":" + who + " (" + shown(stranger.command) +
                 "): " + shown(stranger.reason),
             Colour::Red}};
  }
  if (input.groups.empty()) return {{"no groups: no steered socket is bound"}};
  return {};
}

constexpr std::array kHelp{
    "n  sort by name            g  groups or members",
    "r  sort by rate            ?  this list, and back",
    "u  sort by queue           up, down, page up, page down, home, end",
    "d  sort by drops a second     move through a list that is longer than the screen",
    "o  sort by open connections",
    "a  sort by age             q  end",
    "The same key again turns the order round.",
};

constexpr char kKeys[] =
    "n name  r rate  u queue  d drops  o open  a age   g groups   ? keys   q end";

// --- keys -----------------------------------------------------------------------------------

void sort_by(TopState& state, SortKey key) {
  state.reversed = state.sort == key && !state.reversed;
  state.sort = key;
  state.first = 0;
}

std::optional<SortKey> sort_key_of(char letter) {
  switch (letter) {
    case 'n':
      return SortKey::Name;
    case 'r':
      return SortKey::Rate;
    case 'u':
      return SortKey::Queue;
    case 'd':
      return SortKey::Drops;
    case 'o':
      return SortKey::Open;
    case 'a':
      return SortKey::Age;
    default:
      return std::nullopt;
  }
}

void move(TopState& state, Key key, size_t page) {
  const size_t step = key == Key::PageUp || key == Key::PageDown ? page : 1;
  if (key == Key::Up || key == Key::PageUp) state.first -= std::min(state.first, step);
  if (key == Key::Down || key == Key::PageDown) state.first += step;
  if (key == Key::Home) state.first = 0;
  if (key == Key::End) state.first = std::numeric_limits<size_t>::max();
}

}  // namespace

size_t page_rows(const TerminalSize& size) {
  const size_t around = kLinesAbove + kLinesBelow;
  return size.rows > around ? size.rows - around : 1;
}

After press(TopState& state, Key key, size_t page_rows) {
  const int code = static_cast<int>(key);
  const char letter = code > 0 && code < 128 ? static_cast<char>(code) : '\0';
  if (letter == 'q') return After::Quit;
  if (auto sort = sort_key_of(letter)) {
    sort_by(state, *sort);
  } else if (letter == 'g') {
    state.groups = !state.groups;
    state.first = 0;
  } else if (letter == '?' || letter == 'h') {
    state.help = !state.help;
  } else if (key == Key::Escape) {
    state.help = false;
  } else {
    move(state, key, page_rows);
  }
  return After::GoOn;
}

std::vector<std::vector<Cell>> render_top(const TopInput& input, TopState& state,
                                          const TerminalSize& size) {
  std::vector<Row> lines{sums_line(input, state), warning_line(input)};
  if (state.help) {
    for (const char* line : kHelp) lines.push_back({{line}});
  } else {
    for (Row& line : table_lines(input, state, size)) lines.push_back(std::move(line));
  }
  lines.resize(std::max<size_t>(size.rows, 1));
  lines.back() = {{kKeys, Colour::Cyan}};
  return lines;
}

}  // namespace subset::ctl
