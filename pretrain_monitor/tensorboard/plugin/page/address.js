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

// What follows our name in the hash; null where there is nothing, or where the hash is that of another tab.
export function readAddress() {
  const [name, ...rest] = outer().location.hash.replace(/^#/, "").split("&");
  return name !== HOME || !rest.length ? null : Object.fromEntries(new URLSearchParams(rest.join("&")));
}

// While another tab of TensorBoard is shown this page goes on in the dark, and the address is not its own.
export function isAddressOurs() {
  const hash = outer().location.hash.replace(/^#/, "");
  return hash === "" || hash.split("&")[0] === HOME;
}

export function address(parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  const page = outer().location;
  return `${page.origin}${page.pathname}${page.search}#${HOME}${query.size ? "&" : ""}${query}`;
}

export function writeAddress(parameters) {
  if (!isAddressOurs()) return;
  const wanted = address(parameters);
  // Replaced and not set: TensorBoard would take a change for a click on another tab.
  if (outer().location.href !== wanted) outer().history.replaceState(outer().history.state, "", wanted);
}

export function onAddressChange(listener) {
  outer().addEventListener("hashchange", listener);
}
