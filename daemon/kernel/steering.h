// SPDX-License-Identifier: MIT
// What steers one group in the kernel: its program, its table, its members, its counters. Decides
// nothing: it is told a shape and a table, and makes them so.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/kernel/pins.h"
#include "daemon/kernel/record.h"
#include "daemon/kernel/watch.h"
#include "daemon/model/table.h"

namespace subset::kernel {

struct SlotCounts {
  uint64_t home = 0;
  uint64_t alternative = 0;
  uint64_t migrated = 0;
};

struct GroupCounts {
  uint64_t kernel = 0;
  uint64_t refused = 0;
  std::vector<SlotCounts> slots;
};

class Steering {
 public:
  // A new group: maps, program, pins. Nothing is selected before the first publish.
  static Result<std::unique_ptr<Steering>> create(const Pins& pins, const Watch& watch,
                                                  uint64_t serial, const Shape& shape);

  // A group that a former daemon left in the pins; `current` becomes the table in force. The former
  // program goes on steering until the first publish or reshape replaces it.
  static Result<std::unique_ptr<Steering>> adopt(const Pins& pins, const Watch& watch,
                                                 uint64_t serial);
  ~Steering();

  // Makes the group's sockets use the program. The kernel takes it for the whole reuseport group,
  // so any member's socket will do, bound (UDP) or listening (TCP).
  Result<void> attach(int socket);

  // Id of the map that what is attached jumps by: it names the group's program among all others.
  uint32_t stage() const;

  // Puts a socket into a slot, replacing what is there in one store.
  Result<void> insert(Slot slot, int socket);
  Result<void> remove(Slot slot);

  // Cookie of the socket in a slot; 0: the slot is empty.
  Cookie occupant(Slot slot) const;

  // Counter of the open connections of a slot's listener (TCP).
  Result<void> set_counter(Slot slot, uint32_t counter);
  uint32_t counter(Slot slot) const;

  // Makes `table` the one in force: fills the idle copy and flips; another shape is a new program,
  // filled aside and published by one store.
  Result<void> publish(const Shape& shape, const Table& table);

  // The table in force, as the kernel has it.
  std::vector<std::vector<Slot>> rows() const;

  // The sum over CPUs, and over the maps of a group that has grown.
  Result<GroupCounts> counts() const;

  // After a notice: tell again when an empty slot is met.
  void rearm_notice();

  // Pins again what somebody has removed; how much that was.
  Result<size_t> keep_pins() const;

  Result<void> write_record(const Record& record);
  Result<Record> read_record() const;

  // Steers no more, in one store: the kernel's own hash decides from now on.
  Result<void> release();

  // Takes the pins away: the group ends with this object and its last socket.
  Result<void> unpin();

  // Slots that `members` can hold now; a publish with a larger shape grows it.
  uint32_t capacity() const;

 private:
  Steering() = default;
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace subset::kernel
