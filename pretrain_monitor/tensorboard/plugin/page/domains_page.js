import {ask} from "./data.js";
import {DomainsView} from "./domains.js";
import {el, fill} from "./dom.js";

export class DomainsPage {
  constructor({go}) {
    this.view = new DomainsView({onIncident: id => go({view: "run", incident: id})});
    this.element = this.view.element;
    this.run = null;
  }

  take({run}) {
    if (run !== undefined && run !== this.run) {
      this.run = run;
      this.version = null;
    }
  }

  async refresh({run, hasPlotly}) {
    if (run === null) return;
    const answer = await ask("domains", {run, known: this.version});
    if (!answer || answer.is_unchanged) return;
    this.view.show(answer, hasPlotly);
    this.version = hasPlotly ? answer.version : null;
  }

  redraw() {
    this.view.redraw();
  }
}
