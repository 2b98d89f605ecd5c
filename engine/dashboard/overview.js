// The first row: how much, how fast, what waits.

import { byId, setText } from "./dom.js";
import { NOT_CONFIGURED, count, milliseconds, number, share } from "./format.js";
import { Sparkline } from "./sparkline.js";

export const SPAN_MS = 120_000; // of what is kept and drawn
export const MINUTE_MS = 60_000;
export const NOW_MS = 5_000; // what "now" means for a rate: shorter jumps, longer lags

export const requestsOf = (figures) => figures.requests;

export function perBatch(stretch) {
    const batches = stretch?.grown((figures) => figures.batches);
    return batches ? stretch.grown((figures) => figures.batched_requests) / batches : null;
}

export class Overview {
    constructor() {
        this.chart = new Sparkline(byId("throughput-chart"), { spanMs: SPAN_MS, name: "Requests per second" });
    }

    show(status, history) {
        const now = history.over(NOW_MS);
        const minute = history.over(MINUTE_MS);
        const highest = this.chart.draw(history.rates(requestsOf));
        setText(byId("throughput"), number(now?.rate(requestsOf)));
        setText(byId("throughput-peak"), highest === null ? "" : `highest ${number(highest)}/s`);
        showLatency(minute);
        showQueue(status, minute);
        showAnswers(minute);
        showKept(status, minute);
    }
}

function showLatency(minute) {
    for (const [id, q] of [["p50", 0.5], ["p95", 0.95], ["p99", 0.99]]) {
        setText(byId(id), milliseconds(minute?.percentileMs(q)));
    }
    setText(byId("answered"), count(minute?.grown((figures) => figures.succeeded)));
}

function showQueue(status, minute) {
    const slots = status.deployments.flatMap((each) => each.versions).map((each) => each.slots).filter(Boolean);
    const total = slots.reduce((sum, each) => sum + each.total, 0);
    const free = slots.reduce((sum, each) => sum + each.free, 0);
    setText(byId("waiting"), count(sumOf(status.figures, (figures) => figures.waiting)));
    setText(byId("per-batch"), number(perBatch(minute)));
    setText(byId("slots"), slots.length ? `${count(total - free)} of ${count(total)}` : "–");
}

const ENDS = ["failed", "refused", "expired", "cancelled"];

function showAnswers(minute) {
    const grown = (name) => minute?.grown((figures) => figures[name]) ?? null;
    for (const name of ENDS) setText(byId(name), count(grown(name)));
    const succeeded = grown("succeeded");
    const ended = ENDS.reduce((sum, name) => sum + grown(name), succeeded);
    setText(byId("success"), share(ended ? succeeded / ended : null));
}

function showKept(status, minute) {
    const cache = status.stores.cache;
    const isConfigured = [cache.l1, cache.l2].some((level) => level.state !== NOT_CONFIGURED);
    const hits = minute?.grown((figures) => figures.cache_hits);
    const looked = hits + minute?.grown((figures) => figures.cache_misses);
    setText(byId("hit-share"), isConfigured ? share(looked ? hits / looked : null) : "");
    setText(byId("hit-unit"), isConfigured ? "hits" : NOT_CONFIGURED);
    setText(byId("looked-up"), isConfigured ? count(minute && looked) : NOT_CONFIGURED);
    const journal = status.stores.journal;
    setText(byId("backlog"), journal.backend === "off" ? NOT_CONFIGURED : count(journal.backlog));
}

function sumOf(figures, of) {
    const found = Object.values(figures).map(of).filter(Number.isFinite);
    return found.length ? found.reduce((sum, each) => sum + each, 0) : null;
}
