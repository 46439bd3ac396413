// SPDX-License-Identifier: MIT
// Elements, made once and changed in place: what has the focus, is selected or is being read keeps
// it while numbers change around it.

export const byId = (id) => document.getElementById(id);

// element("td", {class: "number"}, "text", child)
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function setText(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function setClass(node, name, on) {
  node.classList.toggle(name, Boolean(on));
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function setProperty(node, name, value) {
  const wanted = String(value);
  if (node.style.getPropertyValue(name) !== wanted) node.style.setProperty(name, wanted);
}

// Children of `parent`, one for each item by its key, in the items' order. `make(item)` gives
// {node, update(item)}.
export class Keyed {
  constructor(parent, keyOf, make) {
    this.parent = parent;
    this.keyOf = keyOf;
    this.make = make;
    this.parts = new Map();
  }
  show(items) {
    const wanted = new Set(items.map(this.keyOf));
    for (const [key, part] of this.parts) {
      if (wanted.has(key)) continue;
      part.node.remove();
      this.parts.delete(key);
    }
    let place = this.parent.firstChild;
    for (const item of items) {
      const key = this.keyOf(item);
      if (!this.parts.has(key)) this.parts.set(key, this.make(item));
      const part = this.parts.get(key);
      part.update(item);
      if (part.node === place) place = place.nextSibling;
      else this.parent.insertBefore(part.node, place);
    }
  }
}
