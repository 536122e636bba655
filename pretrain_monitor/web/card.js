// The card of one incident: what happened, on what evidence, what to do, and how it was told.

import {AxisMap, SignalChart} from "./chart.js";
import {el} from "./dom.js";
import {number, percent, plural, signalName, whole, words} from "./format.js";
import {badge} from "./incidents.js";
import {looks} from "./looks.js";

// card: as the server answers; tools: further buttons. Call draw() once the element is in the page.
export function incidentCard(card, tools = []) {
  const one = card.incident;
  const charts = card.tracks.map(track => [track, new SignalChart(track.name, {height: track.is_lead ? 150 : 105, isSmall: true})]);
  for (const [track, chart] of charts) chart.note.textContent = trackNote(track, one);
  const element = el("article.card", {"aria-label": `incident ${one.id}`, "data-incident": one.id, tabIndex: -1},
    el("header", {}, el("h2", {}, badge(one.severity), ` ${words(one.kind)} at step ${whole(one.onset_step)} `, el(`span.status.${one.status}`, {}, words(one.status))), el("div.tools", {}, tools)),
    el("p.message", {}, one.message),
    one.advice ? el("p.advice", {}, el("b", {}, "What to do: "), one.advice) : null,
    card.actions.length ? [el("p.advice", {}, el("b", {}, "What was done:")), el("ul.changes.actions", {}, card.actions.map(action => el("li", {}, `step ${whole(action.step)}: ${action.text}`)))] : null,
    el("dl.facts", {}, facts(one).map(([name, text]) => [el("dt", {}, name), el("dd", {"data-fact": name}, text)])),
    el("h3", {}, "Evidence"),
    el("div.tracks", {}, charts.map(([, chart]) => chart.element), charts.length ? null : el("p.note", {}, "none of its signals has been read yet")),
    card.charts.length ? el("p.note", {}, "Charts that fired: ", card.charts.map(entry => `${words(entry.chart)} of ${signalName(entry.signal)}${entry.score === null ? "" : ` (${number(entry.score, 3)})`}`).join(", ")) : null,
    card.changes.length ? el("ul.changes", {}, card.changes.map(change => el("li", {}, `step ${whole(change.step)}: ${change.text}`))) : null,
    card.history.length ? [el("h3", {}, "How it was told"), history(card.history)] : null);
  return {
    element,
    draw: () => charts.forEach(([track, chart]) => chart.draw(smallView(track, card))),
    remove: () => charts.forEach(([, chart]) => chart.remove()),
  };
}

function facts(one) {
  const entries = [
    ["onset", `step ${whole(one.onset_step)}`],
    ["told", `step ${whole(one.detected_step)}${one.detected_step > one.onset_step ? `, ${plural(one.detected_step - one.onset_step, "step")} later` : ""}`],
    ["peak", `${number(one.peak)} at step ${whole(one.peak_step)}${one.expected === null ? "" : `, expected ${number(one.expected)}`}`],
    ["size", [typeof one.relative_increase === "number" ? percent(one.relative_increase) : null, one.score === null ? null : `${number(one.score, 3)} sd`].filter(Boolean).join(", ") || "-"],
    ["end", one.end_step === null ? words(one.status) : `step ${whole(one.end_step)}`],
    ["lasted", one.duration_steps === null || one.duration_steps === undefined ? "-" : plural(one.duration_steps, "step")],
    ["excess loss", one.excess_loss === null ? null : `${number(one.excess_loss, 3)} nats x steps`],
    ["signals", one.signals.map(signalName).join(", ")],
  ];
  return entries.filter(([, text]) => text !== null);
}

function trackNote(track, one) {
  if (!track.is_part) return "for comparison";
  if (track.is_lead || track.lead_steps === null) return track.is_lead ? "leads" : "";
  const lead = signalName(one.signals[0]);
  if (track.lead_steps === 0) return `rose together with the ${lead}`;
  return `rose ${plural(Math.abs(track.lead_steps), "step")} ${track.lead_steps < 0 ? "before" : "after"} the ${lead}`;
}

function smallView(track, card) {
  const one = card.incident;
  const last = one.end_step ?? Math.max(one.onset_step + (one.duration_steps ?? 0), one.detected_step);
  return {
    series: [{label: track.name, colour: looks().line, x: track.steps, steps: track.steps, y: track.y, nonfinite: track.nonfinite}],
    band: null, segments: track.segments, range: [card.first, card.last], map: new AxisMap(),
    spans: [{id: null, severity: one.severity, first: one.onset_step, last, label: `onset ${whole(one.onset_step)}`, isChosen: false}],
    ticks: card.changes.map(change => ({step: change.step, label: change.text, isProbe: false})),
  };
}

function history(events) {
  return el("ol.history", {}, events.map(event =>
    el("li", {title: event.message}, `step ${whole(event.step)}: ${words(event.change)}, ${words(event.kind)}, ${event.severity}, ${words(event.status)}`)));
}
