// Elements from descriptions. A part of the page is described again whenever something changed, and
// only the differences are applied: focus, typed text and open details are kept.

const SVG = "http://www.w3.org/2000/svg";
const described = new WeakMap(); // node → its current description

/** Describes an element. `props`: attributes, `on…` handlers, `key` among its siblings, `style`
 *  (an object of custom properties; the policy forbids style attributes). */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children: shown(children) };
}

/** Makes `parent` contain exactly what is described. */
export function render(parent, ...wanted) {
  const children = shown(wanted);
  const keyed = keyedOf(parent, new Set(children.map((child) => child.props?.key)));
  let here = parent.firstChild;
  for (const description of children) {
    const node = existing(description, here, keyed) ?? create(description, parent);
    if (node === here) here = here.nextSibling;
    else parent.insertBefore(node, here);
    update(node, description);
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

/** The children by key. Removes those that are not wanted first, so that no other has to be moved:
 *  an element that is moved loses the focus. */
function keyedOf(parent, wanted) {
  const keyed = new Map();
  for (const node of [...parent.childNodes]) {
    const key = described.get(node)?.props?.key;
    if (key === undefined) continue;
    if (wanted.has(key)) keyed.set(key, node);
    else node.remove();
  }
  return keyed;
}

function shown(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

function existing(description, here, keyed) {
  const key = description.props?.key;
  const node = key === undefined ? here : keyed.get(key);
  const now = node && described.get(node);
  if (!now || now.props?.key !== key) return null;
  return now.tag === description.tag ? node : null;
}

function create(description, parent) {
  if (description.tag === undefined) return document.createTextNode("");
  if (description.tag === "svg" || parent.namespaceURI === SVG) {
    return document.createElementNS(SVG, description.tag);
  }
  return document.createElement(description.tag);
}

function update(node, description) {
  const before = described.get(node);
  if (before === description) return; // the very same: a long list is described once
  described.set(node, description);
  if (description.tag === undefined) {
    const text = String(description);
    if (node.data !== text) node.data = text;
    described.set(node, TEXT);
    return;
  }
  const was = before?.props ?? {};
  for (const name of Object.keys(was)) if (!(name in description.props)) set(node, name, null);
  for (const [name, value] of Object.entries(description.props)) {
    if (value !== was[name]) set(node, name, value);
  }
  render(node, description.children);
}

const TEXT = { tag: undefined };
const STATES = ["value", "checked", "selected", "indeterminate"]; // of a form: what a user did goes before the attribute

function set(node, name, value) {
  if (name === "key") return;
  if (name === "style") {
    for (const [property, text] of Object.entries(value ?? {})) node.style.setProperty(property, text);
  } else if (name.startsWith("on")) {
    node[name] = value;
  } else if (STATES.includes(name) && node.tagName !== "BUTTON" && !(name === "value" && node.tagName === "OPTION")) {
    node[name] = value ?? (name === "value" ? "" : false);
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : value);
  }
}
