// SPDX-License-Identifier: MIT
#include "tests/shim/run.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <stdexcept>

namespace subset::test {
namespace {

std::vector<std::string> environment_with(const Environment& added) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry; ++entry)
    if (strncmp(*entry, "SUBSET", 6) != 0) entries.emplace_back(*entry);
  for (const auto& [name, value] : added) entries.emplace_back(name).append("=").append(value);
  return entries;
}

std::vector<char*> pointers_to(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

struct Pipe {
  int read = -1;
  int write = -1;

  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    read = ends[0];
    write = ends[1];
  }
};

// Reads both pipes to their ends.
void drain(int out, int err, std::string& out_text, std::string& err_text) {
  pollfd ends[2] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
  std::string* texts[2] = {&out_text, &err_text};
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    poll(ends, 2, -1);
    for (int i = 0; i < 2; ++i) {
      if (!ends[i].revents) continue;
      char buffer[4096];
      const ssize_t size = read(ends[i].fd, buffer, sizeof buffer);
      if (size > 0)
        texts[i]->append(buffer, static_cast<size_t>(size));
      else
        ends[i].fd = -1;
    }
  }
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

struct Scratch {
  std::string path = "/tmp/subset-shim-XXXXXX";

  Scratch() {
    if (!mkdtemp(path.data())) throw std::runtime_error("mkdtemp");
  }
  ~Scratch() { std::filesystem::remove_all(path); }
};

}  // namespace

std::string Result::said() const {
  std::string text;
  for (const std::string& line : out) text += (text.empty() ? "" : " | ") + line;
  return text;
}

Result run_command(const std::vector<std::string>& command, const Environment& environment) {
  const auto entries = environment_with(environment);
  const Pipe out;
  const Pipe err;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out.write, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write, STDERR_FILENO);
  const auto begin = std::chrono::steady_clock::now();
  pid_t child = 0;
  const int error = posix_spawnp(&child, command[0].c_str(), &actions, nullptr,
                                 pointers_to(command).data(), pointers_to(entries).data());
  posix_spawn_file_actions_destroy(&actions);
  close(out.write);
  close(err.write);
  Result result;
  std::string out_text;
  drain(out.read, err.read, out_text, result.err);
  close(out.read);
  close(err.read);
  if (error != 0) throw std::runtime_error(command[0] + ": " + strerror(error));
  waitpid(child, &result.status, 0);
  result.took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  result.out = lines_of(out_text);
  return result;
}

Result preload(const Operations& operations, Environment environment) {
  std::vector<std::string> command = {probe_path()};
  command.insert(command.end(), operations.begin(), operations.end());
  environment.emplace("LD_PRELOAD", shim_path());
  environment.emplace("SUBSET_SOCKET", scratch() + "/nobody");
  return run_command(command, environment);
}

Result without_shim(const Operations& operations) {
  std::vector<std::string> command = {probe_path()};
  command.insert(command.end(), operations.begin(), operations.end());
  return run_command(command);
}

std::string free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(fd, generic, length) != 0 || getsockname(fd, generic, &length) != 0)
    throw std::runtime_error("no free port");
  close(fd);
  return std::to_string(ntohs(address.sin_port));
}

const std::string& scratch() {
  static const Scratch directory;
  return directory.path;
}

std::string shim_path() {
  return SHIM_PATH;
}

std::string probe_path() {
  return PROBE_PATH;
}

}  // namespace subset::test
