// Touching the document: only text nodes and attributes, and only where something has changed, so that a selection, a
// focus or a screen reader's place survives the second.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function setText(node, text) {
    const shown = String(text);
    if (node.textContent !== shown) node.textContent = shown;
}

export function setAttribute(node, name, value) {
    if (value === null) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
}

export function makeSvg(tag, attributes = {}) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
}

// As many children as `items`: those that are too many go, those that lack are made by `create`; `update(node, item)`.
export function fillChildren(parent, items, create, update) {
    while (parent.children.length > items.length) parent.lastElementChild.remove();
    while (parent.children.length < items.length) parent.append(create());
    items.forEach((item, index) => update(parent.children[index], item));
}

// A child for each item, kept by its key, in the order of `items`.
export function fillKeyed(parent, items, keyOf, create, update) {
    const there = new Map([...parent.children].map((node) => [node.dataset.key, node]));
    items.forEach((item, index) => {
        const key = String(keyOf(item));
        const node = there.get(key) ?? create(item);
        node.dataset.key = key;
        there.delete(key);
        if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
        update(node, item);
    });
    for (const gone of there.values()) gone.remove();
}
