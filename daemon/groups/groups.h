// SPDX-License-Identifier: MIT
// Carries out what the registry decides and the planner wants: the one place where the model and
// the kernel's side meet. Every change ends in settle(), which plans each group that changed once
// and publishes its table; a restart of the daemon is the same way.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/kernel/pins.h"
#include "daemon/kernel/steering.h"
#include "daemon/kernel/watch.h"
#include "daemon/loop/loop.h"
#include "daemon/model/hold.h"
#include "daemon/model/quotas.h"
#include "daemon/model/registry.h"
#include "daemon/model/table_plan.h"
#include "daemon/observe/happening.h"
#include "daemon/observe/snapshot.h"
#include "daemon/observe/table_view.h"
#include "protocol/message.h"

namespace subset {

using observe::Happening;

class Groups {
 public:
  struct Surroundings {
    kernel::Pins pins;
    std::unique_ptr<kernel::Watch> watch;
    Topology topology;
    uint32_t own_netns = 0;
    Quotas quotas;
    Hold hold;
    // How long a group without members keeps its counters and its name: a server that is restarted
    // as a whole finds them again.
    std::chrono::seconds linger{0};
    // How long a takeover waits for the first use of the successor's socket; 0: not at all.
    std::chrono::milliseconds takeover_wait{0};
  };

  Groups(Surroundings surroundings, Loop& loop, std::function<void(const Happening&)> tell);
  ~Groups();

  // Takes over what a former daemon left in pins and tags. A group that cannot be read is reported
  // and left alone.
  Result<void> adopt();

  struct Joined {
    GroupSerial group = 0;
    uint32_t total = 0;
    uint32_t instance = 0;
    uint32_t member = 0;
    std::string warning;
    bool known = false;      // this very socket was a member already
    bool took_over = false;  // another lineage's member drains from now on
    bool waits = false;      // it takes the instance over at its first use
  };
  // The socket stays the caller's. The table changes at the next settle().
  Result<Joined> join(const Claim& claim, int socket);
  Result<Joined> query(Cookie cookie) const;
  Result<void> leave(Cookie cookie, int socket);
  // The same before its process closes it; EBUSY where that will not be the end of the socket.
  Result<void> leave_before_close(Cookie cookie, int socket);
  // Leaves, and is known from now on as a socket that stays bound and gets nothing.
  Result<void> park(Cookie cookie, int socket);

  struct Reclaimed {
    Joined joined;
    Fd socket;
  };
  // Vacancy `hold`: the held socket that this process, which is about to bind one of its own, takes
  // instead; its member from now on. ENOENT: there is none. EPERM: it is somebody else's. The
  // claim has no cookie; `unbound` has the receive buffer that is wanted.
  Result<Reclaimed> reclaim(Claim claim, int unbound);

  // An operator's change, by who may.
  Result<void> change(const protocol::Change& change, uint32_t peer_uid);

  // Plans and publishes what changed since the last time; what takes too long for one round goes on
  // in the next ones, of its own accord.
  void settle();
  // At the end: what newcomers were told is theirs, and was put off, comes into force.
  void settle_put_off();
  // Is what was changed in this group in force? Newcomers that are put off (model/pace.h)
  // change nothing yet.
  bool settled(GroupSerial group) const { return !changed_.contains(group); }

  // 0: there is none.
  GroupSerial serial_of(Cookie cookie) const;
  GroupSerial serial_of(const std::string& id) const;

  // Looks whether the members are still there: cheap, and the truth.
  void sweep();

  observe::Snapshot snapshot() const;
  // The steering table of a group; empty where there is no such group.
  std::optional<observe::TableView> table(std::string_view id) const;

  struct Size {
    size_t groups = 0;
    size_t members = 0;
  };
  Size size() const;

  // At the end of an embedded daemon: takes groups without members away and, if none is left, all
  // pins; true then.
  bool remove_empty();

 private:
  // The daemon's duplicate of a member's socket (vacancy `hold`).
  struct KeptSocket {
    Fd socket;
    uint32_t user = 0;  // of the process that had it last
    std::optional<std::chrono::steady_clock::time_point> held_until;  // empty: its process has it
    bool abandoned_before = false;                                    // at the last look too
    struct Buffer {
      ReceiveBuffer raised;
      ReceiveBuffer wanted;
    };
    std::optional<Buffer> buffer;  // of a UDP socket: not what its process wants, for now
  };

  // What one group has beside the registry's entry.
  struct Runtime {
    std::unique_ptr<kernel::Steering> steering;
    PlanState plan;
    std::vector<uint64_t> selected_at_change;  // by slot: where the imbalance starts to count
    std::vector<Candidate> candidates;         // of the table in force
    std::vector<observe::Stranger> strangers;  // as of the last search
    std::set<Cookie> suspects;                 // seen by that search alone
    std::vector<observe::Stranger> misplaced;  // members; as of the last sweep
    std::string foreign;                       // who decides instead of our program; or empty
    std::map<Cookie, KeptSocket> kept;
    std::chrono::steady_clock::time_point pause_ends;  // until then newcomers are put off
    Loop::Handle put_off;                              // plans them then
  };

  using Samples = std::unordered_map<Cookie, subset_sample>;

