// SPDX-License-Identifier: MIT
#include "ctl/screen.h"

#include <ncurses.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <csignal>

namespace subset::ctl {

// Signals come through a descriptor, so none interrupts ncurses in the middle of its work. SIGTSTP
// is left to ncurses, which gives the terminal back and draws it again.
struct Screen::Terminal {
  SCREEN* screen = nullptr;
  bool colours = false;
  sigset_t former_signals{};
};

namespace {

attr_t attributes_of(Colour colour, bool colours) {
  switch (colour) {
    case Colour::None:
      return A_NORMAL;
    case Colour::Bold:
      return A_BOLD;
    case Colour::Red:  // alarms are to be seen on a terminal without colours too
      return colours ? COLOR_PAIR(COLOR_RED) : A_BOLD;
    case Colour::Green:
      return colours ? COLOR_PAIR(COLOR_GREEN) : A_NORMAL;
    case Colour::Yellow:
      return colours ? COLOR_PAIR(COLOR_YELLOW) : A_NORMAL;
    case Colour::Cyan:
      return colours ? COLOR_PAIR(COLOR_CYAN) : A_UNDERLINE;
  }
  return A_NORMAL;
}

// False where the terminal has none.
bool begin_colours() {
  if (!has_colors() || start_color() != OK || use_default_colors() != OK) return false;
  for (short colour : {COLOR_RED, COLOR_GREEN, COLOR_YELLOW, COLOR_CYAN})
    if (init_pair(colour, colour, -1) != OK) return false;
  return true;
}

Key key_of(int code) {
  switch (code) {
    case KEY_UP:
    case 'k':
      return Key::Up;
    case KEY_DOWN:
    case 'j':
      return Key::Down;
    case KEY_PPAGE:
      return Key::PageUp;
    case KEY_NPAGE:
    case ' ':
      return Key::PageDown;
    case KEY_HOME:
      return Key::Home;
    case KEY_END:
      return Key::End;
    case 27:
      return Key::Escape;
    default:
      return code > 0 && code < 128 ? static_cast<Key>(code) : Key::None;
  }
}

// Blocked, and read from the descriptor.
Result<Fd> catch_signals(sigset_t& former) {
  sigset_t caught;
  sigemptyset(&caught);
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&caught, number);
  Fd signals(signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return fail_errno("signalfd");
  if (sigprocmask(SIG_BLOCK, &caught, &former) != 0) return fail_errno("block signals");
  return signals;
}

}  // namespace

void Screen::GiveBack::operator()(Terminal* terminal) const {
  endwin();
  delscreen(terminal->screen);
  sigprocmask(SIG_SETMASK, &terminal->former_signals, nullptr);
  delete terminal;
}

Result<Screen> Screen::open(bool colour) {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0)
    return fail(0, "top needs a terminal: use subset top --json, or subset status");
  sigset_t former;
  auto signals = catch_signals(former);
  if (!signals) return tl::make_unexpected(signals.error());
  SCREEN* screen = newterm(nullptr, stdout, stdin);
  if (screen == nullptr) {
    sigprocmask(SIG_SETMASK, &former, nullptr);
    return fail(0, "this terminal cannot be drawn on: set TERM, or use subset status");
  }
  std::unique_ptr<Terminal, GiveBack> terminal(
      new Terminal{.screen = screen, .former_signals = former});
  set_term(screen);
  set_escdelay(25);  // milliseconds in which the rest of an arrow key's bytes comes
  cbreak();
  noecho();
  keypad(stdscr, TRUE);
  nodelay(stdscr, TRUE);
  curs_set(0);
  terminal->colours = colour && begin_colours();
  return Screen(std::move(terminal), std::move(*signals));
}

TerminalSize Screen::size() const {
  return {.columns = static_cast<size_t>(std::max(COLS, 1)),
          .rows = static_cast<size_t>(std::max(LINES, 1))};
}

void Screen::draw(const std::vector<std::vector<Cell>>& lines) {
  erase();
  for (int y = 0; y < LINES && y < static_cast<int>(lines.size()); y++) {
    ::move(y, 0);
    for (const Cell& cell : lines[static_cast<size_t>(y)]) {
      const int room = COLS - getcurx(stdscr);
      if (room <= 0 || getcury(stdscr) != y) break;
      attrset(attributes_of(cell.colour, terminal_->colours));
      addnstr(cell.text.c_str(), room);
    }
  }
  attrset(A_NORMAL);
  refresh();
}

Result<Screen::Input> Screen::wait(std::chrono::milliseconds limit) {
  // ncurses may have read more keys than one at once.
  if (int code = getch(); code != ERR) return Input{.came = Came::Key, .key = key_of(code)};
  std::array<pollfd, 2> watched{pollfd{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                                pollfd{.fd = signals_.get(), .events = POLLIN, .revents = 0}};
  const int ready = poll(watched.data(), watched.size(), static_cast<int>(limit.count()));
  if (ready < 0 && errno != EINTR) return fail_errno("wait for a key");
  if (ready <= 0) return Input{};
  signalfd_siginfo signal{};
  if (read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo != SIGWINCH) return Input{.came = Came::Stop};
    winsize size{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) resizeterm(size.ws_row, size.ws_col);
    return Input{.came = Came::Resized};
  }
  if ((watched[0].revents & (POLLHUP | POLLERR)) != 0) return Input{.came = Came::Stop};
  if (int code = getch(); code != ERR) return Input{.came = Came::Key, .key = key_of(code)};
  return Input{};
}

}  // namespace subset::ctl
