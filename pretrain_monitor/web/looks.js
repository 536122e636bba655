// Colours and shapes, for light and dark; a palette that colour-blind people can tell apart (Okabe and Ito, 2008).
// Nothing is said by colour alone: severities differ in shape and are written out too.

export const SEVERITIES = ["info", "warning", "critical"];

export const SYMBOLS = {info: "circle", warning: "triangle-up", critical: "diamond"};
export const SIGNS = {info: "●", warning: "▲", critical: "◆"};
const STATE_SIGNS = {
  healthy: "✓", finished: "✓", "no data": "?", empty: "…",
};
// A run that is finished may have ended badly: then the sign says so.
export const signOf = run => ({critical: "◆", warning: "▲"}[run.tone] ?? STATE_SIGNS[run.state] ?? "");

const LIGHT = {
  paper: "#ffffff", ink: "#24292f", quiet: "#5b6670", grid: "#e5e8ec", line: "#24292f", band: "rgba(0,114,178,.16)",
  expected: "#6f8aa3", info: "#4477aa", warning: "#b35900", critical: "#c1121f", mark: "#8a97a6", segment: "#e69f00",
  runs: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6b5b95", "#24292f"],
};
const DARK = {
  paper: "#1e1e1e", ink: "#e6e6e6", quiet: "#a3abb3", grid: "#3a3f44", line: "#e6e6e6", band: "rgba(86,180,233,.22)",
  expected: "#8fb3cf", info: "#7fb2e5", warning: "#ffb454", critical: "#ff6b6b", mark: "#7d8790", segment: "#f0c14b",
  runs: ["#56b4e9", "#ff9e5e", "#35c29a", "#e6a3cb", "#9ad0f5", "#f0c14b", "#b3a5e0", "#e6e6e6"],
};

export const isDark = () => document.documentElement.classList.contains("dark");
export const looks = () => (isDark() ? DARK : LIGHT);
export const faint = (colour, share) => `${colour}${Math.round(255 * share).toString(16).padStart(2, "0")}`;
