// TensorBoard calls render() once its frame is there.

import {App} from "./app.js";

export async function render() {
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = "./static/style.css";
  document.head.append(style);
  const app = new App(document.body);
  await app.start();
}
