// One signal over steps, tokens or time: line, expected band, incidents as shaded spans with markers, ticks of events.

import {el, setText} from "./dom.js";
import {number, plain, signalName, whole} from "./format.js";
import {faint, looks, SYMBOLS} from "./looks.js";
import {sketch} from "./sketch.js";

const CONFIG = {displayModeBar: false, responsive: true, doubleClick: false, scrollZoom: false};
const [LEFT, RIGHT] = [62, 10]; // margins in pixels
const WIDE = 40; // largest over smallest value from which on a log scale shows more
const LOG_BY_NATURE = /^grad_norm|grad_norm\//;
const LINEAR_BY_NATURE = /^learning_rate|accuracy$|^epoch$/; // schedules and shares are read off a linear axis

// How many columns to ask for: the server gives that many or as few as half, so for each pixel one of .75 to 1.5.
export const columnsFor = element => Math.round(1.5 * Math.max(200, (element.clientWidth || 800) - LEFT - RIGHT));

// Places on another axis for steps, from points of which both are known.
export class AxisMap {
  constructor(steps = [], places = null) {
    this.steps = steps;
    this.places = places;
  }

  // Step -> place; beyond the known points as far beyond as the nearest stretch says.
  place(step) {
    if (!this.places) return step;
    return interpolate(this.steps, this.places, step);
  }

  step(place) {
    if (!this.places) return Math.round(place);
    return Math.round(interpolate(this.places, this.steps, place));
  }
}

function interpolate(from, to, value) {
  const known = [];
  for (let i = 0; i < from.length; i++) if (from[i] !== null && to[i] !== null) known.push(i);
  if (!known.length) return value;
  if (known.length === 1) return to[known[0]];
  let low = 0;
  let high = known.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (from[known[middle]] <= value) low = middle;
    else high = middle;
  }
  const [a, b] = [known[low], known[high]];
  const span = from[b] - from[a] || 1;
  return to[a] + ((to[b] - to[a]) * (value - from[a])) / span;
}

