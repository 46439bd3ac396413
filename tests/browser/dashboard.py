# SPDX-License-Identifier: MIT
"""The dashboard as an operator's browser shows it, while a group lives, loses a member, is drained,
and while its daemon dies and comes back. Run by tests/system/dashboard_test.cpp, which makes all
that and starts the daemon again when this says "the daemon is gone".

usage: dashboard.py ADDRESS DAEMON-PID WORK-DIRECTORY PICTURES-DIRECTORY SUBSET-COMMAND...
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

import webdriver

GROUP = "udp/127.0.0.1:7000"
OTHER = "tcp/127.0.0.1:7000"
PATIENCE = 15  # seconds; only ends a test that has failed
REACTION = 2  # seconds: the limit that the page is held to

# The contrast of every text on the page with what is behind it, as WCAG counts it; those below.
CONTRAST = """
const rgba = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const light = (c) => { const v = c / 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = rgba(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return rgba(getComputedStyle(document.body).backgroundColor);
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("option, .skip, noscript")) continue;
  const [a, b] = [luminance(rgba(getComputedStyle(node).color)), luminance(behind(node))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) found.push(`${walker.currentNode.data.trim()}: ${contrast.toFixed(2)}`);
}
return [...new Set(found)];
"""

# Controls without a name, pictures without a text for them, ids that are there twice.
UNNAMED = """
const named = (node) => node.getAttribute("aria-label") || node.getAttribute("aria-labelledby") ||
  node.labels?.length || node.innerText?.trim();
const bad = [...document.querySelectorAll("input, select, button, a, canvas")].filter((node) => !named(node));
bad.push(...document.querySelectorAll("img:not([alt])"));
const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
return [...bad.map((node) => node.outerHTML.slice(0, 80)), ...ids.filter((id, i) => ids.indexOf(id) !== i)];
"""

# The row of the first member of an instance.
ROW = """
const rows = [...document.querySelectorAll("#member-rows tr")];
return rows.find((row) => row.querySelector(".name")?.innerText.startsWith(`${arguments[0]}/`))?.innerText ?? "";
"""


class Page:
    def __init__(self, browser, pictures):
        self.browser = browser
        self.pictures = pathlib.Path(pictures)
        self.pictures.mkdir(exist_ok=True)

    def wait(self, what, condition, limit=PATIENCE):
        """Seconds until it holds."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > limit:
                self.picture("failed")
                sys.exit(self.browser.text("body") + f"\nnot within {limit} s: {what}")
            time.sleep(0.02)
        return time.monotonic() - begin

    def shows(self, selector, text, limit=PATIENCE):
        return self.wait(f"{selector} shows {text!r}",
                         lambda: text in self.browser.text(selector), limit)

    def row(self, instance):
        return self.browser.run(ROW, instance)

    def picture(self, name, whole=True):
        self.browser.screenshot(self.pictures / f"dashboard-{name}.png", whole)


def check(condition, what):
    if not condition:
        sys.exit(f"wrong: {what}")


def member_of(address, instance):
    with urllib.request.urlopen(address + "api/v1/groups", timeout=10) as answer:
        groups = json.load(answer)["groups"]
    group = next(group for group in groups if group["id"] == GROUP)
    return next(member for member in group["members"] if member["instance"] == instance)


def check_live(page):
    page.shows("#connection", "live")
    page.shows("#group-list", OTHER)
    page.browser.run("location.hash = '#' + encodeURIComponent(arguments[0])", GROUP)
    page.shows("#group-title", GROUP)
    for instance in range(4):
        page.wait(f"instance {instance} is active", lambda: "active" in page.row(instance))
    page.wait("there is traffic", lambda: page.browser.text("#sum-rate") not in ("", "–", "0"))
    page.shows("#group-health", "all is well")
    page.shows("#moved", "buckets")
    page.wait("nothing needs attention", lambda: page.browser.text("#alarms") == "")
    check(page.browser.run("return document.querySelector('#grids canvas').width") > 100, "a grid")


def check_killed(page, address):
    os.kill(member_of(address, 2)["pid"], signal.SIGKILL)
    begin = time.monotonic()
    page.shows("#group-troubles", "instance 2 is missing", REACTION)
    page.shows("#event-list", "left", REACTION)
    page.wait("the row says so", lambda: "vacant" in page.row(2), REACTION)
    page.shows("#moved-flows", "2/4 gave", REACTION)
    print(f"a killed member is seen after {time.monotonic() - begin:.2f} s")
    check("left" in page.browser.text("#event-list"), "an event")
    page.shows("#alarms", GROUP)


