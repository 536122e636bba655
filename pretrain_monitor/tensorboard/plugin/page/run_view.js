// One run: linked charts on the left, incidents or the card of one on the right.

import {incidentCard} from "./card.js";
import {AxisMap, columnsFor, SignalChart} from "./chart.js";
import {address} from "./address.js";
import {ask} from "./data.js";
import {DrawnAlready} from "./drawn_already.js";
import {el, fill, setText} from "./dom.js";
import {plural, signalName, whole} from "./format.js";
import {headline, IncidentList} from "./incidents.js";
import {looks} from "./looks.js";
import {StepWindow} from "./step_window.js";

const FIRST_SHOWN = ["loss", "grad_norm", "learning_rate"];
const BANDED = ["loss", "grad_norm"]; // that the detector expects something of

export class RunView {
  // go(change): to another run, view or incident; onMove(): the window is another one; tell(text): what goes wrong.
  constructor({go, onMove, tell}) {
    this.go = go;
    this.tell = tell;
    this.run = null;
    this.incident = null;
    this.about = null; // what the server says of the run
    this.signals = [...FIRST_SHOWN];
    this.charts = new Map();
    this.card = null;
    this.shown = ""; // what is drawn, to draw nothing twice
    this.already = new DrawnAlready();
    this.window = new StepWindow({onChange: () => { this.fetchSeries(true); onMove(); }});
    this.list = new IncidentList({onChoose: id => this.choose(id)});
    this.picker = el("details.signals", {}, el("summary", {}, "Signals"), this.boxes = el("div.boxes"));
    this.remark = el("p.note", {"aria-live": "polite"});
    this.column = el("div.charts");
    this.side = el("aside", {}, this.list.element);
    this.element = el("div.split", {}, el("div.left", {}, el("div.tools", {}, this.window.element, this.picker), this.remark, this.column), this.side);
  }

  address() {
    const incident = this.wanted === undefined ? this.incident : this.wanted;
    return incident === null ? this.window.address() : {incident};
  }

  take({run, incident, ...rest}) {
    if (run !== undefined && run !== this.run) {
      this.run = run;
      this.about = null;
      this.shown = "";
      this.window.reset();
      this.closeCard();
      this.list.show({incidents: [], chosen: null});
    }
    this.window.take(rest);
    if (incident !== undefined) this.wanted = incident;
  }

  async refresh({hasPlotly}) {
    if (this.run === null) return;
    this.hasPlotly = hasPlotly;
    const about = await ask("run", {run: this.run, known: this.about?.mark});
    if (!about || about.name !== this.run) return;
    if (!about.is_unchanged) this.showAbout(about);
    else this.about = {...this.about, share_read: about.share_read};
    if (this.wanted !== undefined && (this.wanted === null || about.is_summed_up)) {
      const wanted = this.wanted;
      this.wanted = undefined;
      if (wanted !== this.incident) await this.openIncident(wanted);
    }
    await this.fetchSeries(false);
    await this.renewCard();
  }

  showAbout(about) {
    this.about = about;
    this.list.show({incidents: about.incidents});
    this.window.setExtent(about.first_step, about.step, {tokens: about.has_tokens, time: about.has_times});
    this.showSignals(about.signals);
    const parts = [];
    if (about.share_read < 1) parts.push(`reading the log: ${Math.floor(100 * about.share_read)} %`);
    if (about.incident_count > about.incidents.length) parts.push(`${plural(about.incident_count, "incident")}; the gravest and newest ${about.incidents.length} are listed`);
    if (!about.signals.length && about.share_read === 1) parts.push("no signals in this log yet");
    setText(this.remark, parts.join("; "));
  }

  showSignals(names) {
    if (this.boxes.dataset.names === names.join("\n")) return;
    this.boxes.dataset.names = names.join("\n");
    fill(this.boxes, names.map(name => el("label", {}, el("input", {type: "checkbox", value: name, checked: this.signals.includes(name), onchange: event => this.toggle(name, event.target.checked)}), ` ${signalName(name)}`)));
  }

  toggle(name, isWanted) {
    this.signals = isWanted ? [...this.signals, name] : this.signals.filter(one => one !== name);
    this.fetchSeries(true);
  }

  async fetchSeries(isAsked) {
    if (!this.about) return;
    const names = this.signals.filter(name => this.about.signals.includes(name));
    const [first, last] = this.window.steps();
    const columns = columnsFor(this.column);
    const key = [this.run, this.about.mark, names.join(), first, last, columns, this.window.axis].join("|");
    if (key === this.shown && !isAsked) {
      if (this.hasPlotly && this.isSketched) this.draw(); // the script has come since
      return;
    }
    const known = this.already.known(`${this.run}|${columns}|${this.window.axis}`, first, last);
    const answer = await ask("series", {run: this.run, signals: names.join("\n"), first, last, columns, axis: this.window.axis, known});
    if (!answer) return;
    answer.signals = this.already.merged(answer.signals, answer.first);
    this.shown = key;
    this.answer = answer;
    this.draw();
  }

  redraw() {
    if (this.answer) this.draw();
    this.card?.draw();
  }