  Result<void> make_runtime(const Claim& claim, const Admission& admission, GroupSerial serial);
  // Gives back why the group's program is not attached; empty: it is.
  Result<std::string> seat(const Claim& claim, const Admission& admission, GroupSerial serial,
                           int socket);
  Result<std::string> attach(kernel::Steering& steering, int socket);
  Result<Admission> admit(const Claim& claim);
  bool confines_itself_later(const Claim& claim, const Admission& admission) const;
  void await_use(GroupSerial group, Cookie cookie);
  void end_waits();
  Result<void> make_room(const Group* group, Runtime& runtime, const Admission& admission);
  uint32_t counter_for(const Claim& claim);
  void free_counter(Cookie cookie);
  void report_join(const Group& group, const Claim& claim, const Admission& admission,
                   uint64_t generation_before, bool handed_over);
  // What there is to say where nobody counts the listener's connections; empty: it is counted.
  std::string report_uncounted(const Group& group, const Claim& claim);
  bool is_held_by_other(const Claim& claim) const;  // this socket, by another process

  Result<void> leave(Cookie cookie, int socket, const char* why);
  Result<void> vacate(const Group& group, const Member& member);
  void depart(GroupSerial group, Cookie cookie, const char* why);
  bool sits(const Runtime& runtime, const Member& member) const;
  void check_seats(const Group& group);
  void refresh_process(const Group& group, const Member& member);
  void refresh_processes(const Group& group);
  void refresh_topology();
  // Adds all tagged sockets; false, with a line in the log, if they cannot be
  // listed.
  bool add_living(Samples& alive) const;
  bool all_among(const Samples& alive) const;  // all members
  void process_ended(int32_t pid);
  void watch_process(int32_t pid);
  void forget_empty(bool at_once);
  void keep_pins();
  Result<void> keep_shared_pins();
  Result<void> pin_again();

  Kept count_kept(uint32_t uid) const;
  std::string keep(const Group& group, const Claim& claim, int socket);
  void hold_abandoned(const Samples& samples);
  void look_for_abandoned(const Group& group);
  bool keeps_of(int32_t pid) const;
  void take_in(const Group& group, Cookie cookie, const std::set<Cookie>& abandoned);
  void hold(GroupSerial group, Cookie cookie);
  void hurry_others(const Group& group, uint32_t instance);
  void make_room_while_held(const Group& group, KeptSocket& kept);
  void want_buffer(KeptSocket& kept, const ReceiveBuffer& wanted);
  void settle_buffer(KeptSocket& kept);
  void tend_kept();
  void release(GroupSerial group, Cookie cookie, const std::string& why);
  Result<void> release_held(const Group& group, std::optional<uint32_t> instance,
                            const std::string& why);
  void let_go(const Group& group, Runtime& runtime);
  void let_all_go();

  void manage_port(const GroupKey& key);
  void unmanage_port(const GroupKey& key);
  void look_for_strangers();
  bool compare_with_members(const std::vector<subset_found>& found);
  void report_strangers(const Group& group, std::vector<observe::Stranger>& known,
                        std::vector<observe::Stranger> strangers);
  void oversee_group(const Group& group, Runtime& runtime, const Samples& samples);
  void report_foreign(const Group& group, Runtime& runtime, const std::string& reason);

  std::vector<GroupSerial> changed_in_turns() const;
  void settle_one(GroupSerial serial);
  TablePlan plan_for(const Group& group, const Runtime& runtime) const;
  // True if the table is another one now.
  Result<bool> publish(const Group& group, Runtime& runtime);
  void write_record(const Group& group, Runtime& runtime);
  Result<void> adopt_group(GroupSerial serial, const std::vector<subset_sample>& samples);
  void changed(GroupSerial group);
  void put_off(GroupSerial group);

  std::vector<CpuSet> cpus_of_domains(const Runtime& runtime) const;
  observe::GroupView view_of(const Group& group, const Runtime& runtime,
                             const Samples& samples) const;

  Surroundings around_;
  Loop& loop_;
  std::function<void(const Happening&)> tell_;
  Registry registry_;
  std::map<GroupSerial, Runtime> runtimes_;
  std::map<GroupSerial, uint64_t> changed_;  // by which change
  uint64_t changes_ = 0;
  std::set<Cookie> parked_;
  struct Watched {
    Fd pidfd;
    Loop::Handle handle;
  };
  std::map<int32_t, Watched> processes_;
  std::vector<bool> counters_in_use_;
  struct Wait {
    GroupSerial group = 0;
    Cookie cookie = 0;
    std::chrono::steady_clock::time_point end;
  };
  std::deque<Wait> waits_;  // for first use; the first ends first
  Loop::Handle wait_end_;
  std::map<Cookie, uint32_t> counters_;  // of open connections, by listener
  Loop::Handle notices_;
  Loop::Handle sweeper_;
  Loop::Handle search_;
  bool confirming_ = false;  // the next search looks once more at what the last one suspected
  GroupSerial pins_kept_last_ = 0;  // the group whose pins were looked at last
  std::string pins_lost_;           // why pins are missing; empty: none is
  size_t pins_made_again_ = 0;      // and not yet told of
  Loop::Handle rest_;               // of what has to settle
  uint32_t settled_last_ = 0;       // the user whose group did
  Loop::Handle look_again_;
  bool settle_asked_ = false;
  bool looked_for_abandoned_ = false;  // in this round
};

}  // namespace subset
