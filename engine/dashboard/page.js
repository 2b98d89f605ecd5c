// The page as a whole: asks, hands each part what it shows, and says where it stands with the engine.

import { byId, fillChildren, make, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";
import { History } from "./history.js";
import { showDeployments } from "./deployments.js";
import { NOW_MS, Overview, SPAN_MS, requestsOf } from "./overview.js";
import { Poll, fetchJson } from "./poll.js";
import { Processes } from "./processes.js";
import { Requests } from "./requests.js";
import { Stores } from "./stores.js";
import { takeToken, withKnownToken } from "./token.js";
import { verdict } from "./verdict.js";

takeToken();
addEventListener("hashchange", takeToken); // of a tab that is open: a new fragment loads no page

const history = new History(SPAN_MS, requestsOf);
const httpHistory = new History(SPAN_MS, (answers) => Object.values(answers).reduce((sum, each) => sum + each, 0));
const [overview, stores, processes, requests] = [new Overview(), new Stores(), new Processes(), new Requests()];

let figuresAt = null; // when what is shown was so, in this browser's clock
let lostAt = null; // when it was first not to be had; null while it is
let isPaused = false;

// One round. It ends well whatever comes, but for a fault of this page.
async function ask(signal) {
    let found;
    try {
        found = await fetchJson("status", { signal, ...withKnownToken() });
        if (found.document?.code === "STARTING") return showVerdict("busy", "Starting", []);
        if (found.status !== 200 || !found.document) throw new Error(`it answers ${found.status}`);
    } catch (error) {
        lost(error);
        return;
    }
    try {
        show(found.document);
    } catch (error) {
        showVerdict("bad", "Not understood", ["This page and the engine are of different versions: reload it."]);
        throw error;
    }
    await requests.refresh(signal).catch((error) => requests.say(`No single requests just now: ${reasonOf(error)}.`));
}

function show(status) {
    history.add(performance.now(), status.figures);
    httpHistory.add(performance.now(), { http: status.http });
    figuresAt = Date.now() - 1000 * (status.age_s ?? 0);
    lostAt = null;
    byId("main").hidden = false;
    overview.show(status, history);
    showDeployments(status, history);
    stores.show(status.stores);
    processes.show(status, httpHistory.over(NOW_MS));
    const { kind, word, troubles } = verdict(status);
    showVerdict(kind, word, troubles);
}

// Keeps what was shown, and says of when it is.
function lost(error) {
    lostAt ??= Date.now();
    const of = figuresAt === null ? "" : `; figures are of ${clock(figuresAt)}`;
    const what = `The supervisor's status server cannot be asked (${reasonOf(error)}). Running frontends and instances `
        + "go on answering meanwhile; this page goes on trying.";
    showVerdict("bad", `Not reachable since ${clock(lostAt)}${of}`, [what]);
}

const reasonOf = (error) => (error.name === "TimeoutError" ? "no answer in time" : error.message);

function showVerdict(kind, word, troubles) {
    setText(byId("verdict"), word);
    setAttribute(byId("verdict"), "data-kind", kind);
    document.title = `${word} – NightScan engine`;
    document.body.classList.toggle("stale", lostAt !== null);
    byId("troubles").hidden = troubles.length === 0;
    fillChildren(byId("trouble-list"), troubles, () => make("li"), setText);
    showHeard();
}

function showHeard() {
    const heard = byId("heard");
    heard.hidden = lostAt !== null && !isPaused;
    const of = figuresAt === null ? "No figures yet" : `Figures of ${clock(figuresAt)}`;
    setText(heard, isPaused ? `Paused. ${of}` : of);
}

const poll = new Poll(ask, () => !isPaused);

byId("pause").addEventListener("click", () => {
    isPaused = !isPaused;
    setText(byId("pause"), isPaused ? "Resume" : "Pause");
    showHeard();
    poll.wake();
});

poll.wake();
