// SPDX-License-Identifier: MIT
#include "tests/system/harness/http.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include "daemon/base/fd.h"
#include "tests/system/harness/clock.h"
#include "tests/system/harness/fail.h"

namespace subset::test {
namespace {

std::string read_all(int fd) {
  std::string text;
  char buffer[65536];
  for (;;) {
    const auto got = checked(recv(fd, buffer, sizeof buffer, 0), "read the answer");
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
  }
}

}  // namespace

HttpAnswer http_get(const Address& server, const std::string& path) {
  Fd socket(checked(::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  const timeval patience{.tv_sec = std::chrono::seconds(kPatience).count()};
  checked(setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience),
          "SO_RCVTIMEO");
  checked(connect(socket.get(), server.get(), server.size()), "connect to the daemon's HTTP");
  const std::string request =
      "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  checked(send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL), "send a request");
  const std::string answer = read_all(socket.get());
  const size_t headers = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.1 ") || headers == std::string::npos)
    throw std::runtime_error("this is no answer: " + answer);
  return {std::atoi(answer.c_str() + 9), answer.substr(headers + 4)};
}

std::map<std::string, double> scrape(const Address& server) {
  std::map<std::string, double> samples;
  std::istringstream text(http_get(server, "/metrics").body);
  for (std::string line; std::getline(text, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    const size_t blank = line.rfind(' ');
    if (!samples.emplace(line.substr(0, blank), std::stod(line.substr(blank + 1))).second)
      throw std::runtime_error("a sample comes twice: " + line);
  }
  return samples;
}

}  // namespace subset::test
