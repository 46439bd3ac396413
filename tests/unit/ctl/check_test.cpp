// SPDX-License-Identifier: MIT
#include "ctl/check.h"

#include <filesystem>
#include <fstream>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "ctl/privilege.h"
#include "ctl/shim_path.h"

using namespace subset::ctl;
namespace fs = std::filesystem;

namespace {

// A /proc of our own.
class Root {
 public:
  Root() : path_(fs::temp_directory_path() / "subset-check-XXXXXX") {
    std::string name = path_.string();
    path_ = mkdtemp(name.data());
  }
  ~Root() { fs::remove_all(path_); }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;

  void put(const std::string& file, const std::string& content) const {
    fs::create_directories((path_ / file).parent_path());
    std::ofstream(path_ / file) << content;
  }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

constexpr uint64_t kNetAdmin = uint64_t{1} << 12;
constexpr uint64_t kPerfmon = uint64_t{1} << 38;
constexpr uint64_t kBpf = uint64_t{1} << 39;

}  // namespace

TEST_CASE("the kernel's version") {
  Root root;
  CHECK(check_kernel(root.path()).level == Level::Fail);
  struct {
    const char* release;
    Level level;
  } cases[] = {{"6.1.0-13-amd64", Level::Ok}, {"5.14.0", Level::Ok}, {"5.13.19", Level::Fail},
               {"4.18.0-553", Level::Fail},   {"10.0", Level::Ok},   {"weird", Level::Fail}};
  for (const auto& each : cases) {
    root.put("proc/sys/kernel/osrelease", std::string(each.release) + "\n");
    Finding finding = check_kernel(root.path());
    CHECK(finding.level == each.level);
    CHECK(finding.found == each.release);
  }
}

TEST_CASE("capabilities") {
  CHECK(missing_capabilities(kNetAdmin | kPerfmon | kBpf).empty());
  CHECK(missing_capabilities(kBpf) == "CAP_PERFMON, CAP_NET_ADMIN");
  Root root;
  CHECK_FALSE(effective_capabilities(root.path()));
  root.put("proc/self/status", "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000000c000001000\n");
  CHECK(effective_capabilities(root.path()) == (kNetAdmin | kPerfmon | kBpf));
  CHECK(check_capabilities(root.path(), false).level == Level::Ok);
  root.put("proc/self/status", "CapEff:\t0000000000000000\n");
  CHECK(check_capabilities(root.path(), false).level == Level::Fail);
  CHECK(check_capabilities(root.path(), true).level == Level::Warn);  // somebody else's daemon
}

TEST_CASE("mounts") {
  Root root;
  CHECK(check_bpffs(root.path()).level == Level::Warn);
  CHECK(check_cgroup(root.path()).level == Level::Warn);
  root.put("proc/self/mounts",
           "none /sys/fs/bpf bpf rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
  CHECK(check_bpffs(root.path()).level == Level::Ok);
  CHECK(check_cgroup(root.path()).level == Level::Ok);
  root.put("proc/self/mounts", "none /elsewhere bpf rw 0 0\n");
  CHECK(check_bpffs(root.path()).level == Level::Warn);
}

TEST_CASE("limits") {
  Root root;
  CHECK(check_limit(root.path(), "net.core.somaxconn", 1024, "x").level == Level::Ok);
  root.put("proc/sys/net/core/somaxconn", "128\n");
  Finding low = check_limit(root.path(), "net.core.somaxconn", 1024, "x");
  CHECK(low.level == Level::Warn);
  CHECK(low.remedy == "sysctl net.core.somaxconn=1024");
  root.put("proc/sys/net/core/somaxconn", "4096\n");
  CHECK(check_limit(root.path(), "net.core.somaxconn", 1024, "x").level == Level::Ok);
  root.put("proc/sys/kernel/unprivileged_bpf_disabled", "2\n");
  CHECK(check_unprivileged_bpf(root.path()).found.starts_with("disabled"));
}

TEST_CASE("features of the kernel") {
  subset::kernel::Feature feature{.name = "x", .ok = true, .detail = "tried"};
  CHECK(judge(feature, false).level == Level::Ok);
  feature.ok = false;
  feature.code = EINVAL;
  CHECK(judge(feature, false).level == Level::Warn);
  CHECK(judge(feature, false).remedy.find("CONFIG_BPF_SYSCALL") != std::string::npos);
  feature.remedy = "try harder";
  CHECK(judge(feature, false).remedy == "try harder");
  feature.required = true;
  CHECK(judge(feature, false).level == Level::Fail);
  CHECK(judge(feature, true).level == Level::Fail);
  feature.code = EPERM;
  CHECK(judge(feature, false).level == Level::Fail);
  CHECK(judge(feature, true).level == Level::Warn);  // says nothing about the kernel
}

TEST_CASE("findings are shown with what they cost, and as JSON") {
  std::vector<Finding> findings = {{.level = Level::Ok, .name = "one", .found = "fine"},
                                   {.level = Level::Warn,
                                    .name = "two",
                                    .found = "so so",
                                    .cost = "speed",
                                    .remedy = "buy one"}};
  CHECK(render_findings(findings, false) ==
        "RESULT  WHAT  FOUND\nok      one   fine\nwarn    two   so so\n"
        "              costs: speed\n              do: buy one\n");
  CHECK(all_needed(findings));
  auto json = nlohmann::json::parse(findings_json(findings));
  CHECK(json["ok"] == true);
  CHECK(json["findings"][1]["result"] == "warn");
  findings[0].level = Level::Fail;
  CHECK_FALSE(all_needed(findings));
}

TEST_CASE("the shim is beside us, or where it was installed, or said to be missing") {
  auto nothing = [](const std::string&) { return false; };
  auto built = [](const std::string& path) { return path == "/b/shim/libsubset.so"; };
  auto everything = [](const std::string&) { return true; };
  auto installed = [](const std::string& path) { return path == "/usr/lib/s.so"; };
  CHECK(choose_shim("/b/ctl/subset", "/usr/lib/s.so", built) == "/b/shim/libsubset.so");
  CHECK(choose_shim("/usr/bin/subset", "/usr/lib/s.so", installed) == "/usr/lib/s.so");
  CHECK_FALSE(choose_shim("/a b/ctl/subset", "/usr/lib/s.so", everything));
  auto missing = choose_shim("/b/ctl/subset", "/usr/lib/s.so", nothing);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message().find("/usr/lib/s.so") != std::string::npos);
}
