// Several runs over the same steps: their curves, their incidents, and incidents that they share.

import {columnsFor, SignalChart} from "./chart.js";
import {ask} from "./data.js";
import {el, fill, setText} from "./dom.js";
import {count, signalName, whole, words} from "./format.js";
import {headline} from "./incidents.js";
import {looks, signOf, SIGNS} from "./looks.js";
import {endOf} from "./run_view.js";
import {StepWindow} from "./step_window.js";

const MOST = 12;
const FIRST_SHOWN = ["loss", "grad_norm", "learning_rate"];

export class CompareView {
  constructor({go, onMove}) {
    this.go = go;
    this.chosen = null; // names of runs; null: the first few
    this.signals = [...FIRST_SHOWN];
    this.charts = new Map();
    this.window = new StepWindow({onChange: () => { this.refresh(this.last); onMove(); }});
    this.choices = el("div.choices", {role: "group", "aria-label": "runs to compare"});
    this.more = el("select", {"aria-label": "add a signal", onchange: event => this.addSignal(event.target)});
    this.column = el("div.charts");
    this.together = el("section", {"aria-label": "shared incidents"});
    this.table = el("div.scroll");
    this.element = el("div.split", {},
      el("div.left", {}, this.choices, el("div.tools", {}, this.window.element, this.more), this.column),
      el("aside", {}, this.together, el("h2", {}, "Runs"), this.table));
  }

  address() {
    return {runs: this.chosen?.join("\n"), ...this.window.address()};
  }

  take({runs, ...rest}) {
    if (runs) this.chosen = runs.split("\n").slice(0, MOST);
    this.window.take(rest);
  }

  async refresh(given) {
    this.last = given;
    const {runs, hasPlotly} = given;
    const names = runs.map(run => run.name);
    const newest = [...runs].sort((a, b) => (b.time ?? 0) - (a.time ?? 0)).slice(0, 4).map(run => run.name);
    const chosen = (this.chosen ?? newest).filter(name => names.includes(name));
    this.showChoices(names, chosen);
    if (!chosen.length) {
      fill(this.table, el("p.note", {}, "choose runs above"));
      return;
    }
    const answer = await ask("compare", {runs: chosen.join("\n")});
    if (!answer) return;
    this.answer = answer;
    this.showTable();
    this.showTogether();
    this.showSignals();
    const firsts = answer.runs.map(run => run.first_step).filter(step => step !== null);
    this.window.setExtent(Math.min(...firsts, Infinity) === Infinity ? 0 : Math.min(...firsts), Math.max(1, ...answer.runs.map(run => run.step ?? 0)), {tokens: false, time: false});
    if (hasPlotly) await this.drawCharts();
  }

  showChoices(names, chosen) {
    const key = `${names.join("\n")}|${chosen.join("\n")}`;
    if (this.choices.dataset.key === key) return;
    this.choices.dataset.key = key;
    const pick = () => {
      const found = [...this.choices.querySelectorAll("input:checked")].map(box => box.value).slice(0, MOST);
      this.chosen = found;
      this.go({});
    };
    fill(this.choices, names.map(name => el("label", {}, el("input", {type: "checkbox", value: name, checked: chosen.includes(name), onchange: pick}),
      chosen.includes(name) ? el("span.swatch", {style: `background:${this.colour(chosen.indexOf(name))}`}) : " ", name)));
  }

  colour(at) {
    const {runs} = looks();
    return runs[at % runs.length];
  }

  showSignals() {
    const names = [...new Set(this.answer.runs.flatMap(run => run.signals))].sort();
    const rest = names.filter(name => !this.signals.includes(name));
    if (this.more.dataset.names === rest.join("\n")) return;
    this.more.dataset.names = rest.join("\n");
    fill(this.more, [el("option", {value: ""}, "add a signal"), ...rest.map(name => el("option", {value: name}, signalName(name)))]);
  }

  addSignal(picker) {
    if (picker.value) this.signals.push(picker.value);
    this.refresh(this.last);
  }