  draw() {
    const {answer} = this;
    this.isSketched = !this.hasPlotly;
    const names = this.signals.filter(name => name in answer.signals);
    for (const [name, chart] of this.charts) {
      if (!names.includes(name)) {
        chart.remove();
        this.charts.delete(name);
      }
    }
    const longest = names.map(name => answer.signals[name]).reduce((a, b) => (!a || b.steps.length > a.steps.length ? b : a), null);
    const map = this.window.axis === "step" || !longest ? new AxisMap() : new AxisMap(longest.steps, longest.x.map(value => this.onAxis(value)));
    const spans = this.spans(answer.first, answer.last);
    const ticks = this.ticks(answer.first, answer.last);
    for (const name of names) {
      let chart = this.charts.get(name);
      if (!chart) {
        chart = new SignalChart(name, {
          height: name === "loss" ? 230 : 160, onPick: id => this.choose(id),
          onZoom: (first, last) => this.window.zoom(first, last), onReset: () => this.window.showAll(),
        });
        this.charts.set(name, chart);
      }
      const signal = answer.signals[name];
      const x = signal.x ? signal.x.map(value => this.onAxis(value)) : signal.steps;
      const band = answer.bands[name] ? {...answer.bands[name], x: answer.bands[name].x.map(value => this.onAxis(value))} : null;
      setText(chart.note, this.noteOn(name, signal));
      this.column.append(chart.element);
      chart.draw({
        series: [{label: name, colour: looks().line, x, steps: signal.steps, y: signal.y, nonfinite: signal.nonfinite}],
        band, spans, ticks, axis: this.window.axis, map, range: [map.place(answer.first), map.place(Math.max(answer.last, answer.first + 1))],
      });
    }
  }

  // Plotly takes dates in milliseconds.
  onAxis(value) {
    return this.window.axis === "time" && value !== null ? 1000 * value : value;
  }

  noteOn(name, signal) {
    const parts = [];
    const band = this.answer.bands[name];
    if (band) parts.push(BANDED.includes(name) ? "band: expected, 3 sd" : "band: 95 % interval");
    if (signal.samples_per_pair > 1) parts.push(`older part: smallest and largest of ${signal.samples_per_pair} steps each`);
    return parts.join("; ");
  }

  spans(first, last) {
    return this.about.incidents.map(one => ({
      id: one.id, severity: one.severity, first: one.onset_step, last: endOf(one, this.about.step), label: `${headline(one)}\n${cut(one.message)}`, isChosen: one.id === this.incident,
    })).filter(span => span.last >= first && span.first <= last);
  }

  ticks(first, last) {
    const rounds = this.about.rounds.map(step => ({step, label: `probes at step ${whole(step)}`, isProbe: true}));
    const said = this.about.announcements.map(one => ({step: one.from_step ?? one.step, label: `from step ${whole(one.from_step ?? one.step)}: ${one.text}`, isProbe: false}));
    const sessions = this.about.sessions.filter(([step]) => step > 0).map(([step]) => ({step, label: `resumed after step ${whole(step)}`, isProbe: false}));
    const done = this.about.actions.map(one => ({step: one.step, label: `step ${whole(one.step)}: ${one.text}`, isProbe: false}));
    return [...rounds, ...said, ...sessions, ...done].filter(tick => tick.step >= first && tick.step <= last);
  }

  choose(id) {
    this.go({incident: id});
  }

  async openIncident(id) {
    this.closeCard();
    this.shown = "";
    if (id === null) return;
    const card = await this.askForCard(id);
    if (!card) return;
    this.incident = id;
    this.list.show({chosen: id});
    this.showCard(card);
    this.card.element.focus({preventScroll: true});
    if (window.matchMedia("(max-width: 900px)").matches) this.card.element.scrollIntoView();
    this.window.zoom(card.first, card.last);
  }

  async askForCard(id) {
    try {
      return await ask("incident", {run: this.run, id});
    } catch (error) {
      this.tell(error.message);
      return null;
    }
  }

  showCard(card) {
    this.card?.remove();
    const copy = el("button.small", {type: "button", onclick: () => this.copyLink(copy)}, "copy link");
    const close = el("button.small", {type: "button", onclick: () => this.go({incident: null})}, "← all incidents");
    this.card = {...incidentCard(card, [close, copy]), answer: card, hasCharts: this.hasPlotly};
    fill(this.side, [this.card.element, this.list.element]);
    this.card.draw();
  }

  // While the log is still being read, and while the incident goes on, there is more to be seen of it by and by.
  async renewCard() {
    if (!this.card) return;
    const {answer} = this.card;
    const isDue = this.hasPlotly !== this.card.hasCharts || ((answer.is_provisional || answer.incident.status === "open") && answer.mark !== this.about.mark);
    if (!isDue || this.card.element.contains(document.activeElement) && document.activeElement !== this.card.element) return;
    const card = await this.askForCard(this.incident);
    if (!card || card.incident.id !== this.incident) return;
    const hadFocus = this.card.element === document.activeElement;
    this.showCard(card);
    if (hadFocus) this.card.element.focus({preventScroll: true});
  }

  closeCard() {
    this.incident = null;
    this.list.show({chosen: null});
    this.card?.remove();
    this.card = null;
    fill(this.side, this.list.element);
  }

  async copyLink(button) {
    const link = address({run: this.run, incident: this.incident});
    try {
      await navigator.clipboard.writeText(link);
      setText(button, "copied");
    } catch {
      window.prompt("Link to this incident", link); // no clipboard without https or permission
    }
  }
}

const cut = text => (text.length > 110 ? `${text.slice(0, 107)}...` : text);

// Where a span ends: at the first step back, or as far as it lasted, or at the newest step while it is open.
export function endOf(one, newest) {
  if (one.end_step !== null) return one.end_step;
  if (one.status === "open") return newest ?? one.detected_step;
  return Math.max(one.detected_step, one.peak_step, one.onset_step + (one.duration_steps ?? 0));
}
