// Puts the parts together: all changes are drawn together at the next frame.

import { Actions } from "./actions.js";
import { alarmList } from "./alarms.js";
import { deploymentRows, listed } from "./deployments.js";
import { Detail } from "./detail.js";
import { h, render } from "./dom.js";
import { headline, verdict } from "./headline.js";
import { Link } from "./link.js";
import { Login } from "./login.js";
import { nodeCards } from "./nodes.js";
import { Picture } from "./picture.js";
import { proposalList } from "./proposals.js";
import { fleetLine, ringRows } from "./rings.js";
import { blockedRows, freezeRows, inTurn, rolloutRows } from "./rollouts.js";
import { Timeline } from "./timeline.js";
import { ago } from "./words.js";

const place = (id) => document.getElementById(id);
let drawing = false;

const link = new Link((kind, data) => picture.happened(kind, data), moved);
const picture = new Picture(link, soon);
const actions = new Actions(picture, link, place("order"), place("notice"));
const detail = new Detail(picture, link, actions, place("detail"));
const login = new Login(link, place("login"), place("leave"), (me) => {
  picture.take("me", me);
  picture.askAll();
  link.restart();
});
const timeline = new Timeline(picture, (id) => (picture.node(id) ? detail.node(id) : detail.device(id)), soon);
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
  location.replace(`${link.origin}/`);
}

function draw() {
  picture.flush();
  login.draw();
  render(place("link"), ...linkLine());
  document.body.classList.toggle("lost", link.lost);
  document.body.classList.toggle("old", picture.isOld);
  if (!picture.cluster) return;
  const { cluster } = picture;
  const { says } = verdict(picture, link);
  render(place("spoken"), says);
  render(place("cluster-id"), cluster.cluster_id);
  render(place("headline"), headline(picture, link, actions, lead));
  place("alarms").hidden = !cluster.alarms.length;
  render(place("alarms"), alarmList(picture, actions));
  render(place("nodes"), nodeCards(picture, (id) => detail.node(id)));
  if (picture.parts.rings) {
    render(place("rings"), ringRows(picture.parts.rings, (ring) => detail.ring(ring)));
    render(place("fleet"), fleetLine(picture, find));
  }
  drawRollouts();
  const deployments = listed(picture.parts.open, picture.parts.closed);
  place("deployments").hidden = !deployments.length;
  render(place("deployed"), deploymentRows(deployments, (number) => detail.deployment(number)));
  render(place("filters"), timeline.filters());
  render(place("timeline"), timeline.list());
  render(place("proposals"), proposalList(picture));
  render(place("asked"), `Version ${cluster.version}, log entry ${cluster.applied_index}`);
  detail.draw();
  actions.draw();
  renew();
}

function drawRollouts() {
  const { rollouts, ended, freezes, blocked } = picture.parts;
  const shown = inTurn(listed(rollouts, ended, "number"));
  const holding = [...freezeRows(freezes?.items ?? [], shown, picture.elapsed("freezes"), actions), ...blockedRows(blocked?.items ?? [], actions)];
  place("rollouts").hidden = !shown.length && !holding.length;
  const elapsed = (one) => picture.elapsed(ended?.items.includes(one) ? "ended" : "rollouts");
  render(place("rolled"), rolloutRows(shown, elapsed, (name) => detail.rollout(name), actions));
  render(place("freeze"), actions.button("Freeze …", () => actions.freeze()));
  place("holding").hidden = !holding.length;
  render(place("holding"), holding);
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
  place("theme").textContent = `Theme: ${theme}`;
}

place("theme").addEventListener("click", () => {
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
