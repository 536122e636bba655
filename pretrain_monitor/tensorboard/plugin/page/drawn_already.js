// What has been drawn of a run's signals, so that the server sends of a long curve only what is new.

export class DrawnAlready {
  constructor() {
    this.forget();
  }

  forget() {
    Object.assign(this, {place: "", first: -Infinity, last: -Infinity, signals: {}});
  }

  // What to say to the server of the picture from step first to last; place: what else it depends on, its run and width.
  known(place, first, last) {
    // Of what lies before that, or ends sooner, there is no beginning here.
    if (place !== this.place || first < this.first || last < this.last) this.forget();
    Object.assign(this, {place, first, last});
    const entries = Object.entries(this.signals).filter(([, signal]) => signal.steps.length);
    return JSON.stringify(Object.fromEntries(entries.map(([name, signal]) => [name, [signal.grain, signal.steps.at(-1)]])));
  }

  // The signals of an answer, whole: what is new of them behind what was there before.
  merged(signals, first) {
    const found = Object.fromEntries(Object.entries(signals).map(([name, signal]) => [name, signal.start === null ? signal : appended(this.signals[name], signal, first)]));
    this.signals = found;
    return found;
  }
}

function appended(before, after, first) {
  // The one before the picture is kept too: a line goes on to its edge.
  const begin = Math.max(before.steps.findLastIndex(step => step < first), 0);
  const found = before.steps.findIndex(step => step >= after.start);
  const end = found < 0 ? before.steps.length : Math.max(found, begin);
  const joined = name => (after[name] ? [...before[name].slice(begin, end), ...after[name]] : undefined);
  const nonfinite = [...before.nonfinite.filter(step => step < after.start && step >= first), ...after.nonfinite];
  return {...after, steps: joined("steps"), y: joined("y"), x: joined("x"), nonfinite};
}
