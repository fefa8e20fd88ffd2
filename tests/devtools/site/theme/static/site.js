/* Copyright (c) 2026 lockstep.images contributors
 * GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
"use strict";

// A browser does not let a page that was opened as a file read other files, so there are no excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

const reachWide = () => {
  // What scrolls sideways must be in reach of the keyboard, and nothing else.
  for (const box of document.querySelectorAll(".scrolls, .highlight pre")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
addEventListener("DOMContentLoaded", () => {
  reachWide();
  document.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  scrollTo(0, location.hash ? scrollY : 0);
});
addEventListener("resize", reachWide);
