// The answer first: is this run healthy, where is it, how old is what is shown.

import {el, fill, setText} from "./dom.js";
import {count, duration, whole} from "./format.js";
import {SEVERITIES, SIGNS, signOf} from "./looks.js";

export class RunHeader {
  constructor() {
    this.state = el("span.state");
    this.text = el("span.text");
    this.figures = Object.fromEntries(["step", "tokens", "last sample"].map(name => [name, el("dd", {"data-figure": name}, "-")]));
    this.counts = el("dd", {"data-figure": "incidents"});
    this.remark = el("span.note");
    this.element = el("header.run", {"aria-live": "polite"},
      el("p.health", {}, this.state, this.text),
      el("dl", {},
        Object.entries(this.figures).map(([name, dd]) => el("div", {}, el("dt", {}, name), dd)),
        el("div", {}, el("dt", {}, "incidents"), this.counts)),
      this.remark);
  }

  show(run, now) {
    this.element.className = `run ${run.tone}`;
    this.element.dataset.state = run.state;
    setText(this.state, `${signOf(run)} ${run.state}`);
    setText(this.text, run.text);
    setText(this.figures.step, run.step === null ? "-" : whole(run.step));
    setText(this.figures.tokens, count(run.tokens_seen));
    this.figures.tokens.title = run.tokens_seen === null ? "" : `${whole(run.tokens_seen)} tokens`;
    setText(this.figures["last sample"], run.time === null ? "-" : `${duration(now - run.time)} ago`);
    this.figures["last sample"].title = run.time === null ? "" : new Date(1000 * run.time).toLocaleString();
    const parts = [...SEVERITIES].reverse().map(one => `${run.counts[one]} ${one}`).join();
    if (this.counts.dataset.shown !== parts) {
      this.counts.dataset.shown = parts;
      fill(this.counts, [...SEVERITIES].reverse().map(one => el(`span.badge.${one}${run.counts[one] ? "" : ".none"}`, {title: one}, `${SIGNS[one]} ${run.counts[one]} ${one}`)));
    }
    const foreign = run.kind === "events" ? "No run log of pretrain_monitor here: incidents were found by replaying the scalars of the event files, at the default settings." : "";
    setText(this.remark, run.is_summed_up ? foreign : "still reading the log");
  }
}
