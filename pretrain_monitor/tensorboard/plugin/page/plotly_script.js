// The script of the charts is large: it is fetched at once, and run after what can be read without it is shown, for while
// it is being compiled the page does nothing else.

const ADDRESS = "./plotly.js";

export function fetchPlotly() {
  const link = document.createElement("link");
  Object.assign(link, {rel: "preload", as: "script", href: ADDRESS});
  document.head.append(link);
}

export function runPlotly() {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = ADDRESS;
    script.onload = resolve;
    script.onerror = () => reject(new Error("charts need plotly: pip install 'pretrain-monitor[tensorboard]'"));
    document.head.append(script);
  });
}