// Range of what is drawn: the values, and the band as far as it does not make them small.
// fitFrom: place from which on values count; null: all.
export function valueRange(series, band, isLog, fitFrom = null) {
  let [low, high] = [Infinity, -Infinity];
  const take = value => {
    if (value === null || (isLog && value <= 0)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  const counts = place => fitFrom === null || place >= fitFrom;
  for (const one of series) one.y.forEach((value, at) => counts(one.x[at]) && take(value));
  if (low > high) return null;
  const span = high - low || Math.abs(high) || 1;
  if (band) {
    const [floor, ceiling] = [low - span, high + span];
    band.lower.forEach((value, at) => value !== null && counts(band.x[at]) && take(Math.max(value, floor)));
    band.upper.forEach((value, at) => value !== null && counts(band.x[at]) && take(Math.min(value, ceiling)));
  }
  if (isLog) {
    const [a, b] = [Math.log10(low), Math.log10(high)];
    const room = Math.max(0.06 * (b - a), 0.02);
    return [a - room, b + 2 * room];
  }
  const room = 0.06 * (high - low) || 0.05 * Math.abs(high) || 1;
  return [low - room, high + 2 * room];
}

// Ticks of a log axis at 1, 2 and 5, each written out: plotly by itself writes "5" for 0.5 and 0.05 alike.
export function logTicks([low, high]) {
  const decades = high - low;
  if (decades < 0.5) return {};
  const steps = decades > 2.5 ? [1] : decades > 1.4 ? [1, 3] : [1, 2, 5];
  const every = Math.ceil(decades / 7);
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power++) {
    if (power % every === 0) for (const step of steps) ticks.push(step * 10 ** power);
  }
  const shown = ticks.filter(tick => Math.log10(tick) >= low && Math.log10(tick) <= high);
  return {tickmode: "array", tickvals: shown, ticktext: shown.map(tick => number(tick, 3))};
}

export function isWide(values) {
  let [low, high] = [Infinity, 0];
  for (const value of values) {
    if (value === null) continue;
    if (value <= 0) return false;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return high > WIDE * low;
}

// Spans of a kind that overlap are one: shades over shades would cover the curve.
export function joined(spans) {
  const found = [];
  for (const span of [...spans].sort((a, b) => a.first - b.first)) {
    const before = found.findLast(one => one.severity === span.severity && one.colour === span.colour && !one.isChosen && !span.isChosen);
    if (before && span.first <= before.last) before.last = Math.max(before.last, span.last);
    else found.push({...span});
  }
  return found;
}

// spans: incidents in view as {id, severity, first, last, label}; ticks: events as {step, label}.
export class SignalChart {
  constructor(name, {height = 190, onZoom = null, onPick = null, onReset = null, isSmall = false} = {}) {
    this.name = name;
    this.isSmall = isSmall;
    this.onZoom = onZoom;
    this.onPick = onPick;
    this.onReset = onReset;
    this.isLogWished = null; // null: as the values say
    this.plot = el("div.plot", {style: `height:${height}px`});
    this.title = el("h3", {}, signalName(name));
    this.note = el("span.note");
    this.scale = el("button.small", {type: "button", onclick: () => this.toggleScale()}, "log");
    this.element = el(
      "figure.chart", {"data-signal": name, role: "group", "aria-label": `chart of ${signalName(name)}`},
      el("figcaption", {}, this.title, this.note, isSmall ? null : this.scale), this.plot,
    );
    this.drawn = null;
    this.map = new AxisMap();
  }

  toggleScale() {
    this.isLogWished = !this.isLog;
    if (this.drawn) this.draw(this.drawn);
  }

  // series: [{label, colour, x, steps, y, nonfinite}], band: {x, lower, upper, expected} or null.
  draw(view) {
    this.drawn = view;
    if (!window.Plotly) {
      const [first] = view.series;
      this.plot.replaceChildren(sketch(first.x, first.y, view.range, LOG_BY_NATURE.test(this.name)));
      return undefined;
    }
    if (!this.plot.data) this.plot.replaceChildren();
    const {series, band, spans = [], ticks = [], range, axis = "step", map = new AxisMap(), segments = [], levels = [], fitFrom = null} = view;
    this.map = map;
    const look = looks();
    const values = series.flatMap(one => one.y);
    const isFit = !LINEAR_BY_NATURE.test(this.name) && !values.some(value => value !== null && value <= 0);
    this.isLog = this.isLogWished ?? (isFit && (LOG_BY_NATURE.test(this.name) || isWide(values)));
    setText(this.scale, this.isLog ? "linear" : "log");
    this.scale.setAttribute("aria-label", `${this.isLog ? "linear" : "log"} scale for ${signalName(this.name)}`);
    const yRange = valueRange(series, band, this.isLog, fitFrom) ?? [0, 1];
    const top = this.isLog ? 10 ** (yRange[0] + 0.97 * (yRange[1] - yRange[0])) : yRange[0] + 0.97 * (yRange[1] - yRange[0]);
    const traces = [
      ...this.bandTraces(band, look), ...series.map(one => this.line(one, series.length === 1, look, axis)),
      ...segments.map(one => this.segment(one, look)), ...levels.map(one => this.level(one, range, look)), ...this.nonfinite(series, top, look), this.markers(spans, look), this.tickMarks(ticks, look),
    ].filter(Boolean);
    const layout = {
      margin: {l: this.isSmall ? 52 : LEFT, r: RIGHT, t: 4, b: this.isSmall ? 22 : 26},
      paper_bgcolor: look.paper, plot_bgcolor: look.paper,
      font: {color: look.ink, size: 11, family: "system-ui, sans-serif"},
      showlegend: false, hovermode: "closest", hoverdistance: 24, dragmode: this.onZoom ? "zoom" : false,
      uirevision: this.name,
      xaxis: {
        range, gridcolor: look.grid, zeroline: false, fixedrange: !this.onZoom, linecolor: look.grid,
        ...(axis === "time" ? {type: "date"} : {type: "linear", tickformat: axis === "tokens" ? "~s" : ",d"}), nticks: this.isSmall || this.plot.clientWidth < 520 ? 4 : 8,
      },
      yaxis: {
        range: yRange, type: this.isLog ? "log" : "linear", gridcolor: look.grid, zeroline: false, fixedrange: true,
        exponentformat: "e", nticks: this.isSmall ? 4 : 6, ...(this.isLog ? logTicks(yRange) : {}),
      },
      yaxis2: {overlaying: "y", range: [0, 1], visible: false, fixedrange: true},
      shapes: this.shapes(spans, ticks, look),
      hoverlabel: {align: "left"},
    };
    const isFirst = !this.plot.data;
    const done = Plotly.react(this.plot, traces, layout, CONFIG);
    if (isFirst) this.listen();
    return done;
  }

  listen() {
    this.plot.on("plotly_relayout", change => {
      const [low, high] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      if (low === undefined || !this.onZoom) return;
      this.onZoom(this.fromAxis(low), this.fromAxis(high));
    });
    this.plot.on("plotly_doubleclick", () => this.onReset?.());
    this.plot.on("plotly_click", event => {
      const id = event.points.map(point => point.customdata?.id).find(Boolean);
      if (id) this.onPick?.(id);
    });
  }

  fromAxis(value) {
    const isDate = typeof value === "string" && !/^-?[\d.]+(e[-+]?\d+)?$/.test(value);
    return this.map.step(isDate ? Date.parse(value.replace(" ", "T") + "Z") : Number(value));
  }

  line(one, isOnly, look, axis) {
    const where = one.steps.map(step => `step ${whole(step)}`);
    return {
      x: one.x, y: one.y, type: "scatter", mode: one.y.length < 40 ? "lines+markers" : "lines", connectgaps: false,
      line: {color: isOnly ? look.line : one.colour, width: this.isSmall ? 1.2 : 1.1, dash: one.dash ?? "solid"}, marker: {size: 4},
      name: plain(one.label ?? this.name), text: where,
      hovertemplate: `%{text}<br>${isOnly ? "" : plain(one.label) + " "}%{y:.6~g}<extra></extra>`,
    };
  }

  bandTraces(band, look) {
    if (!band || !band.x.length) return [];
    const edge = {type: "scatter", mode: "lines", line: {width: 0}, hoverinfo: "skip"};
    return [
      {...edge, x: band.x, y: band.lower},
      {...edge, x: band.x, y: band.upper, fill: "tonexty", fillcolor: look.band},
      {x: band.x, y: band.expected, type: "scatter", mode: "lines", line: {color: look.expected, width: 1, dash: "dot"}, hoverinfo: "skip"},
    ];
  }

  segment(one, look) {
    const sd = `${one.sd >= 0 ? "+" : ""}${number(one.sd, 3)} sd`;
    return {
      x: [this.map.place(one.first), this.map.place(one.last)], y: [one.level, one.level], type: "scatter", mode: "lines",
      line: {color: look.segment, width: 4}, hovertemplate: `segment ${whole(one.first)} to ${whole(one.last)}: ${sd}<extra></extra>`,
    };
  }

  // A value to compare with, such as chance.
  level(one, range, look) {
    return {
      x: range, y: [one.value, one.value], type: "scatter", mode: "lines",
      line: {color: look.mark, width: 1.2, dash: "dot"}, hovertemplate: `${plain(one.label)}: ${number(one.value)}<extra></extra>`,
    };
  }

  // A value that was NaN or infinite: a cross at the top, where nothing else is.
  nonfinite(series, top, look) {
    return series.filter(one => one.nonfinite?.length).map(one => ({
      x: one.nonfinite.map(step => this.map.place(step)), y: one.nonfinite.map(() => top), type: "scatter", mode: "markers",
      marker: {symbol: "x", size: 8, color: look.critical}, text: one.nonfinite.map(step => `step ${whole(step)}: NaN or infinite`),
      hovertemplate: "%{text}<extra></extra>",
    }));
  }

  markers(spans, look) {
    if (!spans.length) return null;
    return {
      x: spans.map(span => this.map.place(span.first)), y: spans.map(span => span.height ?? 0.97), yaxis: "y2", type: "scatter", mode: "markers",
      marker: {symbol: spans.map(span => SYMBOLS[span.severity]), size: spans.map(span => (span.isChosen ? 14 : 10)), color: spans.map(span => span.colour ?? look[span.severity])},
      customdata: spans.map(span => ({id: span.id})), text: spans.map(span => plain(span.label).replaceAll("\n", "<br>")),
      hovertemplate: "%{text}<extra></extra>", cliponaxis: false,
    };
  }

  tickMarks(ticks, look) {
    if (!ticks.length) return null;
    return {
      x: ticks.map(tick => this.map.place(tick.step)), y: ticks.map(() => 0.02), yaxis: "y2", type: "scatter", mode: "markers",
      marker: {symbol: ticks.map(tick => (tick.isProbe ? "line-ns-open" : "star-triangle-up")), size: ticks.map(tick => (tick.isProbe ? 7 : 9)), color: look.mark, line: {width: 1.5, color: look.mark}},
      text: ticks.map(tick => plain(tick.label)), hovertemplate: "%{text}<extra></extra>", cliponaxis: false,
    };
  }

  shapes(spans, ticks, look) {
    const shaded = joined(spans).slice(-400).map(span => ({
      type: "rect", xref: "x", yref: "paper", x0: this.map.place(span.first), x1: this.map.place(Math.max(span.last, span.first + 1)), y0: 0, y1: 1,
      fillcolor: faint(span.colour ?? look[span.severity], span.isChosen ? 0.22 : 0.12), line: {width: span.isChosen ? 1.5 : 0.5, color: faint(span.colour ?? look[span.severity], 0.6)}, layer: "below",
    }));
    const lines = ticks.filter(tick => !tick.isProbe).slice(-100).map(tick => ({
      type: "line", xref: "x", yref: "paper", x0: this.map.place(tick.step), x1: this.map.place(tick.step), y0: 0, y1: 1,
      line: {width: 1, dash: "dot", color: look.mark}, layer: "below",
    }));
    return [...shaded, ...lines];
  }

  remove() {
    if (this.plot.data) Plotly.purge(this.plot);
    this.element.remove();
  }
}
