// Dark where TensorBoard is: the page around this frame says so in a class of its body.

export function followDarkness(onChange) {
  const root = document.documentElement;
  let outer = null;
  try {
    outer = window.parent !== window ? window.parent.document.body : null;
  } catch {
    outer = null; // framed by a page of another origin
  }
  const wish = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const isDark = outer ? outer.classList.contains("dark-mode") : wish.matches;
    if (root.classList.contains("dark") === isDark) return;
    root.classList.toggle("dark", isDark);
    onChange();
  };
  if (outer) new MutationObserver(apply).observe(outer, {attributes: true, attributeFilter: ["class"]});
  else wish.addEventListener("change", apply);
  apply();
}
