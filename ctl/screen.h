// SPDX-License-Identifier: MIT
// The whole terminal, by ncurses, and keys from it; as it was before when this is gone. One at a
// time: ncurses has one state.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "ctl/table.h"
#include "ctl/top_view.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset::ctl {

class Screen {
 public:
  // Errors: standard input or output is no terminal, or one that cannot be drawn on.
  static Result<Screen> open(bool colour);

  Screen(Screen&&) noexcept = default;
  Screen& operator=(Screen&&) noexcept = default;
  ~Screen() = default;

  TerminalSize size() const;
  void draw(const std::vector<std::vector<Cell>>& lines);

  // What came first: a key (Key::None for one that means nothing), the terminal's new size, the end
  // of the time, or a signal that asks to end (SIGINT, SIGTERM, SIGHUP).
  enum class Came { Key, Resized, Nothing, Stop };
  struct Input {
    Came came = Came::Nothing;
    Key key = Key::None;
  };
  Result<Input> wait(std::chrono::milliseconds limit);

 private:
  struct Terminal;  // what has to be given back
  struct GiveBack {
    void operator()(Terminal* terminal) const;
  };

  Screen(std::unique_ptr<Terminal, GiveBack> terminal, Fd signals)
      : terminal_(std::move(terminal)), signals_(std::move(signals)) {}

  std::unique_ptr<Terminal, GiveBack> terminal_;
  Fd signals_;
};

}  // namespace subset::ctl