def check_drained(page, subset):
    subprocess.run([*subset, "drain", GROUP, "1"], check=True)
    begin = time.monotonic()
    page.wait("the row says so", lambda: "draining" in page.row(1), REACTION)
    page.shows("#event-list", "drained", REACTION)
    page.shows("#moved-flows", "1/4 gave", REACTION)
    print(f"a drain is seen after {time.monotonic() - begin:.2f} s")
    subprocess.run([*subset, "resume", GROUP, "1"], check=True)
    page.wait("and its end", lambda: "active" in page.row(1), REACTION)
    page.shows("#event-list", "resumed", REACTION)


def check_keyboard(page):
    browser = page.browser
    browser.run("document.querySelector(`#group-list a[href$='${arguments[0]}']`).focus()",
                "#" + urllib.request.quote(OTHER, safe=""))
    browser.press("\ue007")  # Enter
    page.shows("#group-title", OTHER)
    page.shows("#members", "Open")
    browser.run("history.back()")
    page.shows("#group-title", GROUP)
    page.shows("#moved", "buckets")  # of this group again, so the grid is there
    browser.run("document.querySelector('#grids canvas').focus()")
    browser.press("\ue014\ue014")  # right, right
    page.shows("#bucket", "Bucket 2: ")
    browser.run("document.activeElement.blur()")


def check_looks(page):
    browser = page.browser
    for scheme in ("dark", "light"):
        browser.scheme(scheme)
        page.wait("colours of " + scheme, lambda: browser.run(
            "return matchMedia(`(prefers-color-scheme: ${arguments[0]})`).matches", scheme))
        time.sleep(0.5)  # the charts take the new colours with the next look
        weak = browser.run(CONTRAST)
        check(not weak, f"contrast in {scheme}: {weak}")
        page.picture(scheme)
    for width in (1120, 800):
        browser.size(width, 900)
        page.wait(f"the members fit beside the list at {width}", lambda: browser.run(
            "const box = document.querySelector('.scroll'); return box.scrollWidth <= box.clientWidth"))
    unnamed = browser.run(UNNAMED)
    check(not unnamed, f"without a name: {unnamed}")
    browser.size(360, 740, mobile=True)
    page.wait("nothing is wider than a phone", lambda: browser.run(
        "return document.documentElement.scrollWidth <= 360"))
    page.picture("phone")
    browser.size(1440, 900)


def check_daemon_death(page, daemon):
    page.browser.run("scrollTo(0, document.body.scrollHeight)")
    os.kill(daemon, signal.SIGKILL)
    page.shows("#gone", "does not answer", 2 * REACTION)
    check(page.browser.run("const box = document.getElementById('gone').getBoundingClientRect();"
                           "return scrollY > 0 && box.top >= 0 && box.bottom <= innerHeight"), "in sight")
    page.shows("#connection", "daemon gone")
    check("0/4" in page.row(0), "what was known last stays")
    page.picture("gone", whole=False)
    print("the daemon is gone", flush=True)
    page.wait("it is back", lambda: page.browser.text("#gone") == "")
    page.shows("#connection", "live")
    page.shows("#event-list", "daemon is back")


def errors_in(messages):
    """What the page has to answer for: neither the browser's own pages, nor hints."""
    return [message["message"] for message in messages
            if message["level"] in ("SEVERE", "WARNING")
            and not message["message"].startswith("chrome://")]


def of_a_dead_daemon(error):
    """A daemon that was killed refuses connections, and cuts those it has."""
    return any(text in error for text in (
        "net::ERR_CONNECTION_REFUSED", "net::ERR_CONNECTION_RESET", "net::ERR_EMPTY_RESPONSE",
        "net::ERR_INCOMPLETE_CHUNKED_ENCODING"))


def main():
    address, daemon, work, pictures, *subset = sys.argv[1:]
    with webdriver.Browser(work) as browser:
        page = Page(browser, pictures)
        browser.size(1440, 900)
        browser.open(address)
        browser.run("window.neverLoadedAgain = true")
        check_live(page)
        check_killed(page, address)
        check_looks(page)
        check_drained(page, subset)
        check_keyboard(page)
        before = errors_in(browser.console())
        check(not before, f"the console: {before}")
        check_daemon_death(page, int(daemon))
        after = [error for error in errors_in(browser.console()) if not of_a_dead_daemon(error)]
        check(not after, f"the console: {after}")
        check(browser.run("return window.neverLoadedAgain === true"), "never loaded again")
    print("all is well with the page")


main()
