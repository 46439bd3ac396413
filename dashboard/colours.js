// SPDX-License-Identifier: MIT
// A colour for each member, the same wherever it is drawn. The first eight are told apart by most
// people with a colour deficiency (after Okabe and Ito); beyond, hues at the golden angle are at
// least never close to their neighbours'. Names stand beside colours everywhere.

const dark = matchMedia("(prefers-color-scheme: dark)");

const LIGHT = ["#3b6fd4", "#d97a1e", "#2a9d78", "#b456b0", "#8f9a1f", "#37a3d6", "#c9485b", "#7a6652"];
const DARK = ["#6c9af0", "#eb9c4d", "#4fc49d", "#d083cc", "#bcc54f", "#6cc3ee", "#ec7a8a", "#b09a83"];

const GOLDEN_ANGLE = 137.508;

export const isDark = () => dark.matches;
export const onSchemeChange = (listener) => dark.addEventListener("change", listener);

export function colourOf(place) {
  const first = isDark() ? DARK : LIGHT;
  if (place < first.length) return first[place];
  const hue = Math.round((place * GOLDEN_ANGLE) % 360);
  const light = (isDark() ? 58 : 42) + 9 * (place % 3);
  return `hsl(${hue} 48% ${light}%)`;
}

// What a style sheet's custom property is now.
export const themeColour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();
