// What is shown, in the address: a link leads to the same run, view and incident.
//
// TensorBoard keeps its own tab in the hash of the page around this frame; what follows "&" there is left to plugins.

const HOME = "pretrain_monitor";

function outer() {
  try {
    return window.parent !== window && window.parent.location.hash !== undefined ? window.parent : window;
  } catch {
    return window; // framed by a page of another origin
  }
}

export function readAddress() {
  const hash = outer().location.hash.replace(/^#/, "");
  const start = hash.indexOf("&");
  return Object.fromEntries(new URLSearchParams(start < 0 ? "" : hash.slice(start + 1)));
}

export function address(parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  const page = outer().location;
  return `${page.origin}${page.pathname}${page.search}#${HOME}${query.size ? "&" : ""}${query}`;
}

export function writeAddress(parameters) {
  const wanted = address(parameters);
  // Replaced and not set: TensorBoard would take a change for a click on another tab.
  if (outer().location.href !== wanted) outer().history.replaceState(outer().history.state, "", wanted);
}

export function onAddressChange(listener) {
  outer().addEventListener("hashchange", listener);
}