  showTable() {
    const head = ["run", "state", "step", "tokens", "incidents"];
    fill(this.table, el("table.runs", {}, el("thead", {}, el("tr", {}, head.map(title => el("th", {scope: "col"}, title)))), el("tbody", {}, this.answer.runs.map((run, at) =>
      el("tr", {"data-run": run.name}, el("th", {scope: "row"}, el("span.swatch", {style: `background:${this.colour(at)}`}), el("button.link", {type: "button", onclick: () => this.go({view: "run", run: run.name, incident: null})}, run.name)),
        el("td", {title: run.text}, `${signOf(run)} ${run.state}`), el("td.figure", {}, run.step === null ? "-" : whole(run.step)), el("td.figure", {}, count(run.tokens_seen)),
        el("td", {}, ["critical", "warning", "info"].map(one => el(`span.badge.${one}${run.counts[one] ? "" : ".none"}`, {title: one}, `${SIGNS[one]} ${run.counts[one]}`))))))));
  }

  showTogether() {
    const groups = this.answer.coincidences;
    const likely = groups.filter(group => group.is_likely_data);
    const text = groups.length && !likely.length ? "Some incidents begin at the same step, no more often than chance would have it." : "";
    fill(this.together, likely.length ? [el("h2", {}, "Same step in several runs: likely caused by the data"), el("ul.together", {}, likely.slice(0, 100).map(group => this.group(group)))] : el("p.note", {}, text));
  }

  group(group) {
    return el("li", {"data-step": group.step}, `step ${whole(group.step)}: `, Object.entries(group.incidents).map(([run, id], at) => {
      const one = this.answer.runs.find(entry => entry.name === run)?.incidents.find(entry => entry.id === id);
      return [at ? ", " : "", el("button.link", {type: "button", onclick: () => this.go({view: "run", run, incident: id})}, `${words(one?.kind ?? id)} in ${run}`)];
    }));
  }

  async drawCharts() {
    const [first, last] = this.window.steps();
    const columns = columnsFor(this.column);
    const key = [this.answer.runs.map(run => `${run.name}:${run.mark}`).join(), this.signals.join(), first, last, columns].join("|");
    if (key === this.shown) return;
    const answers = await Promise.all(this.answer.runs.map(run => ask("series", {run: run.name, signals: this.signals.filter(name => run.signals.includes(name)).join("\n"), first, last, columns}, `series ${run.name}`)));
    if (answers.some(answer => !answer)) return;
    this.shown = key;
    this.drawn = {answers, first, last};
    this.draw();
  }

  redraw() {
    if (this.drawn) this.draw();
  }

  draw() {
    const {answers, first, last} = this.drawn;
    const shared = new Set(this.answer.coincidences.filter(group => group.is_likely_data).flatMap(group => Object.entries(group.incidents).map(([run, id]) => `${run}\n${id}`)));
    const spans = this.answer.runs.flatMap((run, at) => run.incidents.filter(one => one.severity !== "info" || shared.has(`${run.name}\n${one.id}`)).map(one => ({
      id: `${run.name}\n${one.id}`, severity: one.severity, colour: this.colour(at), first: one.onset_step, last: endOf(one, run.step), height: 0.97 - 0.06 * at,
      isChosen: shared.has(`${run.name}\n${one.id}`), label: `${run.name}: ${headline(one)}${shared.has(`${run.name}\n${one.id}`) ? "\nsame step in several runs: likely the data" : ""}`,
    }))).filter(span => span.last >= first && span.first <= last);
    for (const name of this.signals) {
      const series = answers.flatMap((answer, at) => (name in answer.signals ? [{label: this.answer.runs[at].name, colour: this.colour(at), x: answer.signals[name].steps, steps: answer.signals[name].steps, y: answer.signals[name].y, nonfinite: answer.signals[name].nonfinite}] : []));
      let chart = this.charts.get(name);
      if (!series.length) {
        chart?.remove();
        this.charts.delete(name);
        continue;
      }
      if (!chart) {
        chart = new SignalChart(name, {
          height: name === "loss" ? 260 : 170, onZoom: (a, b) => this.window.zoom(a, b), onReset: () => this.window.showAll(),
          onPick: id => { const [run, incident] = id.split("\n"); this.go({view: "run", run, incident}); },
        });
        this.charts.set(name, chart);
        this.column.append(chart.element);
      }
      setText(chart.note, "");
      chart.draw({series, band: null, spans, range: [first, Math.max(last, first + 1)]});
    }
  }
}
