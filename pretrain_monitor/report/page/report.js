// Charts of a report: plotly's script is unpacked, then every still picture gets a chart that can be zoomed in its place.

import {SignalChart} from "./chart.js";
import {el, setText} from "./dom.js";
import {whole} from "./format.js";
import {looks} from "./looks.js";

const root = document.documentElement;
const data = JSON.parse(document.getElementById("chart-data").textContent);
const places = [...document.querySelectorAll("figure[data-chart]")];
const status = document.getElementById("chart-status");
let range = [data.first, data.last];
let charts = [];

async function unpackPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly-packed").textContent), letter => letter.charCodeAt(0));
  const script = document.createElement("script");
  script.textContent = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(script);
}

// What is in sight, so that the values of a stretch get the whole height.
function within(one, keys) {
  const [low, high] = range;
  if (low <= data.first && high >= data.last) return one;
  const at = one.steps.map((step, place) => place).filter(place => one.steps[place + 1] >= low && one.steps[place - 1] <= high || one.steps[place] >= low && one.steps[place] <= high);
  return {...one, ...Object.fromEntries(keys.map(key => [key, at.map(place => one[key][place])]))};
}

function draw({chart, about}) {
  const look = looks();
  const shown = about.series.map(one => within(one, one.lower.length ? ["steps", "y", "lower", "upper"] : ["steps", "y"]));
  const isWhole = range[0] <= data.first && range[1] >= data.last;
  const banded = shown.find(one => one.lower.length);
  chart.note.textContent = isWhole ? about.note : about.note.replace(/; the first steps are above$/, "");
  const drawn = chart.draw({
    series: shown.map((one, place) => ({
      label: one.label, colour: place === 0 ? look.line : look.runs[(place - 1) % look.runs.length], dash: one.isDashed ? "dash" : "solid",
      x: one.steps, steps: one.steps, y: one.y, nonfinite: one.steps.filter((_, at) => one.y[at] === null),
    })),
    band: banded ? {x: banded.steps, lower: banded.lower, upper: banded.upper, expected: []} : null,
    levels: about.series.filter(one => one.chance !== null).map(one => ({value: one.chance, label: "chance"})),
    spans: data.spans.filter(span => span.last >= range[0] && span.first <= range[1]), range, fitFrom: isWhole ? about.fitFrom : null,
  });
  return drawn;
}

function zoom(first, last) {
  range = last - first < 4 ? [Math.round((first + last) / 2) - 2, Math.round((first + last) / 2) + 2] : [Math.round(first), Math.round(last)];
  setText(status, range[0] <= data.first && range[1] >= data.last ? "" : `steps ${whole(range[0])} to ${whole(range[1])}`);
  charts.forEach(draw);
}

const showAll = () => zoom(data.first, data.last);

function showIncident(anchor) {
  const row = document.getElementById(anchor);
  row?.closest("details")?.setAttribute("open", "");
  location.hash = anchor;
}

function build() {
  charts = places.map((place, at) => {
    const about = data.charts[at];
    const chart = new SignalChart(about.name, {height: about.height, isSmall: about.isSmall, onZoom: zoom, onReset: showAll, onPick: showIncident});
    chart.isLogWished = about.isLog;
    place.after(chart.element);
    place.classList.add("replaced");
    return {chart, about};
  });
}

// One chart at a time, and the page answers in between.
async function drawAll() {
  for (const one of charts) {
    await draw(one);
    await new Promise(resolve => requestAnimationFrame(resolve));
  }
}

function followWishes() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = isDark => {
    root.classList.toggle("dark", isDark);
    charts.forEach(draw);
  };
  dark.addEventListener("change", () => apply(dark.matches));
  // Paper is white, and what is folded cannot be opened on it.
  window.addEventListener("beforeprint", () => {
    root.classList.remove("dark");
    document.querySelectorAll("details:not([open])").forEach(one => { one.open = true; one.dataset.folded = ""; });
  });
  window.addEventListener("afterprint", () => {
    root.classList.toggle("dark", dark.matches);
    document.querySelectorAll("details[data-folded]").forEach(one => { one.open = false; delete one.dataset.folded; });
  });
  root.classList.toggle("dark", dark.matches);
}

// A place in the steps, from a finding: the charts show it, with room on both sides.
function goToSteps(link) {
  const [first, last] = [Number(link.dataset.first), Number(link.dataset.last)];
  const room = Math.max(0.5 * (last - first), 20);
  zoom(Math.max(first - room, data.first), Math.min(last + room, data.last));
}

// A link into something folded opens it.
function openTarget() {
  const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  for (let folded = target?.closest("details"); folded; folded = folded.parentElement.closest("details")) folded.open = true;
  if (target) target.scrollIntoView();
}

followWishes();
window.addEventListener("hashchange", openTarget);
openTarget();
try {
  if (places.length) {
    await unpackPlotly();
    build();
    document.getElementById("chart-tools").append(el("button.small", {type: "button", onclick: showAll}, "show all steps"));
    document.querySelectorAll("a[data-first]").forEach(link => link.addEventListener("click", () => goToSteps(link)));
    await drawAll();
  }
  root.dataset.charts = "drawn";
} catch (error) {
  console.error(error);
  setText(status, "The charts cannot be made interactive in this browser; the still pictures show the same.");
}
