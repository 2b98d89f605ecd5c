// Tables: columns are declared once, rows are plain data, and a second's change touches only the cells that differ.

import { fillChildren, make, makeSvg, setAttribute, setText } from "./dom.js";
import { share } from "./format.js";
import { kindOf } from "./states.js";

let made = 0;

// Columns: [{title, of: (row) => text, as?}], the first of which names the row. `as`: "number", "state", "bar" (of a
// share, or null), "parts" (of [{name, ms, text}]), "short" (text on one line), "stacked" (two lines); text otherwise. A table may scroll sideways, so the keyboard can reach it.
export class Table {
    constructor(place, { caption, columns, empty = "" }) {
        made += 1;
        this.columns = columns;
        this.empty = make("p", { class: "quiet empty", hidden: "" }, empty);
        this.body = make("tbody");
        this.caption = make("caption", { id: `caption-${made}` }, caption);
        this.table = make("table", {}, this.caption, make("thead", {}, this.heads()), this.body);
        this.note = make("p", { class: "note", hidden: "" });
        this.scroll = make("div", { class: "scroll", role: "region", "aria-labelledby": this.caption.id }, this.table);
        place.append(this.scroll, this.empty, this.note);
        new ResizeObserver(() => this.reach()).observe(this.scroll);
    }

    heads() {
        return make("tr", {}, ...this.columns.map(({ title, as }) =>
            make("th", { scope: "col", class: as ?? "text" }, title)));
    }

    // A place to stop at for the keyboard only where there is something to scroll.
    reach() {
        setAttribute(this.scroll, "tabindex", this.scroll.scrollWidth > this.scroll.clientWidth ? 0 : null);
    }

    // `note`: what is to be said of the whole, below it.
    fill(rows, { caption = this.caption.textContent, note = "" } = {}) {
        setText(this.caption, caption);
        setText(this.note, note);
        this.note.hidden = !note;
        this.empty.hidden = rows.length > 0 || !this.empty.textContent;
        this.table.classList.toggle("without-rows", rows.length === 0);
        fillChildren(this.body, rows, () => this.row(), (node, row) => this.fillRow(node, row));
    }

    row() {
        return make("tr", {}, ...this.columns.map(({ as }, index) =>
            make(index ? "td" : "th", index ? { class: as ?? "text" } : { class: as ?? "text", scope: "row" })));
    }

    fillRow(node, row) {
        this.columns.forEach(({ of, as }, index) => {
            (PAINTERS[as] ?? setText)(node.children[index], of(row));
        });
    }
}

const PAINTERS = {
    state(cell, state) {
        if (!cell.firstChild) cell.append(make("span", { class: "pill" }));
        setText(cell.firstChild, state);
        setAttribute(cell.firstChild, "data-kind", kindOf(state));
    },

    stacked(cell, [first, second]) {
        if (!cell.firstChild) cell.append(make("span"), make("span", { class: "second-line" }));
        setText(cell.firstChild, first);
        setText(cell.lastChild, second);
    },

    bar(cell, part) {
        if (!cell.firstChild) cell.append(make("span", { class: "bar-text" }), makeBar());
        setText(cell.firstChild, share(part));
        setAttribute(cell.lastChild.lastChild, "width", 100 * Math.min(1, Math.max(0, part ?? 0)));
    },

    parts(cell, parts) {
        if (!cell.firstChild) cell.append(make("span", { class: "parts-text" }), makeStrip("parts"));
        const total = parts.reduce((sum, part) => sum + part.ms, 0) || 1;
        let at = 0;
        fillChildren(cell.lastChild, parts, () => makeSvg("rect", { y: 0, height: 8 }), (rect, part) => {
            setAttribute(rect, "class", `part-${part.name}`);
            setAttribute(rect, "x", at);
            setAttribute(rect, "width", (100 * part.ms) / total);
            at += (100 * part.ms) / total;
        });
        fillChildren(cell.firstChild, parts, () => make("span"), (span, part) => {
            setAttribute(span, "class", `part part-${part.name}`);
            setText(span, `${part.name} ${part.text}`);
        });
    },
};

// Says nothing that the text beside it does not.
function makeStrip(name, ...shapes) {
    const svg = makeSvg("svg", { class: name, "aria-hidden": "true", viewBox: "0 0 100 8", preserveAspectRatio: "none" });
    svg.append(...shapes);
    return svg;
}

const makeBar = () => makeStrip(
    "bar", makeSvg("rect", { class: "bar-track", width: 100, height: 8 }), makeSvg("rect", { class: "bar-fill", height: 8 }),
);
