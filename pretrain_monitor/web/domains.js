// Held-out results by domain: table and charts with their intervals, and what tokenizers make of the texts.

import {SignalChart} from "./chart.js";
import {el, fill} from "./dom.js";
import {duration, number, percent, plural, whole, words} from "./format.js";
import {looks} from "./looks.js";

const FLAGS = {lost: "▲ lost", critical: "◆ lost, large", recovered: "✓ recovered"};

export class DomainsView {
  // onIncident(id): to the incident behind a flag.
  constructor({onIncident}) {
    this.onIncident = onIncident;
    this.charts = [];
    this.tables = el("div");
    this.grid = el("div.grid");
    this.tokens = el("div");
    this.rounds = el("p.note");
    this.element = el("section.domains", {"aria-label": "domains"}, this.tables, this.grid, this.tokens, this.rounds);
  }

  show(answer, hasPlotly) {
    this.answer = answer;
    const all = [...answer.domains, ...(answer.averages ?? [])];
    fill(this.tables, all.length ? this.table(all) : el("p.note", {}, "No probe has measured anything in this run yet. Probes are given to the callback: probes=[PerplexityProbe(...)]."));
    fill(this.tokens, answer.tokenization?.length ? [el("h2", {}, "Tokenization"), this.tokenTable(answer.tokenization)] : []);
    const last = answer.rounds?.at(-1);
    fill(this.rounds, last ? `${plural(answer.rounds.length, "round")} of probes; the newest at step ${whole(last.step)} (${words(last.reason)}) took ${duration(last.seconds)}. ${(last.notes ?? []).join(" ")}` : []);
    if (hasPlotly) this.draw();
  }

  redraw() {
    if (this.answer) this.draw();
  }

  table(domains) {
    const head = ["domain", "what", "step", "first", "best", "newest, 95 %", "against best, 95 %", "documents"];
    return el("div.scroll", {}, el("table.results", {}, el("thead", {}, el("tr", {}, head.map((title, at) => el(at > 1 ? "th.figure" : "th", {scope: "col"}, title)))),
      el("tbody", {}, domains.map(one => this.row(one)))));
  }

  row(one) {
    const flag = one.flag ? el("button.link", {type: "button", onclick: () => this.onIncident(one.incident_id)}, el(`span.flag.${one.flag}`, {}, FLAGS[one.flag] ?? words(one.flag))) : null;
    return el("tr", {"data-domain": one.name}, el("th", {scope: "row"}, one.name, flag ? el("div", {}, flag) : null), // beside the name: in sight on a phone too
      el("td", {}, unitOf(one)), el("td.figure", {}, one.points.length ? whole(one.newest?.step) : "-"),
      el("td.figure", {}, number(one.first?.value)), el("td.figure", {}, one.best ? `${number(one.best.value)} at ${whole(one.best.step)}` : "-"),
      el("td.figure", {"data-value": "newest"}, interval(one.newest)), el("td.figure", {"data-value": "change"}, change(one)), el("td.figure", {}, one.documents === null ? "-" : whole(one.documents)));
  }

  tokenTable(rows) {
    const names = [...new Set(rows.flatMap(row => Object.keys(row.metrics ?? {})))];
    return el("div.scroll", {}, el("table.tokenization", {}, el("thead", {}, el("tr", {}, el("th", {}, "text"), names.map(name => el("th", {}, words(name))))),
      el("tbody", {}, rows.map(row => el("tr", {}, el("th", {scope: "row"}, row.name), names.map(name => el("td.figure", {}, number(row.metrics[name]))))))));
  }

  draw() {
    const domains = [...this.answer.domains, ...(this.answer.averages ?? [])].filter(one => one.points.length);
    const known = new Map(this.charts.map(chart => [chart.key, chart]));
    const last = Math.max(1, ...domains.flatMap(one => one.points.map(point => point[0])));
    const first = Math.min(last - 1, ...domains.flatMap(one => one.points.map(point => point[0])));
    const room = 0.02 * (last - first);
    this.charts = domains.slice(0, 60).map(one => {
      const chart = known.get(one.metric) ?? new SignalChart(one.name, {height: 180, isSmall: true});
      chart.key = one.metric;
      known.delete(one.metric);
      this.grid.append(chart.element);
      const [steps, y] = [one.points.map(point => point[0]), one.points.map(point => point[1])];
      const has = one.points.filter(point => point[2] !== null && point[3] !== null);
      const isFlagged = one.flag === "lost" || one.flag === "critical";
      // A model that has learned nothing yet needs so many bits that what it loses later would not be seen beside them.
      const settled = steps.length >= 8 ? steps[Math.ceil(0.2 * steps.length)] : null;
      const isCut = settled !== null && Math.max(...y) > 1.5 * Math.max(...y.filter((_, at) => steps[at] >= settled));
      chart.note.textContent = [unitOf(one), isFlagged ? FLAGS[one.flag] : "", isCut ? "first rounds are above" : ""].filter(Boolean).join(", ");
      chart.draw({
        fitFrom: isCut ? settled : null,
        series: [{label: one.name, colour: looks().line, x: steps, steps, y, nonfinite: []}], range: [first - room, last + room],
        band: has.length ? {x: has.map(point => point[0]), lower: has.map(point => point[2]), upper: has.map(point => point[3]), expected: has.map(point => point[1])} : null,
        spans: isFlagged && one.best ? [{id: null, severity: one.flag === "critical" ? "critical" : "warning", first: one.best.step, last: one.newest.step, label: "since its best round"}] : [],
      });
      return chart;
    });
    known.forEach(chart => chart.remove());
  }
}

const unitOf = one => one.unit || words(one.metric);

function interval(point) {
  if (!point) return "-";
  const ends = point.lower === null || point.lower === undefined || point.upper === null ? "" : ` (${number(point.lower)} to ${number(point.upper)})`;
  return `${number(point.value)}${ends}`;
}

function change(one) {
  const found = one.change;
  if (!found || found.value === null) return "-";
  const signed = value => `${value >= 0 ? "+" : ""}${number(value, 3)}`;
  const ends = found.lower === null || found.lower === undefined ? "" : ` (${signed(found.lower)} to ${signed(found.upper)})`;
  return `${signed(found.value)}${ends}${found.relative === null || found.relative === undefined ? "" : `, ${percent(found.relative)}`}`;
}
