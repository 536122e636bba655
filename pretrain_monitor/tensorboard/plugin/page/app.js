// The page: which run, which view, and what is asked of the server when.

import {readAddress, onAddressChange, writeAddress} from "./address.js";
import {CompareView} from "./compare_view.js";
import {ask} from "./data.js";
import {DomainsPage} from "./domains_page.js";
import {el, fill, setText} from "./dom.js";
import {runPlotly} from "./plotly_script.js";
import {followDarkness} from "./darkness.js";
import {RunHeader} from "./run_header.js";
import {RunView} from "./run_view.js";
import {signOf} from "./looks.js";

const [EVERY_MS, SOON_MS, IMPATIENT_MS] = [1000, 250, 6000];
// TensorBoard keeps the frame of a tab that is not shown, without a height.
const isUnseen = () => document.hidden || window.innerHeight === 0;
const VIEWS = {run: "Run", domains: "Domains", compare: "Compare"};

export class App {
  constructor(body) {
    this.runs = [];
    this.run = null;
    this.view = "run";
    this.hasPlotly = false;
    this.isMissing = true; // the run is not among those that there are
    this.header = new RunHeader();
    this.picker = el("select", {id: "run", "aria-label": "run", onchange: event => this.go({run: event.target.value, incident: null})});
    this.tabs = Object.fromEntries(Object.entries(VIEWS).map(([name, title]) =>
      [name, el("button.tab", {type: "button", role: "tab", "data-view": name, onclick: () => this.go({view: name})}, title)]));
    this.trouble = el("p.trouble", {role: "alert", hidden: true});
    this.main = el("main");
    this.views = {
      run: new RunView({go: change => this.go(change), onMove: () => this.writeAddress(), tell: text => this.tell(text)}),
      domains: new DomainsPage({go: change => this.go(change)}),
      compare: new CompareView({go: change => this.go(change), onMove: () => this.writeAddress()}),
    };
    body.append(el("div.app", {},
      el("nav.top", {}, el("label", {}, "Run ", this.picker), el("div.tabs", {role: "tablist"}, Object.values(this.tabs))),
      this.header.element, this.trouble, this.main));
    followDarkness(() => this.views[this.view].redraw?.());
  }

  async start() {
    this.goFromAddress(readAddress() ?? {});
    onAddressChange(() => {
      const found = readAddress();
      if (found) this.goFromAddress(found);
      else this.writeAddress(); // back from another tab, to what was shown before
    });
    document.addEventListener("visibilitychange", () => { if (!isUnseen()) this.refresh(); });
    window.addEventListener("resize", () => { if (!isUnseen()) this.refresh(); });
    await this.refresh();
    if (this.isReading) {
      await new Promise(resolve => setTimeout(resolve, SOON_MS));
      await this.refresh();
    }
    await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve))); // so that the sketch is seen
    runPlotly().then(() => this.drawAll(), error => this.complain(error.message));
    this.schedule(SOON_MS);
  }

  // A hidden page asks for nothing; it catches up as soon as somebody looks.
  schedule(milliseconds = EVERY_MS) {
    setTimeout(async () => {
      if (!isUnseen()) await this.refresh();
      // While a long log is being read there is more to be seen at once, at first.
      this.schedule(this.isReading && performance.now() < IMPATIENT_MS ? SOON_MS : EVERY_MS);
    }, milliseconds);
  }

  // For good, beside whatever comes and goes.
  complain(text) {
    this.main.before(el("p.trouble", {role: "alert"}, text));
  }

  async drawAll() {
    this.hasPlotly = true;
    await this.refresh();
    window.__pm_ready = true;
  }

  get isReading() {
    return this.view === "run" && (this.views.run.about?.share_read ?? 0) < 1;
  }

  goFromAddress({run, view, incident, ...rest}) {
    this.go({run: run ?? this.run, view: view in VIEWS ? view : "run", incident: incident ?? null, ...rest}, false);
  }

  // change: run, view, incident and what else the views keep in the address.
  go(change, isOwn = true) {
    if ("run" in change && change.run !== this.run) this.run = change.run;
    if ("view" in change) this.view = change.view;
    for (const view of Object.values(this.views)) view.take?.({...change, run: this.run});
    const shown = this.views[this.view];
    if (this.main.firstChild !== shown.element) fill(this.main, shown.element);
    for (const [name, tab] of Object.entries(this.tabs)) tab.setAttribute("aria-selected", String(name === this.view));
    this.header.element.hidden = this.view === "compare";
    if (isOwn) {
      this.writeAddress();
      this.refresh();
    }
  }

  writeAddress() {
    const own = this.views[this.view].address?.() ?? {};
    writeAddress({run: this.run, view: this.view === "run" ? null : this.view, ...own});
  }

  // One at a time; whoever asks while one is under way gets one that begins after it.
  refresh() {
    this.next ??= (this.running ?? Promise.resolve()).then(() => {
      this.next = null;
      this.running = this.refreshNow().finally(() => { this.running = null; });
      return this.running;
    });
    return this.next;
  }

  async refreshNow() {
    try {
      const answer = await ask("runs");
      if (!answer) return;
      this.runs = answer.runs;
      this.showRuns();
      const header = this.runs.find(run => run.name === this.run);
      if (header) this.header.show(header, answer.now);
      if (this.isMissing && this.view !== "compare") return;
      await this.views[this.view].refresh({runs: this.runs, run: this.run, hasPlotly: this.hasPlotly});
      this.tell("");
    } catch (error) {
      this.tell(error instanceof TypeError && /fetch/i.test(error.message) ? "TensorBoard does not answer; what is shown is as it was" : error.message);
      if (!(error instanceof TypeError && /fetch/i.test(error.message))) console.error(error);
    }
  }

  showRuns() {
    if (!this.runs.length) {
      this.isMissing = true;
      this.tell("no runs in this log directory yet; it is looked for every few seconds");
      return;
    }
    if (this.run === null) {
      // The one that somebody is most likely here for: what was written last.
      const newest = this.runs.reduce((a, b) => ((b.time ?? 0) > (a.time ?? 0) ? b : a));
      this.go({run: newest.name}, false);
      this.writeAddress();
    }
    const names = this.runs.map(run => run.name);
    this.isMissing = !names.includes(this.run);
    this.header.element.hidden = this.view === "compare" || this.isMissing;
    if (this.isMissing) this.tell(`there is no run ${this.run} in this log directory (yet): choose another one above`);
    if ([...this.picker.options].map(option => option.value).join("\n") !== names.join("\n")) {
      fill(this.picker, names.map(name => el("option", {value: name})));
    }
    for (const [at, run] of this.runs.entries()) setText(this.picker.options[at], `${signOf(run)} ${run.label} (${run.state})`);
    this.picker.value = this.run;
  }

  tell(text) {
    this.trouble.hidden = !text;
    setText(this.trouble, text);
  }
}
