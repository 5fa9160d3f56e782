// Puts the parts together: what changed is drawn at the next frame, however much it was.

import { Actions } from "./actions.js";
import { alarmList } from "./alarms.js";
import { Detail } from "./detail.js";
import { h, render } from "./dom.js";
import { headline, verdict } from "./headline.js";
import { Link } from "./link.js";
import { nodeCards } from "./nodes.js";
import { Picture } from "./picture.js";
import { proposalList } from "./proposals.js";
import { fleetLine, ringRows } from "./rings.js";
import { Timeline } from "./timeline.js";

const place = (id) => document.getElementById(id);
let drawing = false;

const link = new Link((kind, data) => picture.happened(kind, data), moved);
const picture = new Picture(link, soon);
const actions = new Actions(picture, link, place("order"), place("notice"));
const detail = new Detail(picture, link, actions, place("detail"));
const timeline = new Timeline(picture, (id) => detail.node(id), soon);
let followed = false;

/** What happened while nothing was followed is asked for. */
function moved() {
  if (link.streaming && !followed) picture.askAll();
  followed = link.streaming;
  soon();
}

function soon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  picture.settle();
  render(place("link"), ...linkLine());
  if (!picture.cluster) return;
  const { cluster } = picture;
  const { says } = verdict(picture, link);
  document.title = `${says} – Stationkeep`;
  render(place("spoken"), says);
  render(place("cluster-id"), cluster.cluster_id);
  render(place("headline"), headline(picture, link, actions));
  place("alarms").hidden = !cluster.alarms.length;
  render(place("alarms"), alarmList(picture, actions));
  render(place("nodes"), nodeCards(picture, (id) => detail.node(id)));
  if (picture.parts.rings) {
    render(place("rings"), ringRows(picture.parts.rings, (ring) => detail.ring(ring)));
    render(place("fleet"), fleetLine(picture, find));
  }
  render(place("filters"), timeline.filters());
  render(place("timeline"), timeline.list());
  render(place("proposals"), proposalList(picture));
  render(place("asked"), `Version ${cluster.version}, log entry ${cluster.applied_index}`);
  if (detail.shown?.kind === "node") detail.draw();
}

function linkLine() {
  const asked = picture.cluster?.node ?? location.host;
  if (link.lost) return [h("b", { "aria-hidden": "true" }, "✕"), " no node answers, trying again"];
  if (link.staleness > 3_000) return [h("b", { "aria-hidden": "true" }, "!"), ` ${asked} is ${Math.round(link.staleness / 1_000)} s behind`];
  return [h("b", { "aria-hidden": "true" }, link.streaming ? "●" : "○"), link.streaming ? ` live from ${asked}` : ` asking ${asked} each second`];
}

function find(event) {
  event.preventDefault();
  detail.device(new FormData(event.target).get("device").trim());
}

// -- light or dark: as the system has it, unless chosen otherwise ---------------------------------

const THEMES = { system: "dark", dark: "light", light: "system" };

function wear(theme) {
  document.documentElement.dataset.theme = theme;
  place("theme").textContent = `Theme: ${theme}`;
}

place("theme").addEventListener("click", () => {
  const next = THEMES[document.documentElement.dataset.theme];
  localStorage.setItem("theme", next);
  wear(next);
});

const chosen = localStorage.getItem("theme");
wear(Object.hasOwn(THEMES, chosen ?? "") ? chosen : "system");
picture.start();
link.follow();
