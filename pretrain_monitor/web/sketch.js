// The curve alone, without axes: what is shown until the script of the charts has come, a second or two later.

import {looks} from "./looks.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [1000, 200];

// places and values may hold null; range: first and last place of the picture.
export function sketch(places, values, range, isLog) {
  const scaled = values.map(value => (value === null ? null : isLog ? Math.log(value) : value));
  const known = scaled.filter(Number.isFinite);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const x = place => (WIDTH * (place - range[0])) / (range[1] - range[0] || 1);
  const y = value => HEIGHT * (0.9 - (0.8 * (value - low)) / (high - low || 1));
  let path = "";
  scaled.forEach((value, at) => {
    if (!Number.isFinite(value) || places[at] === null) return;
    path += `${path && Number.isFinite(scaled[at - 1]) ? "L" : "M"}${x(places[at]).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  for (const [name, value] of Object.entries({viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "sketch", "aria-hidden": "true"})) svg.setAttribute(name, value);
  for (const [name, value] of Object.entries({d: path, fill: "none", stroke: looks().line, "vector-effect": "non-scaling-stroke"})) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}
