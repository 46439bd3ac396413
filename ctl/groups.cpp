// SPDX-License-Identifier: MIT
#include "ctl/groups.h"

#include <algorithm>
#include <cstring>
#include <ctime>

#include "ctl/client.h"
#include "ctl/receive_queues.h"
#include "ctl/status.h"

namespace subset::ctl {
namespace {

Result<std::string> fetch_document(const std::string& socket_path) {
  auto client = Client::connect(socket_path);
  if (!client) return tl::make_unexpected(client.error());
  return client->status();
}

void keep_one(std::vector<GroupView>& groups, const std::string& id) {
  std::erase_if(groups, [&id](const GroupView& group) { return group.id != id; });
}

}  // namespace

Result<std::string> show_status(const StatusCommand& command, const std::string& socket_path,
                                bool colour) {
  auto document = fetch_document(socket_path);
  if (!document) return tl::make_unexpected(document.error());
  auto groups = parse_status(*document);
  if (!groups) return tl::make_unexpected(groups.error());
  std::optional<std::string> id;
  if (command.group) {
    auto chosen = choose_group(*groups, *command.group);
    if (!chosen) return tl::make_unexpected(chosen.error());
    id = *chosen;
  }
  if (command.json) return pretty_status(*document, id);
  if (id) keep_one(*groups, *id);
  return render_status(*groups, {.colour = colour, .now = std::time(nullptr)}) +
         render_locality(*groups, read_interfaces(""));
}

protocol::Change change_message(const ChangeCommand& command, const std::string& id) {
  protocol::Change change;
  change.verb = command.verb;
  change.instance = command.instance;
  change.value = command.value;
  std::memcpy(change.group, id.data(), std::min(id.size(), sizeof change.group - 1));
  return change;
}

Result<std::string> change_group(const ChangeCommand& command, const std::string& socket_path) {
  auto document = fetch_document(socket_path);
  if (!document) return tl::make_unexpected(document.error());
  auto groups = parse_status(*document);
  if (!groups) return tl::make_unexpected(groups.error());
  auto id = choose_group(*groups, command.group);
  if (!id) return tl::make_unexpected(id.error());
  // A connection of its own: the daemon may end one after its answer.
  auto client = Client::connect(socket_path);
  if (!client) return tl::make_unexpected(client.error());
  return client->change(change_message(command, *id));
}

}  // namespace subset::ctl
