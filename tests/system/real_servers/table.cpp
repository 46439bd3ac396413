// SPDX-License-Identifier: MIT
#include "tests/system/real_servers/table.h"

#include <cstdio>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

constexpr char kHead[] =
    "| server | shape | run by | shares | members | result |\n"
    "|---|---|---|---|---|---|\n";

std::string this_line;  // of the running test case, without its result
std::vector<std::string> lines;

std::string shares(const Trial& trial) {
  std::set<std::string> names;
  for (const Sharing& sharing : trial.groups) {
    const bool ipv4 = sharing.group.find('[') == std::string::npos;
    names.insert(sharing.group.substr(0, 3) + (ipv4 ? " IPv4" : " IPv6"));
  }
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string run_by(const Trial& trial) {
  std::string text = "`subset exec I/" + std::to_string(trial.instances);
  for (const std::string& option : trial.options) text += " " + option;
  return text + "`";
}

class Table : public doctest::IReporter {
 public:
  explicit Table(const doctest::ContextOptions&) {}

  void test_case_start(const doctest::TestCaseData&) override { this_line.clear(); }
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    if (!this_line.empty())
      lines.push_back(this_line + (stats.testCaseSuccess ? "works |\n" : "**fails** |\n"));
  }
  void test_run_end(const doctest::TestRunStats&) override {
    if (lines.empty()) return;
    std::string table = kHead;
    for (const std::string& line : lines) table += line;
    std::fputs(table.c_str(), stdout);
    std::ofstream(built("tests/system/servers.md")) << table;
  }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("table", 1, Table);

}  // namespace

void note_trial(const Trial& trial) {
  this_line = "| " + trial.server + " | " + trial.shape + " | " + run_by(trial) + " | " +
              shares(trial) + " | " + std::to_string(trial.groups.front().members) + " | ";
}

}  // namespace subset::test
