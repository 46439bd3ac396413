// SPDX-License-Identifier: MIT
// `subset check` on the kernel that runs this. A kernel may have every part and its verifier may
// still refuse a program that is made of them, as Linux 6.1 once did: so the programs themselves
// are tried. That may leave nothing behind, and may not mount what an administrator has not
// mounted.
#include <sys/mount.h>

#include <filesystem>
#include <set>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct Checked {
  int status = -1;
  Json document;

  Json finding(const std::string& name) const {
    for (const Json& each : document.at("findings"))
      if (each.at("name") == name) return each;
    FAIL("no finding " << name << " in " << document.dump(2));
    return {};
  }
  Json programs() const { return finding("bpf: subset's programs"); }
};

Checked check(Machine& machine) {
  const Finished finished = run(machine, {.argv = {built("ctl/subset"), "check", "--json"}});
  return {.status = finished.status, .document = Json::parse(finished.out)};
}

// What is in the bpffs; some kernels put files of their own there.
std::set<fs::path> pinned() {
  std::set<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(kBpffs)) found.insert(entry.path());
  return found;
}

// Also of those below it, which the machine may have; then a new one, when this ends.
class WithoutBpffs {
 public:
  WithoutBpffs() {
    while (umount(kBpffs) == 0) continue;
  }
  ~WithoutBpffs() { mount("bpf", kBpffs, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr); }
  WithoutBpffs(const WithoutBpffs&) = delete;
  WithoutBpffs& operator=(const WithoutBpffs&) = delete;
};

TEST_SUITE("system") {
  TEST_CASE("check loads what a daemon loads, and leaves nothing behind") {
    Machine machine;
    const auto before = pinned();
    const Checked checked = check(machine);
    CAPTURE(checked.document.dump(2));
    CHECK(checked.status == 0);
    CHECK(checked.document.at("ok") == true);
    CHECK(checked.programs().at("result") == "ok");
    CHECK(pinned() == before);
  }

  TEST_CASE("check mounts nothing") {
    Machine machine;
    const WithoutBpffs without;
    const auto before = pinned();
    const Checked checked = check(machine);
    CHECK(checked.status == 0);
    CHECK(checked.programs().at("result") == "warn");
    CHECK(checked.programs().at("remedy") == "mount -t bpf bpf /sys/fs/bpf");
    CHECK(pinned() == before);
  }

  TEST_CASE("check says so where the programs cannot be loaded") {
    Machine machine;
    const ReadOnlyBpffs read_only;
    const Checked checked = check(machine);
    CHECK(checked.status == 1);
    CHECK(checked.document.at("ok") == false);
    CHECK(checked.programs().at("result") == "fail");
    CHECK(checked.programs().at("found").get<std::string>().find("Read-only") != std::string::npos);
    CHECK(checked.programs().at("cost") == "no daemon starts");
  }
}

}  // namespace
}  // namespace subset::test
