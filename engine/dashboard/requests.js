// Single requests with where their time went: only with the token, since they name files.

import { byId, make, setText } from "./dom.js";
import { UNKNOWN, clock, count, milliseconds, number } from "./format.js";
import { fetchJson } from "./poll.js";
import { Table } from "./table.js";
import { dropToken, hasToken, keepToken, withToken } from "./token.js";

const COLUMNS = [
    { title: "Time", of: (row) => clock(row.at) },
    { title: "Status", of: (row) => [row.status ?? UNKNOWN, row.code ?? ""], as: "stacked" },
    { title: "Total", of: (row) => milliseconds(row.total_ms), as: "number" },
    { title: "Where it went, in ms", of: (row) => partsOf(row), as: "parts" },
    { title: "Batch", of: (row) => count(row.batch_size), as: "number" },
    { title: "Cache", of: (row) => (row.cache ?? UNKNOWN).toUpperCase(), as: "short" },
    { title: "Route, deployment", of: (row) => [row.endpoint ?? UNKNOWN, row.deployment ?? ""], as: "stacked" },
    { title: "File, request id", of: (row) => [row.file ?? UNKNOWN, row.request_id ?? ""], as: "stacked" },
];

const TABLES = [["last", "Last requests"], ["slowest", "Slowest requests"], ["errors", "Last errors"]];
const SHOWN = 10; // of each; more would push the rest off the page

const WITHOUT_TOKEN = "Single requests are shown with the engine's token only, because they name files: "
    + "nightscan dashboard opens this page with it.";
const WRONG_TOKEN = "The token that this page was opened with is not valid here: a new engine has a new one, and a "
    + "proxy that asks for a password lets none through. nightscan dashboard opens the page with the right one.";

export class Requests {
    constructor() {
        this.place = byId("requests");
        this.note = byId("requests-note");
        this.tables = null; // made when there is something to show
        this.whyNot = WITHOUT_TOKEN;
    }

    // Asks and shows. Rejects if nobody answers.
    async refresh(signal) {
        if (!hasToken()) return this.say(this.whyNot);
        const { status, document } = await fetchJson("requests", { signal, ...withToken() });
        if (status === 401 || status === 403) return this.refused();
        if (status !== 200 || !document) return this.say(`This engine shows no single requests (status ${status}).`);
        keepToken();
        return this.show(document);
    }

    show(found) {
        this.note.hidden = true;
        this.place.hidden = false;
        this.tables ??= TABLES.map(([, caption]) =>
            new Table(this.place.appendChild(make("div")), { caption, columns: COLUMNS, empty: "None yet." }));
        TABLES.forEach(([name], index) => this.tables[index].fill((found[name] ?? []).slice(0, SHOWN)));
    }

    refused() {
        dropToken();
        this.whyNot = WRONG_TOKEN;
        this.say(this.whyNot);
    }

    say(text) {
        this.note.hidden = false;
        this.place.hidden = true;
        setText(this.note, text);
    }
}

// The parts in the order of the way, and what is between them.
function partsOf({ parts_ms: parts, total_ms: total }) {
    const known = Object.entries(parts ?? {})
        .filter(([name, ms]) => name !== "total" && ms > 0)
        .map(([name, ms]) => ({ name, ms, text: number(ms) }));
    const rest = (total ?? 0) - known.reduce((sum, part) => sum + part.ms, 0);
    return rest > 0.05 ? [...known, { name: "other", ms: rest, text: number(rest) }] : known;
}
