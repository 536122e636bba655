// Which steps are shown, over which axis: everything, a stretch that stays, or the newest so many.

import {el, setText} from "./dom.js";
import {whole} from "./format.js";

const AXES = {step: "steps", tokens: "tokens", time: "wall time"};

export class StepWindow {
  constructor({onChange}) {
    this.onChange = onChange;
    this.axis = "step";
    this.first = null; // null: everything
    this.last = null;
    this.isFollowing = false;
    this.extent = [0, 1];
    const button = (text, label, action) => el("button.small", {type: "button", "aria-label": label, title: label, onclick: action}, text);
    this.axes = el("select", {"aria-label": "axis", onchange: event => { this.axis = event.target.value; this.changed(); }}, Object.entries(AXES).map(([value, text]) => el("option", {value}, text)));
    this.follow = el("input", {type: "checkbox", onchange: event => this.setFollowing(event.target.checked)});
    this.text = el("span.note", {"data-window": ""});
    this.element = el("div.window", {},
      el("label", {}, "over ", this.axes),
      button("all", "show everything (double click on a chart)", () => this.showAll()),
      button("−", "zoom out", () => this.scale(2)), button("+", "zoom in", () => this.scale(0.5)),
      button("◀", "earlier", () => this.shift(-0.5)), button("▶", "later", () => this.shift(0.5)),
      button("newest 1,000", "the newest thousand steps, and go on with the run", () => this.newest(1000)),
      el("label", {title: "the window moves on with the run"}, this.follow, " follow newest"), this.text);
  }

  address() {
    return this.first === null ? {} : {first: this.first, last: this.last};
  }

  take({first, last}) {
    const [a, b] = [Number(first), Number(last)];
    if (first !== undefined && last !== undefined && Number.isFinite(a) && Number.isFinite(b) && b > a) [this.first, this.last] = [a, b];
  }

  reset() {
    [this.first, this.last, this.isFollowing] = [null, null, false];
    this.follow.checked = false;
  }

  setExtent(first, last, {tokens, time}) {
    this.extent = [first ?? 0, last ?? 1];
    if (this.isFollowing && this.first !== null) {
      const span = this.last - this.first;
      [this.first, this.last] = [Math.max(this.extent[0], this.extent[1] - span), this.extent[1]];
    }
    for (const option of this.axes.options) option.disabled = (option.value === "tokens" && !tokens) || (option.value === "time" && !time);
    this.showText();
  }

  steps() {
    return this.first === null ? this.extent : [this.first, this.last];
  }

  zoom(first, last) {
    const [low, high] = this.extent;
    const middle = Math.round((first + last) / 2);
    // No closer than some steps: of fewer there is nothing to be seen.
    [this.first, this.last] = last - first < 4 ? [middle - 2, middle + 2] : [Math.round(first), Math.round(last)];
    if (this.first <= low && this.last >= high) return this.showAll();
    this.isFollowing = this.follow.checked = false;
    return this.changed();
  }

  showAll() {
    this.reset();
    this.changed();
  }

  newest(steps) {
    [this.first, this.last] = [Math.max(this.extent[0], this.extent[1] - steps), this.extent[1]];
    this.isFollowing = this.follow.checked = true;
    this.changed();
  }

  setFollowing(isFollowing) {
    if (isFollowing && this.first === null) return this.newest(1000);
    this.isFollowing = isFollowing;
    if (isFollowing) {
      const span = this.last - this.first;
      [this.first, this.last] = [this.extent[1] - span, this.extent[1]];
    }
    return this.changed();
  }

  scale(factor) {
    const [first, last] = this.steps();
    const [middle, half] = [(first + last) / 2, ((last - first) / 2) * factor];
    this.zoom(Math.max(middle - half, this.extent[0]), Math.min(middle + half, this.extent[1]));
  }

  shift(share) {
    const [first, last] = this.steps();
    const by = Math.max(Math.min(share * (last - first), this.extent[1] - last), this.extent[0] - first);
    this.zoom(first + by, last + by);
  }

  changed() {
    this.showText();
    this.onChange();
  }

  showText() {
    const [first, last] = this.steps();
    setText(this.text, `steps ${whole(first)} to ${whole(last)}${this.first === null ? ", all" : this.isFollowing ? ", following" : ""}`);
  }
}
