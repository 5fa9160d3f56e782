// Who looks: where a node asks for a token, the page does. It is kept for this tab alone, and shown in
// a header, which no other page can have the browser send.

import { h, render } from "./dom.js";

const KEPT = "token";
const ON_THE_PAGE = ["viewer", "operator", "admin"];

export class Login {
  /** `onIn(me)` is called when the page may ask everything anew; `me`: who it is now. */
  constructor(link, dialog, leave, onIn) {
    Object.assign(this, { link, dialog, leave, onIn, says: "" });
    link.token = kept();
    dialog.addEventListener("cancel", (event) => event.preventDefault()); // there is nothing behind it
    leave.addEventListener("click", () => this.out());
  }

  draw() {
    this.leave.hidden = !this.link.token || this.link.stranger;
    if (!this.link.stranger) {
      if (this.dialog.open) this.dialog.close();
      return;
    }
    render(this.dialog,
      h("h2", { id: "login-title" }, "Log in"),
      h("form", { method: "dialog", onsubmit: (event) => this.try(event) },
        h("label", {}, "Token", h("input", { name: "token", type: "password", autocomplete: "off", required: "" })),
        h("p", { class: "quiet", role: "status" }, this.says || "This cluster asks who you are. An administrator makes tokens: stationkeep tokens create."),
        h("div", { class: "orders" }, h("button", { type: "submit" }, "Log in"))));
    if (!this.dialog.open) this.dialog.showModal();
  }

  async try(event) {
    event.preventDefault();
    this.link.token = new FormData(event.target).get("token").trim();
    try {
      const me = await this.link.get("/v1/me");
      const { role, because } = me;
      this.says = role === "none" ? because : ON_THE_PAGE.includes(role) ? "" : `A token of the role ${role} cannot look at this page.`;
      this.link.stranger = this.says !== "";
      if (!this.link.stranger) {
        keep(this.link.token);
        this.link.restart(); // the stream waits since it was refused
        this.onIn(me);
      }
    } catch (error) {
      this.says = `No node could be asked: ${error.message}`;
    }
    this.draw();
  }

  out() {
    keep("");
    location.reload();
  }
}

/** A browser that may not store anything throws: then one logs in again after each reload. */
function keep(token) {
  try {
    sessionStorage.setItem(KEPT, token);
  } catch {}
}

function kept() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}
