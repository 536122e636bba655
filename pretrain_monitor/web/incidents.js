// The list of incidents: sort, filter, choose one.

import {el, fill, setText} from "./dom.js";
import {number, percent, plural, whole, words} from "./format.js";
import {SEVERITIES, SIGNS} from "./looks.js";

const COLUMNS = [
  ["severity", "", one => SEVERITIES.indexOf(one.severity)],
  ["onset_step", "step", one => one.onset_step],
  ["kind", "kind", one => one.kind],
  ["relative_increase", "size", one => (typeof one.relative_increase === "number" ? one.relative_increase : Infinity)],
  ["score", "sd", one => (typeof one.score === "number" ? one.score : Infinity)],
  ["duration_steps", "steps", one => one.duration_steps ?? -1],
  ["status", "status", one => one.status],
];

export const badge = severity => el(`span.badge.${severity}`, {title: severity}, `${SIGNS[severity]} ${severity}`);

// What a marker and a list say in one glance.
export function headline(one) {
  const size = typeof one.relative_increase === "number" ? `, ${percent(one.relative_increase)}` : "";
  const sd = typeof one.score === "number" ? `, ${number(one.score, 3)} sd` : "";
  const long = one.duration_steps ? `, ${plural(one.duration_steps, "step")}` : "";
  return `${words(one.kind)} (${one.severity}) at step ${whole(one.onset_step)}${size}${sd}${long}: ${words(one.status)}`;
}

export class IncidentList {
  // onChoose(id)
  constructor({onChoose}) {
    this.onChoose = onChoose;
    this.incidents = [];
    this.chosen = null;
    this.sort = {key: "onset_step", isDown: true};
    this.least = "info";
    this.text = "";
    this.isOpenOnly = false;
    this.summary = el("span.note", {"aria-live": "polite"});
    this.body = el("tbody");
    this.heads = COLUMNS.map(([key, title]) =>
      el("th", {scope: "col"}, el("button.head", {type: "button", "data-key": key, onclick: () => this.sortBy(key)}, title || "severity")));
    const severity = el("select", {"aria-label": "least severity", onchange: event => this.show({least: event.target.value})},
      SEVERITIES.map(one => el("option", {value: one}, one === "info" ? "all severities" : one === "warning" ? "alerts only" : "critical only")));
    const search = el("input", {type: "search", placeholder: "filter: kind, signal, text", "aria-label": "filter incidents", oninput: event => this.show({text: event.target.value})});
    const open = el("label", {}, el("input", {type: "checkbox", onchange: event => this.show({isOpenOnly: event.target.checked})}), " open");
    this.element = el("section.incidents", {"aria-label": "incidents"},
      el("h2", {}, "Incidents ", this.summary), el("div.tools", {}, severity, search, open),
      el("div.scroll", {}, el("table", {}, el("thead", {}, el("tr", {}, this.heads)), this.body)));
  }

  show(change) {
    Object.assign(this, change);
    const wanted = this.filtered();
    const hidden = this.incidents.length - wanted.length;
    setText(this.summary, `${wanted.length}${hidden ? ` of ${this.incidents.length}` : ""}`);
    for (const [at, [key, title]] of COLUMNS.entries()) {
      const isSorted = key === this.sort.key;
      this.heads[at].setAttribute("aria-sort", isSorted ? (this.sort.isDown ? "descending" : "ascending") : "none");
      setText(this.heads[at].firstChild, `${title || "severity"}${isSorted ? (this.sort.isDown ? " ↓" : " ↑") : ""}`);
    }
    const focused = document.activeElement?.closest?.("tr")?.dataset.id;
    fill(this.body, wanted.length ? wanted.slice(0, 500).map(one => this.row(one)) : [this.nothing()]);
    if (wanted.length > 500) this.body.append(el("tr", {}, el("td", {colSpan: COLUMNS.length}, `and ${wanted.length - 500} more: filter to see them`)));
    if (focused && !this.element.contains(document.activeElement)) this.rowOf(focused)?.querySelector("button")?.focus();
  }

  filtered() {
    const least = SEVERITIES.indexOf(this.least);
    const text = this.text.trim().toLowerCase();
    const found = this.incidents.filter(one => SEVERITIES.indexOf(one.severity) >= least
      && (!this.isOpenOnly || one.status === "open")
      && (!text || `${one.id} ${words(one.kind)} ${one.signals.join(" ")} ${one.message}`.toLowerCase().includes(text)));
    const value = COLUMNS.find(([key]) => key === this.sort.key)[2];
    const sign = this.sort.isDown ? -1 : 1;
    return found.sort((a, b) => sign * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a.onset_step - b.onset_step));
  }

  sortBy(key) {
    this.show({sort: {key, isDown: this.sort.key === key ? !this.sort.isDown : true}});
  }

  rowOf(id) {
    return [...this.body.rows].find(row => row.dataset.id === id);
  }

  nothing() {
    const text = this.incidents.length ? "none with this filter" : "no incidents";
    return el("tr", {}, el("td.note", {colSpan: COLUMNS.length}, text));
  }

  row(one) {
    const choose = () => this.onChoose(one.id);
    return el(`tr${one.id === this.chosen ? ".chosen" : ""}`, {"data-id": one.id, onclick: choose, title: one.message},
      el("td", {}, badge(one.severity)),
      el("td.figure", {}, whole(one.onset_step)),
      el("td", {}, el("button.link", {type: "button", "aria-label": `open ${headline(one)}`, onclick: event => { event.stopPropagation(); choose(); }}, words(one.kind))),
      el("td.figure", {}, typeof one.relative_increase === "number" ? percent(one.relative_increase) : typeof one.peak === "string" ? one.peak : "-"),
      el("td.figure", {}, number(one.score, 3)),
      el("td.figure", {}, one.duration_steps === null || one.duration_steps === undefined ? "-" : whole(one.duration_steps)),
      el("td", {}, el(`span.status.${one.status}`, {}, words(one.status))));
  }
}
