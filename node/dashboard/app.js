// Puts the parts together: all changes are drawn together at the next frame.

import { Actions } from "./actions.js";
import { alarmList } from "./alarms.js";
import { deploymentRows, listed } from "./deployments.js";
import { Decisions } from "./decisions.js";
import { Detail } from "./detail.js";
import { Devices } from "./devices.js";
import { h, render } from "./dom.js";
import { headline, verdict } from "./headline.js";
import { Link } from "./link.js";
import { Login } from "./login.js";
import { nodeCards } from "./nodes.js";
import { Past } from "./past.js";
import { Picture } from "./picture.js";
import { Place, VIEWS } from "./place.js";
import { proposalList } from "./proposals.js";
import { fleetLine, ringRows, rulesOf } from "./rings.js";
import { blockedRows, freezeRows, inTurn, rolloutRows } from "./rollouts.js";
import { Timeline } from "./timeline.js";
import { ago, LEVELS } from "./words.js";

const element = (id) => document.getElementById(id);
let drawing = false;

const link = new Link((kind, data) => picture.happened(kind, data), moved);
const picture = new Picture(link, soon);
const place = new Place(soon);
const actions = new Actions(picture, link, element("order"), element("notice"));
const detail = new Detail(picture, link, place, actions, element("detail"));
const login = new Login(link, element("login"), element("leave"), (me) => {
  picture.take("me", me);
  picture.askAll();
  link.restart();
});
const timeline = new Timeline(picture, place, (id) => (picture.node(id) ? detail.node(id) : detail.device(id)), soon);
const views = {
  devices: new Devices(picture, link, place, actions, soon),
  decisions: new Decisions(link, place, timeline, actions, soon),
  time: new Past(picture, link, place, (id) => detail.node(id), soon),
};
let followed = false;

/** Fetches what was missed while no event stream was followed. */
function moved() {
  if (link.streaming && !followed) picture.askAll();
  followed = link.streaming;
  soon();
}

function soon() {
  name();
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

/** Sets the title at once, because nothing is drawn while the tab is in the background. */
function name() {
  if (!picture.cluster) return;
  const title = `${verdict(picture, link).says} – Stationkeep`;
  if (document.title !== title) document.title = title;
}

/** The content security policy of this page allows only the members of that time. It is reloaded
 *  when a node has joined, unless somebody is using it. */
function renew() {
  if (!link.outgrown || document.querySelector("dialog[open], input:focus")) return;
  if (link.origin === location.origin) location.reload();
  else location.replace(`${link.origin}/${location.hash}`);
}

function draw() {
  picture.flush();
  login.draw();
  render(element("link"), ...linkLine());
  document.body.classList.toggle("lost", link.lost);
  document.body.classList.toggle("old", picture.isOld);
  if (!picture.cluster) return;
  render(element("spoken"), verdict(picture, link).says);
  render(element("cluster-id"), picture.cluster.cluster_id);
  render(element("views"), tabs());
  element("overview").hidden = place.view !== "";
  element("view").hidden = place.view === "";
  if (place.view === "") drawOverview();
  else render(element("view"), h("section", { key: place.view, "aria-labelledby": `${place.view}-title` }, views[place.view].draw()));
  render(element("asked"), `Version ${picture.cluster.version}, log entry ${picture.cluster.applied_index}`);
  if (picture.parts.nodes) detail.follow();
  detail.draw();
  actions.draw();
  renew();
}

/** The views, each a link; the first says how the cluster is wherever one is. */
function tabs() {
  const { level, says } = verdict(picture, link);
  const seal = h("span", { class: `seal small ${level}`, title: says, "aria-hidden": "true" }, LEVELS[level]);
  return Object.entries(VIEWS).map(([view, word]) => h("a", { key: view, href: place.href(view), "aria-current": view === place.view ? "page" : null }, view === "" && seal, word));
}

function drawOverview() {
  render(element("headline"), headline(picture, link, actions, lead));
  element("alarms").hidden = !picture.cluster.alarms.length;
  render(element("alarms"), alarmList(picture, actions));
  render(element("nodes"), nodeCards(picture, (id) => detail.node(id)));
  if (picture.parts.rings) {
    render(element("rings"), ringRows(picture.parts.rings, (ring) => place.go(place.href("devices", { ring }))));
    render(element("fleet"), fleetLine(picture, actions, find));
    render(element("rules"), rulesOf(picture, actions));
  }
  drawRollouts();
  const deployments = listed(picture.parts.open, picture.parts.closed);
  element("deployments").hidden = !deployments.length;
  render(element("deployed"), deploymentRows(deployments, (number) => detail.deployment(number)));
  render(element("filters"), timeline.filters());
  render(element("timeline"), timeline.list());
  render(element("proposals"), proposalList(picture));
}

function drawRollouts() {
  const { rollouts, ended, freezes, blocked } = picture.parts;
  const shown = inTurn(listed(rollouts, ended, "number"));
  const holding = [...freezeRows(freezes?.items ?? [], shown, picture.elapsed("freezes"), actions), ...blockedRows(blocked?.items ?? [], actions)];
  element("rollouts").hidden = !shown.length && !holding.length;
  const elapsed = (one) => picture.elapsed(ended?.items.includes(one) ? "ended" : "rollouts");
  render(element("rolled"), rolloutRows(shown, elapsed, (name) => detail.rollout(name), actions));
  render(element("freeze"), actions.button("Freeze …", () => actions.freeze()));
  element("holding").hidden = !holding.length;
  render(element("holding"), holding);
}

/** Leads to the row of a rollout. */
function lead(rollout) {
  const row = document.querySelector(`[data-rollout="${CSS.escape(rollout)}"]`);
  row?.scrollIntoView({ block: "start" });
  row?.querySelector("button").focus({ preventScroll: true });
}

function linkLine() {
  const asked = picture.cluster?.node ?? location.host;
  const old = picture.isOld;
  const age = picture.cluster && h("span", { class: old ? "old" : null, "data-age": "" }, old ? `as of ${ago(picture.age)}` : "as of now");
  if (link.lost) return [mark("✕"), " no node answers, trying again · ", age];
  return [mark(old ? "!" : link.streaming ? "●" : "○"), link.streaming ? ` live from ${asked} · ` : ` asking ${asked} each second · `, age];
}

function mark(text) {
  return h("b", { "aria-hidden": "true" }, text);
}

function find(event) {
  event.preventDefault();
  detail.device(new FormData(event.target).get("device").trim());
}

// -- light or dark: the system's choice, unless the user has chosen -------------------------------

const THEMES = { system: "dark", dark: "light", light: "system" };

function wear(theme) {
  document.documentElement.dataset.theme = theme;
  element("theme").textContent = `Theme: ${theme}`;
}

element("theme").addEventListener("click", () => {
  const next = THEMES[document.documentElement.dataset.theme];
  keep(next);
  wear(next);
});

/** A browser that may not store anything throws: then the choice lasts until the page is closed. */
function keep(theme) {
  try {
    localStorage.setItem("theme", theme);
  } catch {}
}

function kept() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

const chosen = kept();
wear(Object.hasOwn(THEMES, chosen ?? "") ? chosen : "system");
picture.start();
link.follow();
