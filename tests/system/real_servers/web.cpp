// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include "tests/system/real_servers/trial.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::vector<Sharing> web_groups(size_t members) {
  return {{"tcp/127.0.0.1:8080", members}, {"tcp/[::1]:8080", members}};
}

// A connection for each request.
constexpr char kCurl[] =
    "for server in 127.0.0.1 '\\[::1\\]'; do"
    " curl --silent --show-error --max-time 20 --header 'Connection: close'"
    " \"http://$server:8080/[1-$FLOWS]\"; done";

// `listens` are nginx' directives; its workers change their user, as they do by default.
Words nginx(const fs::path& directory, const std::string& workers, const std::string& listens) {
  const std::string at = directory;
  write_file(directory / "nginx.conf", "worker_processes " + workers +
                                           ";\n"
                                           "daemon off;\n"
                                           "user www-data;\n"
                                           "pid pid;\n"
                                           "error_log " +
                                           (directory / kLogFile).string() +
                                           " notice;\n"
                                           "events { worker_connections 256; }\n"
                                           "http {\n"
                                           "  access_log off;\n"
                                           "  client_body_temp_path body;\n"
                                           "  proxy_temp_path proxy;\n"
                                           "  fastcgi_temp_path fastcgi;\n"
                                           "  uwsgi_temp_path uwsgi;\n"
                                           "  scgi_temp_path scgi;\n"
                                           "  server {\n" +
                                           listens +
                                           "    location / { return 200 \"hello\\n\"; }\n"
                                           "  }\n"
                                           "}\n");
  // It executes itself by its first word when it is upgraded.
  return {"/usr/sbin/nginx", "-p", at, "-c", at + "/nginx.conf", "-e", at + "/" + kLogFile};
}

void write_wsgi(const fs::path& directory) {
  write_file(directory / "hello.py",
             "def app(environ, start):\n"
             "    start('200 OK', [('Content-Type', 'text/plain')])\n"
             "    return [b'hello\\n']\n");
}

// Old workers may be ended before they have read that they are to shut down gracefully. And their
// end of the channel between master and worker, when it closes, raises SIGIO in a master that has
// not closed its own end by then.
const std::vector<std::string> kNginxTiming = {"SIGALRM", "SIGIO", "gracefully shutting down"};

constexpr char kNodeServer[] =
    "const http = require('http');\n"
    "const answer = (request, response) => response.end('hello\\n');\n"
    "http.createServer(answer).listen(8080, '127.0.0.1');\n"
    "http.createServer(answer).listen(8080, '::1');\n";

TEST_SUITE("system") {
  TEST_CASE("nginx, 2 forked workers") {
    try_server({.server = "nginx, 2 forked workers",
                .shape = 'C',
                .options = {"--spread", "fork"},
                .prepare =
                    [](const fs::path& directory) {
                      return nginx(directory, "2", "listen 127.0.0.1:8080; listen [::1]:8080;\n");
                    },
                .groups = web_groups(4),
                .client = kCurl,
                .reload = SIGHUP,
                .timing = kNginxTiming});
  }

  TEST_CASE("nginx, 2 workers, reuseport") {
    try_server({.server = "nginx, 2 workers, `reuseport`",
                .shape = 'B',
                .prepare =
                    [](const fs::path& directory) {
                      return nginx(directory, "2",
                                   "listen 127.0.0.1:8080 reuseport;"
                                   "listen [::1]:8080 reuseport;\n");
                    },
                .groups = web_groups(4),
                .client = kCurl,
                .reload = SIGHUP,
                .timing = kNginxTiming});
  }

  TEST_CASE("gunicorn, 2 workers") {
    try_server({.server = "gunicorn, 2 workers",
                .shape = 'C',
                .options = {"--spread", "fork"},
                .prepare =
                    [](const fs::path& directory) {
                      write_wsgi(directory);
                      return Words{"gunicorn", "-w",         "2",       "-b",      "127.0.0.1:8080",
                                   "-b",       "[::1]:8080", "--chdir", directory, "hello:app"};
                    },
                .groups = web_groups(4),
                .client = kCurl,
                .reload = SIGHUP});
  }

  TEST_CASE("node") {
    try_server({.server = "node",
                .shape = 'A',
                .instances = 3,
                .prepare =
                    [](const fs::path& directory) {
                      write_file(directory / "server.js", kNodeServer);
                      return Words{"node", directory / "server.js"};
                    },
                .groups = web_groups(3),
                .client = kCurl});
  }

  // Its parent accepts and hands the connections to its workers.
  TEST_CASE("node, cluster of 2 workers") {
    try_server({.server = "node, cluster of 2 workers",
                .shape = 'A',
                .prepare =
                    [](const fs::path& directory) {
                      write_file(directory / "server.js",
                                 std::string("const cluster = require('cluster');\n"
                                             "if (cluster.isPrimary) {\n"
                                             "  cluster.fork(); cluster.fork();\n"
                                             "} else {\n") +
                                     kNodeServer + "}\n");
                      return Words{"node", directory / "server.js"};
                    },
                .groups = web_groups(2),
                .client = kCurl});
  }

  TEST_CASE("haproxy") {
    try_server({.server = "haproxy, 2 threads",
                .shape = 'A',
                .prepare =
                    [](const fs::path& directory) {
                      write_file(directory / "haproxy.cfg",
                                 "global\n"
                                 "  nbthread 2\n"
                                 "defaults\n"
                                 "  mode http\n"
                                 "  timeout client 10s\n"
                                 "  timeout connect 10s\n"
                                 "  timeout server 10s\n"
                                 "frontend web\n"
                                 "  bind 127.0.0.1:8080\n"
                                 "  bind ::1:8080\n"
                                 "  http-request return status 200 content-type text/plain"
                                 " string \"hello\\n\"\n");
                      return Words{"haproxy", "-db", "-f", directory / "haproxy.cfg"};
                    },
                .groups = web_groups(2),
                .client = kCurl});
  }

  TEST_CASE("lighttpd") {
    try_server({.server = "lighttpd",
                .shape = 'A',
                .prepare =
                    [](const fs::path& directory) {
                      for (uint64_t i = 1; i <= flows_for(2); i++)
                        write_file(directory / std::to_string(i), "hello\n");
                      write_file(directory / "lighttpd.conf",
                                 "server.document-root = \"" + directory.string() +
                                     "\"\n"
                                     "server.bind = \"127.0.0.1\"\n"
                                     "server.port = 8080\n"
                                     "$SERVER[\"socket\"] == \"[::1]:8080\" { }\n");
                      return Words{"lighttpd", "-D", "-f", directory / "lighttpd.conf"};
                    },
                .groups = web_groups(2),
                .client = kCurl,
                .reload = SIGHUP});
  }

  // It binds, and executes the server at the first connection.
  TEST_CASE("systemd-socket-activate, gunicorn") {
    try_server({.server = "gunicorn, activated by `systemd-socket-activate`",
                .shape = 'A',
                .prepare =
                    [](const fs::path& directory) {
                      write_wsgi(directory);
                      return Words{"systemd-socket-activate",
                                   "-l",
                                   "127.0.0.1:8080",
                                   "-l",
                                   "[::1]:8080",
                                   "gunicorn",
                                   "--chdir",
                                   directory,
                                   "hello:app"};
                    },
                .groups = web_groups(2),
                .client = kCurl});
  }
}

}  // namespace
}  // namespace subset::test
