// Numbers and names for people.

const SIGNALS = {loss: "loss", grad_norm: "gradient norm", learning_rate: "learning rate"};

export const signalName = name => SIGNALS[name] ?? name;
export const words = name => String(name ?? "").replaceAll("_", " ");
export const whole = value => (value === null || value === undefined ? "-" : Math.round(value).toLocaleString("en-US"));

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "-";
  if (typeof value === "string") return value; // "NaN", "Infinity"
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(Math.max(digits - 2, 1)).replace("e+", "e");
  if (size >= 1000) return value.toLocaleString("en-US", {maximumFractionDigits: Math.max(digits - 4, 0)});
  return String(Number(value.toPrecision(digits)));
}

export function percent(value) {
  if (value === null || value === undefined || typeof value === "string") return value ?? "-";
  return `${value >= 0 ? "+" : ""}${number(100 * value, 3)} %`;
}

// 1234567 -> "1.23 M"
export function count(value) {
  if (value === null || value === undefined) return "-";
  for (const [size, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"]]) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${unit}`;
  }
  return whole(value);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} days`;
}

export const date = seconds => (seconds ? new Date(1000 * seconds).toLocaleString() : "-");
export const plural = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;

// Plotly reads markup in every text it is given.
export const plain = text => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
