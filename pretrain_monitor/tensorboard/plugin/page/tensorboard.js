// TensorBoard calls render() once its frame is there.

import {App} from "./app.js";
import {fetchPlotly} from "./plotly_script.js";

fetchPlotly();
const style = document.createElement("link");
style.rel = "stylesheet";
style.href = "./static/style.css";
document.head.append(style);

export async function render() {
  await new App(document.body).start();
}
